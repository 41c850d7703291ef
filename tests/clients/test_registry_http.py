"""``/v2/`` of the real server, as the distribution specification wants it."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.digest import Digest
from manifests.zone.served import Registry
from tests.support.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Layout,
)
from tests.support.imagetrees import overlay, tree
from tests.support.served import Published, Serving, eventually

ORIGIN = "registry.example.com"
SBOM = "application/vnd.example.sbom"
SIGNATURE = "application/vnd.example.signature"
SIX = (OCI_MANIFEST, DOCKER_MANIFEST, "application/vnd.docker.distribution.manifest.v1+prettyjws",
       "application/vnd.docker.distribution.manifest.v1+json", DOCKER_LIST, OCI_INDEX)  # fmt: skip


class Images:
    """What is published."""

    def __init__(self, folder: Path) -> None:
        self.layout = layout = Layout(folder)
        self.app = layout.platforms("app one\n")
        self.docker = layout.image("docker\n", docker=True)
        self.base = layout.image("base\n")
        self.sbom = layout.artifact(SBOM, layout.blob(b"{}"), subject=self.app)
        self.signature = layout.artifact(SIGNATURE, layout.blob(b"s"), subject=self.app)
        self.tags = {f"team/app:{tag}": self.app for tag in ("v1", "Beta", "alpha", "v10", "v2")}
        self.tags |= {"team/app:old": self.docker, "base:1": self.base}
        self.also = {"team/app": (self.sbom, self.signature)}

    def publish(self, published: Published, name: str, **other: Any) -> None:
        files = tree(self.layout, self.tags, also=self.also, **other)
        published.publish(name, files, format="oci", overlay=overlay(files))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    return Images(tmp_path_factory.mktemp("images") / "layout")


@pytest.fixture(scope="module")
def published(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    made = Published(tmp_path_factory.mktemp("registry") / "store")
    images.publish(made, "platform", replaces=ORIGIN)
    other = tree(images.layout, {"tools/only:1": images.base, "team/app:v9": images.base})
    made.publish("second", other, format="oci", overlay={})
    made.publish("rpms", {"repodata/repomd.xml": b"<repomd/>"})
    yield made
    made.close()


@pytest.fixture(scope="module")
def server(published: Published) -> Iterator[Serving]:
    registries = {
        "platform": Registry(listen=("127.0.0.1", 0), hosts=("images.example.org",)),
        "second": Registry(
            hosts=("second.example.org:5000",), replaces=("other.example.com:5000",)
        ),
    }
    with Serving(published.store.folder, workers=2, registries=registries) as serving:
        yield serving


Got = tuple[int, dict[str, str], bytes]


def ask(
    server: Serving, path: str, *accept: str, method: str = "GET", at: str = "", **headers: str
) -> Got:
    """One request with each media type on a line of its own."""
    host, _, port = (at or server.url).removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    try:
        connection.putrequest(method, path, skip_host="Host" in headers)
        for value in accept:
            connection.putheader("Accept", value)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


def refusal(got: Got, status: int) -> tuple[str, str]:
    """Code and message of an error."""
    assert got[0] == status, got
    assert got[1]["content-type"] == "application/json"
    assert got[1]["docker-distribution-api-version"] == "registry/2.0"
    first = json.loads(got[2])["errors"][0]
    return first["code"], first["message"]


def test_the_version_check(server: Serving) -> None:
    for path in ("/v2/", "/v2"):
        status, headers, _ = ask(server, path)
        assert (status, headers["docker-distribution-api-version"]) == (200, "registry/2.0")


def test_manifests_by_tag_and_digest_are_byte_for_byte(server: Serving, images: Images) -> None:
    for what, tag, media_type in (
        (images.app, "v1", OCI_INDEX),
        (images.docker, "old", DOCKER_MANIFEST),
    ):
        data = images.layout.read(what)
        for reference in (tag, what.digest):
            path = f"/v2/platform/team/app/manifests/{reference}"
            for _ in range(2):  # the second time from memory
                status, headers, body = ask(server, path, *SIX)
                assert (status, body) == (200, data)
            assert headers["content-type"] == media_type
            assert headers["docker-content-digest"] == what.digest
            assert headers["etag"] == f'"{what.hex}"'
            status, head, nothing = ask(server, path, *SIX, method="HEAD")
            assert (status, nothing) == (200, b"")
            assert int(head["content-length"]) == len(data)
            assert head["docker-content-digest"] == what.digest
            assert ask(server, path, *SIX, If_None_Match=headers["etag"])[0] == 304
    assert "immutable" in ask(server, path, *SIX)[1]["cache-control"]


def test_all_accept_lines_are_read(server: Serving) -> None:
    path = "/v2/platform/team/app/manifests/v1"
    for _ in range(2):
        assert ask(server, path)[0] == 200
        assert ask(server, path, "text/html", "*/*;q=0.1")[0] == 200
        assert ask(server, path, f"{OCI_MANIFEST}, {OCI_INDEX}")[0] == 200
        assert ask(server, path, *SIX[:-1], SIX[-1].upper())[0] == 200
        for accept in ((OCI_MANIFEST, DOCKER_LIST), (f"{OCI_INDEX};q=0", "*/*"), ("text/html",)):
            code, message = refusal(ask(server, path, *accept), 404)
            assert code == "MANIFEST_UNKNOWN"
            assert "team/app:v1 is an OCI image index" in message and "not accept" in message


def test_blobs_and_parts_of_them(server: Serving, images: Images) -> None:
    manifest = json.loads(images.layout.read(images.docker))
    blob = manifest["layers"][0]["digest"]
    data = images.layout.read(blob)
    path = f"/v2/platform/team/app/blobs/{blob}"
    status, headers, body = ask(server, path, "application/json")
    assert (status, body) == (200, data)
    assert headers["docker-content-digest"] == blob and headers["accept-ranges"] == "bytes"
    status, headers, body = ask(server, path, Range="bytes=10-")
    assert (status, body) == (206, data[10:])
    assert headers["content-range"] == f"bytes 10-{len(data) - 1}/{len(data)}"
    assert ask(server, path, Range=f"bytes={len(data)}-")[0] == 416
    status, headers, body = ask(server, path, method="HEAD")
    assert (status, body, int(headers["content-length"])) == (200, b"", len(data))
    # A blob belongs to its image, wherever else it may be.
    code, _ = refusal(ask(server, f"/v2/platform/base/blobs/{blob}"), 404)
    assert code == "BLOB_UNKNOWN"


def test_tags_are_listed_in_pages(server: Serving) -> None:
    path = "/v2/platform/team/app/tags/list"
    status, headers, body = ask(server, path)
    every = ["alpha", "Beta", "old", "v1", "v10", "v2"]
    assert json.loads(body) == {"name": "platform/team/app", "tags": every}
    assert headers["content-type"] == "application/json" and "link" not in headers
    found: list[str] = []
    follow = f"{path}?n=4&ns=unknown.example.com"
    while follow:
        status, headers, body = ask(server, follow)
        assert status == 200
        found += json.loads(body)["tags"]
        match = re.fullmatch(r'<(/v2/[^>]+)>; rel="next"', headers.get("link", '<>; rel=""'))
        follow = match[1] if match else ""
        assert not follow or "ns=unknown.example.com" in follow
    assert found == every
    assert json.loads(ask(server, f"{path}?n=0")[2])["tags"] == []
    assert json.loads(ask(server, f"{path}?n=2&last=gone")[2])["tags"] == ["old", "v1"]
    assert json.loads(ask(server, f"{path}?last=v2")[2])["tags"] == []
    assert refusal(ask(server, f"{path}?n=-1"), 400)[0] == "PAGINATION_NUMBER_INVALID"


def test_referrers(server: Serving, images: Images) -> None:
    path = f"/v2/platform/team/app/referrers/{images.app.digest}"
    status, headers, body = ask(server, path)
    assert (status, headers["content-type"]) == (200, OCI_INDEX)
    rows = {row["digest"]: row for row in json.loads(body)["manifests"]}
    assert rows.keys() == {images.sbom.digest, images.signature.digest}
    assert rows[images.sbom.digest]["artifactType"] == SBOM
    assert "oci-filters-applied" not in headers
    status, headers, body = ask(server, f"{path}?artifactType={SBOM}")
    assert headers["oci-filters-applied"] == "artifactType"
    assert [row["digest"] for row in json.loads(body)["manifests"]] == [images.sbom.digest]
    for nothing in (f"{path}?artifactType=none/x", f"{path[:-64]}{'0' * 64}"):
        status, headers, body = ask(server, nothing)
        assert (status, headers["content-type"]) == (200, OCI_INDEX)
        assert json.loads(body) == {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}
    assert refusal(ask(server, f"{path[:-1]}"), 400)[0] == "DIGEST_INVALID"


def test_the_catalog(server: Serving) -> None:
    every = ["platform/base", "platform/team/app", "second/team/app", "second/tools/only"]
    assert json.loads(ask(server, "/v2/_catalog")[2]) == {"repositories": every}
    _, headers, body = ask(server, "/v2/_catalog?n=3")
    assert json.loads(body)["repositories"] == every[:3]
    follow = headers["link"].partition(">")[0][1:]
    assert json.loads(ask(server, follow)[2])["repositories"] == every[3:]
    body = ask(server, "/v2/_catalog", at=server.server.urls["platform"])[2]
    assert json.loads(body) == {"repositories": ["base", "team/app"]}


def test_errors_are_those_of_the_specification(server: Serving) -> None:
    none = "sha256:" + "0" * 64
    for path, status, code in (
        ("/v2/platform/none/manifests/v1", 404, "NAME_UNKNOWN"),
        ("/v2/none/none/manifests/v1", 404, "NAME_UNKNOWN"),
        ("/v2/rpms/repodata/manifests/v1", 404, "NAME_UNKNOWN"),
        ("/v2/platform/none/tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/platform/none/blobs/" + none, 404, "NAME_UNKNOWN"),
        ("/v2/platform/team/app/manifests/none", 404, "MANIFEST_UNKNOWN"),
        ("/v2/platform/team/app/manifests/" + none, 404, "MANIFEST_UNKNOWN"),
        ("/v2/platform/team/app/manifests/sha256:abc", 400, "DIGEST_INVALID"),
        ("/v2/platform/team/app/manifests/-bad", 404, "MANIFEST_UNKNOWN"),
        ("/v2/platform/team/app/blobs/" + none, 404, "BLOB_UNKNOWN"),
        ("/v2/platform/team/app/blobs/none", 400, "DIGEST_INVALID"),
        ("/v2/platform/Team/App/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/platform/team//app/manifests/v1", 400, "NAME_INVALID"),
        ("/v2/platform/team/app/tags/other", 404, "UNSUPPORTED"),
        ("/v2/platform/team/app/_tags/v1", 404, "UNSUPPORTED"),
        ("/v2/platform/.sluice/manifests/v1", 404, "NAME_UNKNOWN"),
        ("/v2/platform/", 404, "UNSUPPORTED"),
    ):
        assert refusal(ask(server, path), status)[0] == code, path
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        got = ask(server, "/v2/platform/team/app/blobs/uploads/", method=method)
        assert refusal(got, 405)[0] == "UNSUPPORTED" and got[1]["allow"] == "GET, HEAD"
    assert ask(server, "/v2/platform/../team/manifests/v1")[0] == 400


def test_every_way_to_name_an_image(server: Serving, images: Images) -> None:
    inner = "team/app/manifests/v1"
    own = server.server.urls["platform"]
    assert ask(server, f"/v2/{inner}", at=own)[0] == 200
    assert ask(server, f"/v2/{inner}", Host="images.example.org")[0] == 200
    assert ask(server, f"/v2/{inner}", Host="IMAGES.example.org:8443")[0] == 200
    assert ask(server, f"/v2/{inner}?ns={ORIGIN}")[0] == 200
    assert ask(server, f"/v2/{ORIGIN}/{inner}")[0] == 200
    assert ask(server, f"/v2/platform__1/{inner}")[0] == 200
    # containerd may also be told a path of its own, and says `ns` all the same.
    assert ask(server, f"/v2/platform/{inner}?ns={ORIGIN}")[0] == 200
    assert ask(server, "/v2/tools/only/manifests/1?ns=other.example.com:5000")[0] == 200
    assert ask(server, "/v2/other.example.com_5000/tools/only/manifests/1")[0] == 200
    assert ask(server, "/v2/tools/only/manifests/1", Host="second.example.org:5000")[0] == 200
    for path, headers in (
        (f"/v2/{inner}", {}),
        (f"/v2/{inner}", {"Host": "second.example.org"}),
        (f"/v2/platform/{inner}", {"Host": "images.example.org"}),
        (f"/v2/{inner}?ns=unknown.example.com", {}),
        (f"/v2/platform__2/{inner}", {}),
        (f"/v2/platform__01/{inner}", {}),
    ):
        for _ in range(2):
            assert ask(server, path, **headers)[0] == 404, (path, headers)
    body = ask(server, f"/v2/{ORIGIN}/team/app/tags/list?n=1")
    assert json.loads(body[2])["name"] == f"{ORIGIN}/team/app"
    assert body[1]["link"].startswith(f"</v2/{ORIGIN}/team/app/tags/list?")


def test_misses_are_wants_by_image_and_tag(published: Published, server: Serving) -> None:
    none = "sha256:" + "0" * 64
    with Serving(published.store.folder) as other:
        for path in (
            "platform/team/app/manifests/v3",
            f"{ORIGIN}/team/new/manifests/v1",
            f"platform/team/app/manifests/{none}",
            f"platform/team/app/manifests/{none.replace(':', '-')}",
            f"platform/team/app/manifests/{none.replace(':', '-')}.sig",
            "platform/new/tags/list",
            f"platform/team/app/blobs/{none}",
            f"platform/team/app/referrers/{none}",
            "platform__1/team/app/manifests/v3",
            "nothing/team/app/manifests/v3",
        ):
            ask(other, f"/v2/{path}")
    found = {(miss.format, miss.repository, miss.want) for miss in other.misses}
    assert found == {
        ("oci", "platform", "team/app:v3"),
        ("oci", "platform", "team/new:v1"),
        ("oci", "platform", f"team/app@{none}"),
    }


def test_switches_grace_and_recalls(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    first, second = layout.image("one\n"), layout.image("two\n")
    published = Published(tmp_path / "store")

    def publish(tags: dict[str, Any]) -> None:
        files = tree(layout, tags)
        published.publish("platform", files, format="oci", overlay=overlay(files))

    path = "/v2/platform/app/manifests/"
    publish({"app:v1": first, "app:gone": first, "other:1": first})
    with Serving(published.store.folder, grace=10.0) as server:
        assert ask(server, path + "v1")[2] == layout.read(first)
        publish({"app:v1": second})
        eventually(lambda: ask(server, path + "v1")[2] == layout.read(second))
        assert ask(server, path + first.digest)[2] == layout.read(first)
        layer = json.loads(layout.read(first))["layers"][0]["digest"]
        assert ask(server, f"/v2/platform/app/blobs/{layer}")[0] == 200
        assert refusal(ask(server, path + "gone"), 404)[0] == "MANIFEST_UNKNOWN"
        assert refusal(ask(server, "/v2/platform/other/manifests/1"), 404)[0] == "NAME_UNKNOWN"
        assert ask(server, f"/v2/platform/other/manifests/{first.digest}")[0] == 200
        assert json.loads(ask(server, "/v2/platform/app/tags/list")[2])["tags"] == ["v1"]
        assert ask(server, "/v2/platform__1/app/manifests/gone")[0] == 200
        published.deny(Digest(hashlib.sha256(layout.read(first)).hexdigest()))
        for name in ("platform", "platform__1"):
            manifest = f"/v2/{name}/app/manifests/{first.digest}"
            eventually(lambda path=manifest: ask(server, path)[0] == 451)
            code, message = refusal(ask(server, manifest), 451)
            assert code == "DENIED" and "denied" in message
        assert json.loads(ask(server, "/v2/platform__1/app/tags/list")[2])["tags"] == []
        assert ask(server, f"/v2/platform/app/blobs/{layer}")[0] == 200
        eventually(lambda: ask(server, f"/v2/platform/app/blobs/{layer}")[0] == 404)
        assert refusal(ask(server, f"/v2/platform/app/blobs/{layer}"), 404)[0] == "BLOB_UNKNOWN"
    published.close()


def test_a_denied_referrer_is_not_listed(images: Images, tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    images.publish(published, "platform")
    published.deny(Digest(images.sbom.hex))
    with Serving(published.store.folder) as server:
        body = ask(server, f"/v2/platform/team/app/referrers/{images.app.digest}")[2]
        rows = json.loads(body)["manifests"]
        assert [row["digest"] for row in rows] == [images.signature.digest]
    published.close()


def test_an_outside_cannot_take_a_registry_that_the_inside_gave_away(
    images: Images, tmp_path: Path
) -> None:
    published = Published(tmp_path / "store")
    images.publish(published, "aaa", replaces=ORIGIN)
    other = tree(images.layout, {"team/app:v1": images.base}, replaces="not a registry")
    published.publish("zzz", other, format="oci", overlay={})
    path = f"/v2/team/app/manifests/v1?ns={ORIGIN}"
    given = {"zzz": Registry(replaces=(ORIGIN,))}
    with Serving(published.store.folder, registries=given) as server:
        assert ask(server, path)[2] == images.layout.read(images.base)
    published.close()


def test_tags_of_one_image_in_two_repositories_are_one_list(images: Images, tmp_path: Path) -> None:
    published = Published(tmp_path / "store")
    images.publish(published, "aaa", replaces=ORIGIN)
    tags = {"team/app:v1": images.base, "team/app:v1.5": images.base, "other:1": images.base}
    other = tree(images.layout, tags, replaces=ORIGIN)
    published.publish("zzz", other, format="oci", overlay={})
    published.deny(Digest(images.docker.hex))
    path = f"/v2/{ORIGIN}/team/app"
    with Serving(published.store.folder) as server:
        listed = json.loads(ask(server, f"{path}/tags/list")[2])
        assert listed == {
            "name": f"{ORIGIN}/team/app", "tags": ["alpha", "Beta", "v1", "v1.5", "v10", "v2"],
        }  # fmt: skip
        _, headers, body = ask(server, f"/v2/team/app/tags/list?n=3&ns={ORIGIN}")
        assert json.loads(body)["tags"] == ["alpha", "Beta", "v1"]
        body = ask(server, headers["link"].partition(">")[0][1:])[2]
        assert json.loads(body)["tags"] == ["v1.5", "v10", "v2"]
        assert ask(server, f"{path}/manifests/v1")[2] == images.layout.read(images.app)
        assert ask(server, f"{path}/manifests/v1.5")[2] == images.layout.read(images.base)
        assert ask(server, f"/v2/{ORIGIN}/other/manifests/1")[0] == 200
        # A want goes to the repository that has the image, whichever is first.
        ask(server, f"/v2/{ORIGIN}/other/manifests/2")
    assert {(miss.repository, miss.want) for miss in server.misses} == {("zzz", "other:2")}
    published.close()


def test_referrers_of_one_digest_in_two_repositories_are_one_list(
    images: Images, tmp_path: Path
) -> None:
    published = Published(tmp_path / "store")
    layout = images.layout
    third = layout.artifact(SBOM, layout.blob(b"[3]"), subject=images.app)
    denied = layout.artifact(SBOM, layout.blob(b"[4]"), subject=images.app)
    for name, some in (
        ("aaa", (images.signature,)),
        ("bbb", (images.signature, images.sbom, denied)),
        ("ccc", (third,)),
    ):
        also = {"team/app": some}
        files = tree(layout, {"team/app:v1": images.app}, also=also, replaces=ORIGIN)
        published.publish(name, files, format="oci", overlay=overlay(files))
    published.deny(Digest(denied.hex))
    path = f"/v2/{ORIGIN}/team/app/referrers/{images.app.digest}"
    with Serving(published.store.folder) as server:
        status, headers, body = ask(server, path)
        assert (status, headers["content-type"]) == (200, OCI_INDEX)
        listed = [row["digest"] for row in json.loads(body)["manifests"]]
        assert listed == sorted([images.signature.digest, images.sbom.digest, third.digest])
        assert ask(server, path)[2] == body
        for digest in listed:
            assert ask(server, f"/v2/{ORIGIN}/team/app/manifests/{digest}")[0] == 200
        _, headers, body = ask(server, f"{path}?artifactType={SIGNATURE}")
        assert headers["oci-filters-applied"] == "artifactType"
        assert [row["digest"] for row in json.loads(body)["manifests"]] == [images.signature.digest]
        # By a repository's own name it is asked alone.
        body = ask(server, f"/v2/ccc/team/app/referrers/{images.app.digest}")[2]
        assert [row["digest"] for row in json.loads(body)["manifests"]] == [third.digest]
    published.close()


def test_a_person_sees_images_and_how_to_pull_them(server: Serving) -> None:
    status, headers, body = ask(server, "/oci/platform/")
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "team/app" in page and "<code>Beta</code>" in page
    assert f"podman pull {ORIGIN}/IMAGE:TAG" in page
    assert ask(server, "/oci/platform")[1]["location"] == "/oci/platform/"
    for path in ("/oci/platform/team/app/_tags/v1", "/oci/platform@1/", "/oci/none/"):
        assert ask(server, path)[0] == 404
    assert b"registries.conf" in ask(server, "/setup/")[2]
    assert b'href="/setup/registries.conf"' in ask(server, "/")[2]
