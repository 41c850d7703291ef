"""Mirroring signed images from a real registry: what nobody trusted signed stays outside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.oci.rules import ImageRule
from manifests.zone.model import Signers
from tests.clients.syncing import open_store
from tests.support.cosign import Signer, signature_tag
from tests.support.images import Descriptor, Layout
from tests.support.ocimirror import ImageMirror, images
from tests.support.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


class Team:
    """Pushes images below a name of its own, and signs some."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry = registry
        self.layout = Layout(folder / "layout")
        self.image = folder.name.replace("_", "-").lower()
        self.signer = Signer()
        self.key = self.signer.write(folder / "cosign.pub")
        self.mirror = ImageMirror(open_store(folder / "store"), images(registry.url, self.image))
        self.trust(self.key)

    def trust(self, *keys: Path) -> None:
        self.mirror.set(signers=Signers(signed_by=keys))

    def push(self, text: str, *tags: str) -> Descriptor:
        what = self.layout.platforms(text)
        return self.registry.push(self.layout, self.image, what, *tags)

    def sign(self, what: Descriptor, signer: Signer | None = None) -> None:
        made = (signer or self.signer).sign(self.layout, what, f"registry.example.com/{self.image}")
        self.registry.push(self.layout, self.image, made, signature_tag(what))

    def tags(self) -> dict[str, str]:
        """Tag -> digest of the newest snapshot, without signatures."""
        found = self.mirror.tags().items()
        prefix = f"{self.image}:"
        return {k.removeprefix(prefix): v for k, v in found if not k.endswith(".sig")}


@pytest.fixture
def team(registry: Registry, tmp_path: Path) -> Team:
    return Team(registry, tmp_path)


def test_only_signed_images_come_and_their_signatures_with_them(team: Team) -> None:
    good, bad, foreign = (team.push(text, text) for text in ("good", "bad", "foreign"))
    team.sign(good)
    team.sign(foreign, Signer())
    report = team.mirror.sync()
    assert team.tags() == {"good": good.digest}
    assert f"{team.image}:{signature_tag(good)}" in team.mirror.tags()
    ((kind, _, detail),) = team.mirror.holds()
    assert kind == "images"
    assert detail["items"] == [
        f"{team.image}:bad: it is not signed",
        f"{team.image}:foreign: it is signed, but by no trusted key",
    ]
    assert {problem.path for problem in report.problems} == {
        f"{team.image}:bad",
        f"{team.image}:foreign",
    }
    team.sign(bad)
    team.sign(foreign)
    team.mirror.sync()
    assert set(team.tags()) == {"good", "bad", "foreign"}
    assert team.mirror.holds() == []


def test_a_tag_that_moves_to_an_unsigned_image_keeps_its_last_good_one(team: Team) -> None:
    old = team.push("old", "v1")
    team.sign(old)
    team.mirror.sync()
    new = team.push("new", "v1")
    team.push("other", "v2")
    report = team.mirror.sync()
    assert team.tags() == {"v1": old.digest}
    whats = {problem.path: problem.what for problem in report.problems}
    assert whats[f"{team.image}:v1"] == "it is not signed; its last good state stays"
    assert whats[f"{team.image}:v2"] == "it is not signed; it is not mirrored"
    team.sign(new)
    team.mirror.sync()
    assert team.tags() == {"v1": new.digest}


def test_strict_holds_the_snapshot(team: Team) -> None:
    team.sign(team.push("good", "good"))
    team.push("bad", "bad")
    repo = images(team.registry.url, team.image, strict=True)
    team.mirror.set(oci=repo.oci)
    with pytest.raises(errors.UpstreamError, match=f"{team.image}:bad: it is not signed"):
        team.mirror.sync()
    assert team.mirror.snapshots() == []


def test_another_key_does_not_let_the_last_state_stand_in(team: Team, tmp_path: Path) -> None:
    other = Signer()
    first, second = team.push("first", "v1"), team.push("second", "v2")
    for what in (first, second):
        team.sign(what)
    team.mirror.sync()
    team.sign(second, other)
    team.trust(other.write(tmp_path / "other.pub"))
    team.mirror.set(max_removals=1.0)
    team.mirror.sync()
    assert team.tags() == {"v2": second.digest}


def test_no_image_signed_is_an_error_that_names_them(team: Team) -> None:
    team.push("bad", "v1")
    with pytest.raises(errors.UpstreamRefused, match="v1: it is not signed"):
        team.mirror.sync()


def test_signatures_among_referrers_and_of_images_by_digest(team: Team) -> None:
    by_referrer = team.push("referrer", "v1")
    bundled = team.push("bundled", "v2")
    name = f"registry.example.com/{team.image}"
    for made in (
        team.signer.refer(team.layout, by_referrer, name),
        team.signer.bundle(team.layout, bundled),
    ):
        team.registry.attach(team.layout, team.image, made)
    unsigned = team.push("unsigned")
    repo = images(
        team.registry.url,
        f"{team.image}:v1",
        f"{team.image}@{bundled.digest}",
        f"{team.image}@{unsigned.digest}",
    )
    team.mirror.set(oci=repo.oci)
    report = team.mirror.sync()
    assert {one.path: one.what for one in report.problems} == {
        f"{team.image}@{unsigned.digest}": "it is not signed; it is not mirrored"
    }
    assert f"{team.image}/_manifests/sha256/{bundled.hex}" in team.mirror.paths()
    assert f"{team.image}/_manifests/sha256/{unsigned.hex}" not in team.mirror.paths()


@pytest.mark.parametrize("form", ["tag", "bundle"])
def test_signatures_in_an_oci_layout(tmp_path: Path, form: str) -> None:
    signer, layout = Signer(), Layout(tmp_path / "layout")
    what, bad = layout.platforms("good\n"), layout.platforms("bad\n")
    layout.tag("v1", what)
    layout.tag("v2", bad)
    if form == "tag":
        made = signer.sign(layout, what, "registry.example.com/team/app")
        layout.tag(signature_tag(what), made)
    else:
        layout.tag("bundle", signer.bundle(layout, what))
    mirror = ImageMirror(
        open_store(tmp_path / "store"),
        images(layout.folder.as_uri(), ImageRule("team/app", tags=("v*",))),
    )
    mirror.set(signers=Signers(signed_by=(signer.write(tmp_path / "cosign.pub"),)))
    report = mirror.sync()
    assert {one.path: one.what for one in report.problems} == {
        "team/app:v2": "it is not signed; it is not mirrored"
    }
    assert mirror.tags()["team/app:v1"] == what.digest
