"""An existing mirror on both sides: only what differs from it is fetched, and crosses."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import pytest

from store.gc import collect
from store.seam import Seam
from store.store import Store
from tests.conftest import RsyncdFactory
from tests.support import samples
from tests.support.drive import noise
from tests.support.rpms import RpmCache
from tests.support.yumrepo import YumRepo
from tests.support.zones import Zones

DISC = noise(1, 3_000_000)
SMALL = 1_000_000


@pytest.fixture
def zones(
    tmp_path: Path, vendor_repo: YumRepo, rpm_cache: RpmCache, rsyncd: RsyncdFactory
) -> Zones:
    """Two zones that hold nothing; ``tmp_path/disk`` is a mirror that is a little old."""
    (vendor_repo.root / "images").mkdir(exist_ok=True)
    (vendor_repo.root / "images" / "disc.iso").write_bytes(DISC)
    (vendor_repo.root / "latest.iso").symlink_to("images/disc.iso")
    os.utime(vendor_repo.root / "images" / "disc.iso", ns=(1, 1_600_000_000_123_456_789))
    shutil.copytree(vendor_repo.root, tmp_path / "disk", symlinks=True)
    samples.release_update(vendor_repo, rpm_cache)
    url = rsyncd({"baseos": vendor_repo.root}).url("baseos")
    return Zones(tmp_path, {"baseos": {"format": "yum", "upstream": url}})


def digest(said: str) -> str:
    found = re.search(r"digest of what was adopted: ([0-9a-f ]{71})", said)
    assert found is not None, said
    return found[1]


def crossing_bytes(zones: Zones) -> int:
    """Pack and send; the bytes of all parts."""
    zones.out("pack")
    zones.out("send")
    return sum(part.stat().st_size for part in (zones.outside / "outbox").iterdir())


def trees(zones: Zones) -> tuple[str, str]:
    """What the outside has and the inside serves."""
    there = zones.status(inside=False)["repositories"]["baseos"]["snapshot"]
    here = zones.status()["repositories"]["baseos"]["publication"]
    return there["tree"], here["tree"] if here else ""


def test_what_both_sides_adopted_is_neither_fetched_nor_sent(zones: Zones) -> None:
    disk = zones.folder / "disk"
    theirs = zones.within("adopt", "baseos", disk).out
    ours = zones.out("adopt", "baseos", disk).out
    assert digest(ours) == digest(theirs)
    assert "1 symbolic link passed over" in ours
    fetched = re.search(r"([0-9.]+) (B|KiB|MiB) fetched", zones.out("sync").out)
    assert fetched is not None and fetched[2] != "MiB", fetched
    # As it is read over the telephone: in groups.
    zones.out("adopt", "baseos", "--inside", *digest(theirs).split())
    assert "delta" in zones.out("pack", "--dry-run").out
    assert crossing_bytes(zones) < SMALL
    zones.carry()
    zones.within("receive", "--once")
    assert trees(zones)[0] == trees(zones)[1]
    assert zones.within("adopt").out == "nothing was adopted\n", "its snapshot keeps it now"
    zones.within("verify")
    zones.out("verify")


def test_the_inside_may_have_other_files_and_a_wrong_assumption_heals(zones: Zones) -> None:
    disk = zones.folder / "disk"
    both = zones.within("adopt", "baseos", disk).out
    ours = zones.out("adopt", "baseos", disk).out
    zones.out("sync")
    # The inside loses a file, and lets go of what it adopted.
    (disk / "images" / "disc.iso").unlink()
    zones.within("adopt", "baseos", "--forget")
    with Store.open(zones.inside, files=Seam()) as store:
        assert collect(store).removed
    listed = zones.folder / "adopted.txt"
    fewer = zones.within("adopt", "baseos", disk, "--list", listed).out
    refused = zones.out("adopt", "baseos", "--inside", *digest(fewer).split(), expect=2)
    assert "other files" in refused.err and "--list" in refused.err
    # Who insists gets a hold that names the files.
    assert digest(both) == digest(ours)
    zones.out("adopt", "baseos", "--inside", *digest(both).split())
    assert "a full bundle" in zones.out("pack", "--full", "--dry-run").out
    assert crossing_bytes(zones) < SMALL
    zones.carry()
    zones.within("receive", "--once", expect=3)
    (hold,) = zones.status()["holds"]
    assert hold["kind"] == "incomplete"
    assert hold["detail"]["items"] == ["images/disc.iso", "latest.iso"]
    assert "pack --full" in hold["remedy"]
    # Said anew, only what is lacking crosses, although nothing changed since.
    zones.out("adopt", "baseos", "--inside", listed)
    assert len(DISC) < crossing_bytes(zones) < len(DISC) + SMALL
    zones.carry()
    zones.within("receive", "--once")
    assert trees(zones)[0] == trees(zones)[1]
    assert "nothing changed" in zones.out("pack").out
    assert zones.out("adopt", "baseos", "--forget").out == "baseos: forgotten\n"


def test_what_cannot_be_meant_is_refused(zones: Zones) -> None:
    disk = zones.folder / "disk"
    assert "there is no repository other" in zones.out("adopt", "other", disk, expect=2).err
    nested = zones.out("adopt", "baseos", zones.outside / "blobs", expect=2)
    assert "lie in each other" in nested.err
    early = zones.out("adopt", "baseos", "--inside", "0" * 64, expect=2)
    assert "nothing was adopted for it here" in early.err
    (zones.folder / "no-list").write_text("not a tree\n")
    zones.out("adopt", "baseos", "--inside", zones.folder / "no-list", expect=1)
    assert zones.out("adopt").out == "nothing was adopted\n"
    said = zones.out("adopt", "baseos", disk).out
    zones.out("adopt", "baseos", "--inside", *digest(said).split())
    assert "assumed inside (hq)" in zones.out("adopt").out
    zones.out("trust", "renew", "--new-epoch")
    assert "assumed inside" not in zones.out("adopt").out, "then nobody knows what is inside"
