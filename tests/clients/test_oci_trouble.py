"""Registries that misbehave: the image is named, the others go on, nothing wrong gets in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.oci.rules import ImageRule
from manifests.zone.model import Connection
from store.records import RootKind
from tests.clients.syncing import open_store
from tests.support.badregistry import BadRegistry, Mood
from tests.support.images import OCI_INDEX, OCI_MANIFEST, Descriptor, Layout
from tests.support.ocimirror import FAST, ImageMirror, images


class Site:
    """A registry with a good and a bad image, and a mirror of both."""

    def __init__(self, registry: BadRegistry, folder: Path) -> None:
        self.registry = registry
        self.layout = registry.layout
        self.good = self.layout.image("good\n")
        registry.push("good", self.good, "v1")
        self.mirror = ImageMirror(
            open_store(folder / "store"), images(registry.url, ImageRule("*"))
        )

    def bad(self, **more: object) -> tuple[Descriptor, Descriptor]:
        """An image whose layer or manifest a test spoils: the image and its big layer."""
        layer = self.layout.random_layer(300_000, seed=7)
        image = self.layout.image("bad\n", layers=[layer], **more)  # type: ignore[arg-type]
        self.registry.push("bad", image, "v1")
        return image, layer

    def fails(self, what: str, name: str = "bad:v1") -> None:
        """The sync names the image, and the good one is there as it should be."""
        report = self.mirror.sync()
        found = {problem.path: problem.what for problem in report.problems}
        assert what in found[name]
        assert self.mirror.tags() == {"good:v1": self.good.digest}
        assert [place for place in self.mirror.places() if place.image == "bad"] == []
        ((kind, reason, detail),) = self.mirror.holds()
        assert (kind, detail["total"]) == ("images", 1)
        assert name in reason and what in reason


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with BadRegistry(Layout(tmp_path / "layout")) as registry:
        yield Site(registry, tmp_path)


def test_a_manifest_with_another_digest(site: Site) -> None:
    image, _ = site.bad()
    both = site.layout.index([image])
    site.registry.push("bad", both, "v1")
    site.registry.moods[f"bad/manifests/{image.digest}"] = Mood(
        body=site.layout.read(image).replace(b'"schemaVersion"', b' "schemaVersion"')[:-1]
    )
    site.fails("sha256")


def test_a_layer_of_another_size(site: Site) -> None:
    _, layer = site.bad()
    site.registry.moods[f"bad/blobs/{layer.digest}"] = Mood(body=site.layout.read(layer) + b"x")
    site.fails(f"{layer.digest}: {layer.size + 1} bytes come, {layer.size} were promised")


def test_a_layer_that_claims_to_be_larger_than_the_disk(site: Site) -> None:
    _, layer = site.bad()
    image = site.layout.image("bad\n", layers=[replace(layer, size=1 << 60)])
    site.registry.push("bad", image, "v1")
    site.fails(f"{layer.digest} is said to have {1 << 60} bytes")


def test_a_layer_of_other_bytes(site: Site) -> None:
    _, layer = site.bad()
    data = bytearray(site.layout.read(layer))
    data[5000] ^= 1
    site.registry.moods[f"bad/blobs/{layer.digest}"] = Mood(body=bytes(data))
    site.fails("its sha256 is")


def test_an_index_that_names_itself(site: Site) -> None:
    lie = "sha256:" + "5" * 64
    row = {"mediaType": OCI_INDEX, "digest": lie, "size": 400}
    body = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [row]}).encode()
    headers = {"content-type": OCI_INDEX, "docker-content-digest": lie}
    site.bad()
    for reference in ("v1", lie):
        site.registry.moods[f"bad/manifests/{reference}"] = Mood(body=body, headers=headers)
    site.fails("an index that names itself")


@pytest.mark.parametrize("announced", [OCI_INDEX, "application/vnd.oci.image.config.v1+json"])
def test_a_media_type_that_lies(site: Site, announced: str) -> None:
    site.bad()
    site.registry.moods["bad/manifests/v1"] = Mood(headers={"content-type": announced})
    site.fails("announced as")


def test_an_index_that_lies_about_a_manifest(site: Site) -> None:
    image, _ = site.bad()
    lying = site.layout.index([replace(image, media_type=OCI_INDEX)])
    site.registry.push("bad", lying, "v1")
    site.fails(f"it is {OCI_MANIFEST}, announced as {OCI_INDEX}")


def test_names_with_dots(site: Site) -> None:
    site.registry.catalog = ["good", "../etc", "a/../b", "good/..", "GOOD"]
    report = site.mirror.sync()
    found = {problem.path for problem in report.problems}
    assert found == {"../etc", "a/../b", "good/..", "GOOD"}
    assert all(".." not in one.path for one in site.registry.asked)
    assert site.mirror.tags() == {"good:v1": site.good.digest}


def test_tags_with_dots_are_never_asked_for(site: Site) -> None:
    site.registry.moods["good/tags/list"] = Mood(body=b'{"tags": ["v1", "../v1", "..", 3, "a/b"]}')
    report = site.mirror.sync()
    assert {p.path for p in report.problems} == {"good:../v1", "good:..", "good:a/b"}
    assert site.mirror.tags() == {"good:v1": site.good.digest}


def test_a_layer_that_never_comes(site: Site) -> None:
    _, layer = site.bad()
    site.registry.moods[f"bad/blobs/{layer.digest}"] = Mood(stop_after=0)
    site.fails("broke off")


def test_a_stalling_layer_goes_on_where_it_stopped(site: Site) -> None:
    image, layer = site.bad()
    path = f"bad/blobs/{layer.digest}"
    site.mirror.set(connection=replace(FAST, timeout=2.0))
    site.registry.moods[path] = Mood(times=1, stop_after=100_000, stall=5.0)
    assert site.mirror.sync().problems == ()
    assert site.mirror.tags() == {"good:v1": site.good.digest, "bad:v1": image.digest}
    assert [one.range for one in site.registry.asked if one.path == path] == ["", "bytes=100000-"]


def test_a_reset_in_a_layer_is_resumed_also_in_the_next_sync(site: Site) -> None:
    image, layer = site.bad()
    path = f"bad/blobs/{layer.digest}"
    site.registry.moods[path] = Mood(times=2, stop_after=100_000)
    site.fails("broke off")
    assert site.mirror.sync().problems == ()
    assert site.mirror.tags() == {"good:v1": site.good.digest, "bad:v1": image.digest}
    assert site.mirror.holds() == []
    ranges = [one.range for one in site.registry.asked if one.path == path]
    assert ranges == ["", "bytes=100000-", "bytes=200000-"]


def test_a_token_that_expires_in_the_middle_of_a_layer(tmp_path: Path) -> None:
    with BadRegistry(Layout(tmp_path / "layout"), token_life=60) as registry:
        registry.users["ann"] = "secret"
        (tmp_path / "password").write_text("secret\n")
        site = Site(registry, tmp_path)
        image, layer = site.bad()
        # One at a time: else another request may have renewed the token already.
        login = replace(FAST, username="ann", password_file=tmp_path / "password", parallel=1)
        site.mirror.set(connection=login)
        path = f"bad/blobs/{layer.digest}"
        registry.moods[path] = Mood(times=1, stop_after=120_000, revoke=True)
        assert site.mirror.sync().problems == ()
        assert site.mirror.tags() == {"good:v1": site.good.digest, "bad:v1": image.digest}
        asked = [(one.range, one.status) for one in registry.asked if one.path == path]
        assert asked == [("", 200), ("bytes=120000-", 401), ("bytes=120000-", 206)]
        scopes = {one.path for one in registry.asked if one.path.startswith("token")}
        assert "token repository:bad:pull" in scopes and "token repository:good:pull" in scopes


def test_too_many_requests_are_made_again_when_the_registry_says(site: Site) -> None:
    _, layer = site.bad()
    site.registry.moods[f"bad/blobs/{layer.digest}"] = Mood(
        times=1, status=429, headers={"retry-after": "7"}
    )
    assert site.mirror.sync().problems == ()
    assert site.mirror.pauses == [7.0]
    assert "bad:v1" in site.mirror.tags()


def test_what_failed_keeps_its_last_good_state_with_all_that_belongs_to_it(site: Site) -> None:
    image, layer = site.bad()
    site.mirror.sync()
    moved, new_layer = site.layout.image("moved\n"), site.layout.image("better\n")
    site.registry.push("bad", moved, "v1")
    site.registry.push("good", new_layer, "v1")
    lost = json.loads(site.layout.read(moved))["layers"][0]["digest"]
    site.registry.moods[f"bad/blobs/{lost}"] = Mood(status=404)
    report = site.mirror.sync()
    ((path, what),) = [(problem.path, problem.what) for problem in report.problems]
    assert path == "bad:v1" and what.endswith("its last good state stays")
    assert site.mirror.tags() == {"good:v1": new_layer.digest, "bad:v1": image.digest}
    assert layer.digest in site.mirror.blobs() and lost not in site.mirror.blobs()


def test_strict_holds_the_snapshot(site: Site) -> None:
    _, layer = site.bad()
    site.registry.moods[f"bad/blobs/{layer.digest}"] = Mood(status=404)
    site.mirror.set(oci=images(site.registry.url, ImageRule("*"), strict=True).oci)
    with pytest.raises(errors.UpstreamError, match=r"bad:v1: .*does not have it"):
        site.mirror.sync()
    assert site.mirror.snapshots() == []
    assert [kind for kind, _, _ in site.mirror.holds()] == ["upstream"]


def test_a_registry_that_refuses_everything_holds_the_repository(site: Site) -> None:
    site.registry.catalog = []
    for path in ("good/manifests/v1", "good/tags/list"):
        site.registry.moods[path] = Mood(status=403)
    site.mirror.set(oci=images(site.registry.url, "good:v1").oci)
    with pytest.raises(errors.UpstreamRefused, match=r"good:v1: .*403"):
        site.mirror.sync()


def test_a_registry_that_is_gone_holds_the_repository(tmp_path: Path) -> None:
    mirror = ImageMirror(
        open_store(tmp_path / "store"),
        images("http://127.0.0.1:9", "good:v1", connection=Connection(retries=0, timeout=2)),
    )
    with pytest.raises(errors.UpstreamUnreachable):
        mirror.sync()


def test_a_layer_that_comes_in_many_pieces_is_patiently_collected(site: Site) -> None:
    layer = site.layout.random_layer(60 << 20, seed=9)
    image = site.layout.image("large\n", layers=[layer])
    site.registry.push("bad", image, "v1")
    path = f"bad/blobs/{layer.digest}"
    # More often than it is tried: but each time it comes further.
    site.registry.moods[path] = Mood(times=5, stop_after=11 << 20)
    assert site.mirror.sync().problems == ()
    assert site.mirror.tags()["bad:v1"] == image.digest
    assert len([one for one in site.registry.asked if one.path == path]) == 6


def test_an_accepted_want_comes_for_the_platforms_of_its_image(site: Site) -> None:
    both = site.layout.platforms("both\n", "amd64", "arm64")
    site.registry.push("multi", both, "v1", "v2")
    rule = ImageRule("multi", tags=("v1",), platforms=("linux/amd64",))
    site.mirror.set(oci=images(site.registry.url, rule).oci)
    with site.mirror.store.ledger.write() as tx:
        tx.add_roots("platform", RootKind.WANT, ["multi:v2", "good:v1", "never:v1"])
    report = site.mirror.sync()
    assert set(site.mirror.tags()) == {"multi:v1", "multi:v2", "good:v1"}
    assert "never:v1" in {problem.path for problem in report.problems}
    arm = json.loads(site.layout.read(both))["manifests"][1]["digest"]
    assert f"multi/_manifests/sha256/{arm[7:]}" not in site.mirror.paths()
