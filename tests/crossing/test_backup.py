"""The drill: a machine burns, another goes on from the backup."""

from __future__ import annotations

import shutil
import urllib.request
from pathlib import Path

import pytest

from tests.support.zones import Zones, sluice


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "a.txt").write_text("first")
    return Zones(tmp_path / "zones", {"tools": {"format": "files", "upstream": f"file://{vendor}"}})


def change(zones: Zones, text: str) -> None:
    (zones.folder.parent / "vendor" / "a.txt").write_text(text)


def published(zones: Zones) -> dict[str, object]:
    found: dict[str, object] = zones.status()["repositories"]["tools"]["publication"]
    return found


def test_an_inside_that_burned_goes_on_from_its_backup(zones: Zones, tmp_path: Path) -> None:
    zones.cross()
    (zones.inside / "secrets").mkdir()
    (zones.inside / "secrets" / "word").write_text("secret")
    (zones.inside / "secrets" / "word").chmod(0o600)
    saved = tmp_path / "saved"
    zones.within("backup", saved)
    before = published(zones)
    again = zones.within("backup", saved).out
    assert "0 new blobs" in again
    assert not (saved / "zone" / "marks").exists()

    shutil.rmtree(zones.inside)
    said = zones.within("restore", saved).out
    assert "verify" in said
    assert published(zones) == before
    zones.within("verify")
    assert (zones.inside / "secrets" / "word").stat().st_mode & 0o777 == 0o600
    (zones.inside / "inbox").mkdir(exist_ok=True)
    change(zones, "second")
    zones.cross()
    assert published(zones)["serial"] == 2
    assert "restored" in zones.within("events").out


def test_zone_and_backup_are_kept_apart_whatever_links_lead_there(
    zones: Zones, tmp_path: Path
) -> None:
    zone = tmp_path / "all" / "zone"
    zone.parent.mkdir()
    zones.inside.rename(zone)
    link = tmp_path / "link"
    link.symlink_to(zone)
    moved = tmp_path / "disk" / "spool"
    moved.mkdir(parents=True)
    (zone / "spool").symlink_to(moved)
    before = (zone / "zone.yaml").stat().st_ino
    for target, word in (
        (zone, "lies in the zone"),
        (zone / "saved" / "deep", "lies in the zone"),
        (link / "saved", "lies in the zone"),
        (moved / "saved", "lies in the zone"),
        (zone.parent, "the zone lies in this folder"),
    ):
        done = sluice("-z", zone, "backup", target, expect=2)
        assert word in done.err and "on another disk" in done.err
    assert not (zone / "saved").exists() and not (moved / "saved").exists()
    assert (zone / "zone.yaml").stat().st_ino == before
    saved = tmp_path / "saved"
    sluice("-z", zone, "backup", saved)
    assert "lies in the backup" in sluice("-z", saved / "new", "restore", saved, expect=2).err


def test_an_outside_that_burned_goes_on_in_a_new_epoch(zones: Zones, tmp_path: Path) -> None:
    keys = zones.outside / "keys" / "hq" / "root"
    shutil.copytree(keys, tmp_path / "medium")
    zones.cross()
    said = zones.out("backup", tmp_path / "saved").out
    assert "left out: keys/hq/root/" in said
    change(zones, "lost with the machine")
    zones.cross()
    shutil.rmtree(zones.outside)
    said = zones.out("restore", tmp_path / "saved").out
    assert "trust renew --new-epoch" in said
    zones.out("trust", "renew", "--new-epoch", "--root-key-to", tmp_path / "medium")
    (zones.outside / "outbox").mkdir(exist_ok=True)
    change(zones, "after the fire")
    zones.cross()
    assert zones.status()["holds"] == []
    with (
        zones.serving(workers=1) as server,
        urllib.request.urlopen(f"{server.url}/files/tools/a.txt", timeout=60) as answer,
    ):
        assert answer.read() == b"after the fire"


def test_a_backup_that_is_not_whole_is_refused(zones: Zones, tmp_path: Path) -> None:
    zones.cross()
    saved = tmp_path / "saved"
    zones.within("backup", saved)
    target = tmp_path / "new"

    def refused(expect: int = 1) -> str:
        return sluice("-z", target, "restore", saved, expect=expect).err

    marker = (saved / "BACKUP").read_bytes()
    (saved / "BACKUP").unlink()
    assert "no whole backup" in refused()
    (saved / "BACKUP").write_bytes(marker.replace(b'"version":1', b'"version":2'))
    assert "another version" in refused()
    (saved / "BACKUP").write_bytes(marker[:-3])
    assert "not what was saved" in refused()
    (saved / "BACKUP").write_bytes(marker)

    root = (saved / "zone" / "trust" / "root.json").read_bytes()
    (saved / "zone" / "trust" / "root.json").write_bytes(root + b" ")
    assert "root.json" in refused()
    (saved / "zone" / "trust" / "root.json").write_bytes(root)

    blob = next(path for path in (saved / "blobs").glob("??/*"))
    content = blob.read_bytes()
    blob.chmod(0o644)
    blob.write_bytes(content + b"x")
    assert blob.name in refused()
    assert not (target / "zone.yaml").exists()
    blob.write_bytes(content)
    assert refused(0) == ""  # goes on where it broke off
    assert "a zone already" in refused(2)


def test_a_foreign_folder_is_left_alone(zones: Zones, tmp_path: Path) -> None:
    zones.cross()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    said = zones.within("backup", tmp_path / "mine", expect=2)
    assert "thesis.txt" in said.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
