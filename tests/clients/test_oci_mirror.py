"""Mirroring images from a real registry: what comes, what it costs, and what goes again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.oci.layout import locate
from manifests.formats.oci.rules import ImageRule
from mirror.settings import spec_of
from store.checks import derive_overlay
from tests.clients.syncing import open_store
from tests.support.certs import Authority
from tests.support.images import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, Layout
from tests.support.imagetrees import overlay, tree
from tests.support.ocimirror import FAST, ImageMirror, images
from tests.support.registry import Registry
from tests.support.served import Published, Serving
from tests.support.skopeo import Skopeo
from tests.support.tokens import TokenServer

MANIFESTS = (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


def test_an_image_comes_whole_and_then_costs_one_request(
    registry: Registry, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    shared = layout.layer({"shared": b"x" * 5000})
    one = layout.image("one\n", layers=[shared])
    registry.push(layout, "team/app", one, "v1", "latest")
    mirror = ImageMirror(open_store(tmp_path / "store"), images(registry.url, "team/app:v1"))
    report = mirror.sync()
    assert report.problems == ()
    assert mirror.tags() == {"team/app:v1": one.digest}
    assert mirror.content("team/app/_tags/v1") == layout.read(one)
    assert mirror.content(f"team/app/_manifests/sha256/{one.hex}") == layout.read(one)
    assert mirror.content(f"team/app/_blobs/sha256/{shared.hex}") == layout.read(shared)

    before = len(registry.requests())
    report = mirror.sync()
    assert not report.changed
    assert report.bytes_downloaded == 0
    assert registry.requests()[before:] == ["HEAD /v2/team/app/manifests/v1 200"]


def test_globs_versions_and_platforms(registry: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    made = {}
    for tag in ("v1.2", "v1.9", "v1.10", "v2.0-rc1", "latest"):
        made[tag] = layout.platforms(f"{tag}\n", "amd64", "arm64")
        registry.push(layout, "base/one", made[tag], tag)
    registry.push(layout, "base/two", made["latest"], "nightly")
    registry.push(layout, "other", made["latest"], "v1")
    rule = ImageRule("base/*", newest=2, platforms=("linux/amd64",))
    mirror = ImageMirror(open_store(tmp_path / "store"), images(registry.url, rule))
    report = mirror.sync()
    assert mirror.tags() == {
        "base/one:v1.9": made["v1.9"].digest,
        "base/one:v1.10": made["v1.10"].digest,
    }
    rows = json.loads(layout.read(made["v1.10"]))["manifests"]
    wanted, unwanted = (f"base/one/_manifests/sha256/{row['digest'][7:]}" for row in rows)
    assert wanted in mirror.paths() and unwanted not in mirror.paths()
    told = {problem.path: problem.what for problem in report.problems}
    assert told["base/two"] == "no tag of it is wanted"
    assert "sparse: without linux/arm64" in told.values()

    # A newer version pushes the oldest out, although nothing was lost upstream.
    mirror.set(max_removals=0.0)
    newer = layout.platforms("newer\n", "amd64", "arm64")
    registry.push(layout, "base/one", newer, "v1.11")
    mirror.sync()
    assert set(mirror.tags()) == {"base/one:v1.10", "base/one:v1.11"}


def test_a_moved_and_a_deleted_tag(registry: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    shared = layout.random_layer(200_000, seed=3)
    old, kept = layout.image("old\n", layers=[shared]), layout.image("kept\n")
    registry.push(layout, "moving", old, "latest", "v1")
    registry.push(layout, "moving", kept, "gone", "stays")
    mirror = ImageMirror(open_store(tmp_path / "store"), images(registry.url, "moving"))
    mirror.sync()
    assert len(mirror.tags()) == 4
    new = layout.image("new\n", layers=[shared])
    registry.push(layout, "moving", new, "latest")
    registry.untag("moving", "gone")
    mirror.set(max_removals=0.0)
    with pytest.raises(errors.RemovalsHeld, match="1 of 4 files"):
        mirror.sync()
    report = mirror.sync(accept_removals=True)
    assert mirror.tags() == {
        "moving:latest": new.digest,
        "moving:v1": old.digest,
        "moving:stays": kept.digest,
    }
    assert report.bytes_downloaded < 10_000, "the shared layer was here"


def test_a_layer_that_another_repository_brought_is_not_asked_for(
    registry: Registry, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    shared = layout.random_layer(200_000, seed=4)
    registry.push(layout, "left", layout.image("left\n", layers=[shared]), "v1")
    registry.push(layout, "right", layout.image("right\n", layers=[shared]), "v1")
    store = open_store(tmp_path / "store")
    ImageMirror(store, images(registry.url, "left:v1")).sync()
    other = ImageMirror(store, replace(images(registry.url, "right:v1"), name="second"))
    assert other.sync().bytes_downloaded < 10_000
    assert shared.digest in other.blobs()
    assert f"GET /v2/right/blobs/{shared.digest} 200" not in registry.requests()

    # Nor is it asked for twice within one repository.
    before = len(registry.requests())
    both = ImageMirror(open_store(tmp_path / "fresh"), images(registry.url, "left", "right"))
    assert both.sync().problems == ()
    asked = [line for line in registry.requests()[before:] if shared.digest in line]
    assert len(asked) == 1
    assert len([path for path in both.paths() if shared.hex in path]) == 2


def test_docker_images_artifacts_and_zstd_layers_come_byte_for_byte(
    registry: Registry, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    made = {
        "docker": layout.platforms("docker\n", docker=True),
        "zstd": layout.image("zstd\n", compression="zstd"),
        "chart": layout.artifact("application/vnd.example.chart", layout.blob(b"chart")),
        "nested": layout.index([layout.platforms("inner\n")]),
    }
    for tag, what in made.items():
        registry.push(layout, "kinds", what, tag)
    mirror = ImageMirror(
        open_store(tmp_path / "store"), images(registry.url, "kinds", clients=("docker-1.13",))
    )
    report = mirror.sync()
    for tag, what in made.items():
        assert mirror.content(f"kinds/_tags/{tag}") == layout.read(what)
        for each in layout.within(what):
            folder = "_manifests" if each.media_type in MANIFESTS else "_blobs"
            path = f"kinds/{folder}/sha256/{each.hex}"
            assert mirror.content(path) == layout.read(each)
    told = {problem.path: problem.what for problem in report.problems}
    assert told == {
        "kinds:zstd": "docker-1.13 cannot pull it: it is an OCI image",
        "kinds:chart": "docker-1.13 cannot pull it: it is an OCI image",
        "kinds:nested": "docker-1.13 cannot pull it: it is an OCI index",
    }


def test_referrers_by_both_tag_schemes(registry: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.platforms("signed\n")
    registry.push(layout, "signed", image, "v1")
    sbom = layout.artifact("application/spdx+json", layout.blob(b"sbom"), subject=image)
    registry.attach(layout, "signed", sbom)
    signature = layout.image("stands for a signature\n")
    registry.push(layout, "signed", signature, f"sha256-{image.hex}.sig")
    unrelated = layout.image("of an image that is not wanted\n")
    registry.push(layout, "signed", unrelated, "sha256-" + "0" * 64 + ".sig")
    repo = images(registry.url, "signed:v1", referrers=True)
    mirror = ImageMirror(open_store(tmp_path / "store"), repo)
    assert mirror.sync().problems == ()
    assert set(mirror.tags()) == {
        "signed:v1", f"signed:sha256-{image.hex}", f"signed:sha256-{image.hex}.sig",
    }  # fmt: skip
    assert mirror.content(f"signed/_manifests/sha256/{sbom.hex}") == layout.read(sbom)

    tree = mirror.snapshots()[0].tree
    with mirror.store.locks.shared():
        overlay = derive_overlay(mirror.store, "oci", spec_of(repo), tree)
    assert overlay is not None
    (entry,) = mirror.store.tree(overlay.digest).entries()
    assert entry.path == f"signed/_referrers/sha256/{image.hex}"
    (row,) = json.loads(mirror.store.small(entry.digest, 1 << 20))["manifests"]
    assert (row["digest"], row["artifactType"]) == (sbom.digest, "application/spdx+json")


@pytest.mark.parametrize("by_file", [True, False])
def test_a_registry_that_asks_for_a_password(by_file: bool, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.image("private\n")
    authority = Authority(tmp_path / "ca")
    with Registry(users={"ann": "s3cret"}, tls=authority.issue("127.0.0.1")) as registry:
        registry.push(layout, "team/private", image, "v1")
        secret = tmp_path / "password"
        secret.write_text("s3cret\n")
        connection = replace(FAST, ca_file=authority.ca)
        auth_file = None
        if by_file:
            skopeo = Skopeo(tmp_path / "skopeo")
            skopeo.login(registry.host, "ann", "s3cret")
            auth_file = skopeo.auth
        else:
            connection = replace(connection, username="ann", password_file=secret)
        repo = images(registry.url, "team/*", connection=connection, auth_file=auth_file)
        mirror = ImageMirror(open_store(tmp_path / "store"), repo)
        mirror.sync()
        assert mirror.tags() == {"team/private:v1": image.digest}
        mirror.set(
            connection=replace(FAST, ca_file=authority.ca), oci=replace(repo.oci, auth_file=None)
        )
        report = mirror.sync()
        assert "status 401" in report.problems[0].what
        assert mirror.tags() == {"team/private:v1": image.digest}


def test_a_real_registry_that_wants_tokens(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image = layout.image("token\n")
    secret = tmp_path / "password"
    secret.write_text("s3cret\n")
    pair = Authority(tmp_path / "ca").issue("issuer")
    with Registry() as registry, TokenServer(pair, ann="s3cret") as server:
        registry.push(layout, "team/one", image, "v1")
        registry.push(layout, "team/two", image, "v1")
        registry.stop()
        registry.token = server.options
        registry.start()
        connection = replace(FAST, username="ann", password_file=secret)
        repo = images(registry.url, "team/*", connection=connection)
        mirror = ImageMirror(open_store(tmp_path / "store"), repo)
        assert mirror.sync().problems == ()
        assert mirror.tags() == {"team/one:v1": image.digest, "team/two:v1": image.digest}
        assert sorted(set(server.scopes)) == [
            "registry:catalog:*", "repository:team/one:pull", "repository:team/two:pull",
        ]  # fmt: skip
        assert len(server.scopes) == 3, "one token for each"

        secret.write_text("wrong\n")
        report = mirror.sync()
        assert "token server answered 401" in report.problems[0].what
        assert len(mirror.tags()) == 2


def test_our_own_server_is_an_upstream_like_any_other(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    image, other = layout.platforms("app\n"), layout.image("other\n", docker=True)
    sbom = layout.artifact("application/spdx+json", layout.blob(b"sbom"), subject=image)
    seal = layout.artifact("application/vnd.example.seal", layout.blob(b"seal"), subject=sbom)
    files = tree(
        layout,
        {"team/app:v1": image, "team/app:v2": other, "tools:v1": other},
        also={"team/app": (sbom, seal)},
    )
    published = Published(tmp_path / "served")
    published.publish("platform", files, format="oci", overlay=overlay(files))
    with Serving(published.store.folder) as server:
        repo = images(server.url, "platform/*", referrers=True)
        mirror = ImageMirror(open_store(tmp_path / "store"), repo)
        assert mirror.sync().problems == ()
        public = {path for path in files if locate(path) is not None}
        assert {place.path.removeprefix("platform/") for place in mirror.places()} == public
        for path in public:
            assert mirror.content(f"platform/{path}") == files[path]
        assert not mirror.sync().changed
    published.close()
