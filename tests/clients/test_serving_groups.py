"""Several repositories served as one by the real server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import pytest

from manifests.digest import sha256_of
from manifests.formats.maven import metadata
from tests.clients.test_serving_http import get
from tests.support.maven import artifact, overlay, place, plugin
from tests.support.served import Published, Serving, eventually

META = "org/example/lib/maven-metadata.xml"
PLUGINS = "org/example/tools/maven-metadata.xml"
SNAP = "org.example:moving:1-SNAPSHOT"
SNAPSHOT = "org/example/moving/1-SNAPSHOT/maven-metadata.xml"
GROUPS = {"public": ("central", "vendor", "later")}


def publish(published: Published, name: str, files: dict[str, bytes]) -> None:
    published.publish(name, files, format="maven", overlay=overlay(files))


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path / "store")
    central = artifact("org.example:lib:1.0") | artifact("org.example:both:1")
    vendor = artifact("org.example:lib:2.0") | plugin("1.0")
    vendor |= dict.fromkeys(artifact("org.example:both:1"), b"another")
    for number, files in ((1, central), (2, vendor)):
        files |= artifact(SNAP, f"1-2024050{number}.120000-{number}")
    publish(made, "central", central)
    publish(made, "vendor", vendor)
    made.publish("tools", {"a.txt": b"a"}, format="files")
    yield made
    made.close()


def serving(published: Published, workers: int = 1, **groups: tuple[str, ...]) -> Serving:
    return Serving(published.store.folder, workers=workers, groups=groups or GROUPS)


def body(server: Serving, path: str) -> bytes:
    status, _, data = get(server, path)
    assert status == 200, (path, status, data)
    return data


def test_the_first_hit_wins_and_metadata_is_united(published: Published) -> None:
    with serving(published) as server:
        both = place("org.example:both:1", ".jar")
        assert body(server, f"/maven/public/{both}") == body(server, f"/maven/central/{both}")
        for version in ("1.0", "2.0"):
            jar = place(f"org.example:lib:{version}", ".jar")
            data = body(server, f"/maven/public/{jar}")
            told = body(server, f"/maven/public/{jar}.sha1")
            assert told == hashlib.sha1(data).hexdigest().encode()
        status, headers, data = get(server, f"/maven/public/{META}")
        assert metadata.read(data, META).versions == ("1.0", "2.0")
        assert b"<release>2.0</release>" in data
        assert headers["content-type"] == "text/xml" and headers["cache-control"] == "no-cache"
        assert headers["etag"] == f'"{sha256_of(data)}"'
        assert get(server, f"/maven/public/{META}", If_None_Match=headers["etag"])[0] == 304
        status, head, nothing = get(server, f"/maven/public/{META}", "HEAD")
        assert (status, nothing, head["content-length"]) == (200, b"", str(len(data)))
        for algorithm in ("sha1", "md5", "sha256", "sha512"):
            told = body(server, f"/maven/public/{META}.{algorithm}").decode()
            assert told == hashlib.new(algorithm, data).hexdigest()
        assert b"<prefix>reveal</prefix>" in body(server, f"/maven/public/{PLUGINS}")
        first = body(server, f"/maven/central/{SNAPSHOT}")
        assert body(server, f"/maven/public/{SNAPSHOT}") == first
        assert get(server, "/maven/public/org/none/maven-metadata.xml")[0] == 404
        assert get(server, "/maven/public/org/none/maven-metadata.xml.sha1")[0] == 404


def test_a_group_stands_on_the_pages_and_lists_all(published: Published) -> None:
    with serving(published) as server:
        assert b"merged: central, vendor" in body(server, "/")
        assert b'href="public/"' in body(server, "/maven/")
        page = body(server, "/maven/public/org/example/lib/").decode()
        assert page.count(">1.0/<") == 1 and page.count(">2.0/<") == 1
        assert page.count("maven-metadata.xml<") == 1
        assert get(server, "/maven/public")[1]["location"] == "/maven/public/"
        assert get(server, "/maven/public/org")[1]["location"] == "/maven/public/org/"
        assert get(server, "/maven/public/.sluice/facts.json")[0] == 404
        assert get(server, "/maven/public@1/")[0] == 404
        assert get(server, "/files/public/")[0] == 404
        assert get(server, "/maven/public/none/")[0] == 404


def test_members_come_and_go_with_their_publications(published: Published) -> None:
    with serving(published, workers=2) as server:
        assert b"3.0" not in body(server, f"/maven/public/{META}")
        etag = get(server, f"/maven/public/{META}")[1]["etag"]
        publish(published, "later", artifact("org.example:lib:3.0"))
        eventually(lambda: b"3.0" in body(server, f"/maven/public/{META}"))
        status, _, data = get(server, f"/maven/public/{META}", If_None_Match=etag)
        assert status == 200 and b"<release>3.0</release>" in data
        publish(published, "later", artifact("org.example:other:1"))
        eventually(lambda: b"3.0" not in body(server, f"/maven/public/{META}"))
        # Its name stands for its content, so it stays fetchable for a while.
        assert get(server, f"/maven/public/{place('org.example:lib:3.0', '.jar')}")[0] == 200


def test_a_checksum_fits_what_the_client_got_before_a_switch(published: Published) -> None:
    with serving(published, workers=2) as server:
        for name in ("public", "vendor"):
            data = body(server, f"/maven/{name}/{META}")
            publish(published, "vendor", artifact("org.example:lib:2.0"))
            time.sleep(0.5)  # so that most workers see both
            publish(published, "vendor", artifact("org.example:lib:2.1"))
            # A listing has no grace period, and leaves no mark of what the client has.
            eventually(lambda: b"2.1/" in body(server, "/maven/vendor/org/example/lib/"))
            told = body(server, f"/maven/{name}/{META}.sha1")
            assert told == hashlib.sha1(data).hexdigest().encode(), name
            fresh = body(server, f"/maven/{name}/{META}")
            assert b"2.1" in fresh
            told = body(server, f"/maven/{name}/{META}.sha1")
            assert told == hashlib.sha1(fresh).hexdigest().encode(), name
            publish(published, "vendor", artifact("org.example:lib:2.0"))
            eventually(lambda: b"2.1" not in body(server, f"/maven/vendor/{META}"))


def test_what_is_denied_is_neither_sent_nor_merged(published: Published) -> None:
    jar = place("org.example:both:1", ".jar")
    with serving(published) as server:
        page = body(server, f"/maven/vendor/{META}")
        data = body(server, f"/maven/central/{jar}")
        assert b"2.0" in body(server, f"/maven/public/{META}")
        published.deny(sha256_of(page), sha256_of(data))
        eventually(lambda: get(server, f"/maven/public/{jar}")[0] == 451)
        assert metadata.read(body(server, f"/maven/public/{META}"), META).versions == ("1.0",)
        # 451 and not that of the next repository: an operator said no to this name's content.
        published.deny(sha256_of(body(server, f"/maven/central/{META}")))
        eventually(lambda: get(server, f"/maven/public/{META}")[0] == 451)


def test_a_broken_document_of_one_member_spoils_no_other(published: Published) -> None:
    good = artifact("org.example:lib:3.0")
    published.publish("later", good, format="maven", overlay={META: b"<html>"})
    with serving(published) as server:
        assert metadata.read(body(server, f"/maven/public/{META}"), META).versions == ("1.0", "2.0")


def test_only_repositories_of_one_format_that_can_be_merged(published: Published) -> None:
    published.publish("baseos", {"repodata/repomd.xml": b"<repomd/>"})
    published.publish("hidden", {"a.txt": b"hidden"}, format="files")
    groups = {"mixed": ("tools", "central"), "os": ("baseos",), "hidden": ("tools",),
              "empty": ("none",)}  # fmt: skip
    with serving(published, **groups) as server:
        assert body(server, "/files/mixed/a.txt") == b"a"
        assert get(server, "/maven/mixed/")[0] == 404
        assert get(server, "/yum/os/repodata/repomd.xml")[0] == 404
        assert get(server, "/files/empty/")[0] == 404
        assert body(server, "/files/hidden/a.txt") == b"a"
        assert b"hidden by the group" in body(server, "/")


def test_last_modified_never_hides_a_change(published: Published) -> None:
    time.sleep(2.1)  # younger publications have no Last-Modified yet
    with serving(published) as server:
        headers = get(server, f"/maven/public/{META}")[1]
        assert "last-modified" in headers
        since = headers["last-modified"]
        assert get(server, f"/maven/public/{META}", If_Modified_Since=since)[0] == 304
    time.sleep(1.1)
    # Other members now: a client that knows only the time must get the new document.
    with serving(published, public=("vendor",)) as server:
        status, _, data = get(server, f"/maven/public/{META}", If_Modified_Since=since)
        assert status == 200 and metadata.read(data, META).versions == ("2.0",)
        old = formatdate(0, usegmt=True)
        assert get(server, f"/maven/public/{META}", If_Modified_Since=old)[0] == 200


def test_a_miss_is_the_want_of_the_closest_member(published: Published) -> None:
    published.publish("late", artifact("com.example.deep:x:1"), format="maven", overlay={})
    with serving(published, public=("central", "vendor", "late")) as server:
        for path in (
            place("org.example.tools:none:1", ".jar"),  # vendor has this folder
            place("com.example.deep:none:1", ".jar"),
            place("net.unknown:none:1", ".jar"),
            place("net.unknown:none:1", ".jar") + ".sha1",
            place("net.unknown:none:1", ".jar") + ".asc",
            "net/unknown/none/maven-metadata.xml",
            "net/unknown/none/maven-metadata.xml.sha1",
            "net/unknown/",
        ):
            assert get(server, f"/maven/public/{path}")[0] == 404, path
    assert {(miss.repository, miss.want) for miss in server.misses} == {
        ("vendor", "org.example.tools:none:1"),
        ("late", "com.example.deep:none:1"),
        ("central", "net.unknown:none:1"),
    }
