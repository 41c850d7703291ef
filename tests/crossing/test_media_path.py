"""The whole path by removable media, as the people at both ends go about it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.drive import Outside, Upstream, noise

FILES = {f"file{n}": noise(n, 120_000) for n in range(9)}


class Desks:
    """A medium outside, a medium inside, and a shelf of volumes between."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.upstream = Upstream(folder / "vendor", FILES)
        self.out = Outside.make(folder / "OUT", {"tools": self.upstream})
        self.inside = self.out.inside(folder / "IN")
        self.medium, self.slot, self.shelf = folder / "medium", folder / "slot", folder / "shelf"
        for each in (self.medium, self.slot, self.shelf):
            each.mkdir()
        media = {"carrier": "media", "folder": str(self.medium), "volume": "500kB"}
        media |= options
        stream = media | {"part_size": "128KiB"}
        common = {"reserve_free": "1MiB"}
        self.out.write_yaml(
            {"zone": "outside", "repositories": self.out.repositories, "streams": {"hq": stream}}
            | common
        )
        inside = media | {"folder": str(self.slot), "root": "trust/root.json"}
        self.inside.write_yaml({"zone": "inside", "streams": {"hq": inside}} | common)

    def pack(self) -> None:
        self.out.sluice("sync")
        self.out.sluice("pack")

    def put_away(self) -> list[Path]:
        """Take the volumes from the medium to the shelf."""
        return [
            Path(shutil.move(path, self.shelf / path.name))
            for path in sorted(self.medium.iterdir())
        ]

    def insert(self, *volumes: Path) -> None:
        """Only these lie in the slot, as a medium each would."""
        shutil.rmtree(self.slot)
        self.slot.mkdir()
        for volume in volumes:
            shutil.copytree(volume, self.slot / volume.name)

    def receive(self, *volumes: Path, expect: int) -> str:
        self.insert(*volumes)
        done = self.inside.sluice("receive", "--once", expect=expect)
        return done.out + done.err

    def wanted(self) -> list[int]:
        found: list[int] = self.inside.status()["streams"]["hq"]["volumes"]["wanted"]
        return found


@pytest.fixture
def desks(tmp_path: Path) -> Desks:
    return Desks(tmp_path)


def test_volumes_in_any_order_and_which_is_wanted(desks: Desks) -> None:
    desks.pack()
    said = desks.out.sluice("send").out
    assert "hq: volume 1 is complete" in said
    volumes = desks.put_away()
    assert len(volumes) == 4
    for volume in volumes:
        done = subprocess.run(
            ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=volume, capture_output=True
        )
        assert done.returncode == 0, done.stderr
    said = desks.receive(volumes[2], expect=3)
    assert "volume 1 is still wanted" in said
    assert desks.wanted() == [1, 2, 4]
    assert "hq: volume 4 is still wanted" in desks.inside.sluice("status", expect=None).out
    # Once more the same one, and then one that was damaged on the way.
    desks.receive(volumes[2], expect=3)
    damaged = shutil.copytree(volumes[0], desks.folder / "damaged" / volumes[0].name)
    part = sorted(damaged.glob("*.tar"))[1]
    with part.open("r+b") as file:
        file.seek(60_000)
        file.write(b"\0" * 5000)
    said = desks.receive(damaged, expect=3)
    assert f"volume 1 is still wanted ({part.name}: its bytes are not" in said
    assert desks.wanted() == [1, 2, 4]
    desks.receive(volumes[3], expect=3)
    assert desks.wanted() == [1, 2]
    desks.receive(volumes[0], expect=3)
    assert desks.wanted() == [2]
    said = desks.receive(volumes[1], expect=0)
    assert "published tools snapshot 1" in said
    assert desks.wanted() == []
    assert desks.inside.content("tools") == FILES
    assert desks.inside.digest() == desks.out.digest()
    # All of them again, together.
    desks.receive(*volumes, expect=0)
    assert desks.wanted() == []


def test_what_was_replaced_is_not_wanted_any_more(desks: Desks) -> None:
    desks.pack()
    desks.out.sluice("send")
    lost = desks.put_away()
    desks.out.sluice("pack", "--full")
    desks.out.sluice("send")
    later = desks.put_away()
    desks.receive(lost[0], expect=3)
    assert desks.wanted() == [2, 3, 4] or desks.wanted() == [2]
    desks.receive(*later, expect=0)
    assert desks.wanted() == []
    assert desks.inside.content("tools") == FILES


def test_a_full_medium_ends_with_3_and_the_next_call_goes_on(tmp_path: Path) -> None:
    """Real media: two small file systems in memory."""
    desks = Desks(tmp_path, volume="64MB")
    desks.pack()
    mounted = []
    try:
        for medium in (1, 2):
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", "size=2100k", "sluice", desks.medium], check=True
            )
            mounted.append(medium)
            done = desks.out.sluice("send", expect=3 if medium == 1 else 0)
            if medium == 1:
                assert "the medium is full; volume 1 is complete" in done.err
                assert "insert the next medium" in done.err
                assert "the medium is full" in desks.out.sluice("send", expect=3).err
            [volume] = desks.medium.iterdir()
            shutil.copytree(volume, desks.shelf / volume.name)
            subprocess.run(["umount", desks.medium], check=True)
            mounted.pop()
    finally:
        if mounted:
            subprocess.run(["umount", desks.medium], check=False)
    volumes = sorted(desks.shelf.iterdir())
    assert [volume.name for volume in volumes] == ["sluice-hq-00001", "sluice-hq-00002"]
    desks.receive(volumes[1], expect=3)
    assert desks.wanted() == [1]
    desks.receive(volumes[0], expect=0)
    assert desks.inside.content("tools") == FILES


def test_no_medium_is_said(desks: Desks) -> None:
    desks.pack()
    desks.medium.rmdir()
    assert "there is no medium" in desks.out.sluice("send", expect=1).err
    desks.medium.mkdir()
    desks.out.sluice("send")
    desks.slot.rmdir()
    assert "nothing new" in desks.inside.sluice("receive", "--once").out


def test_a_volume_in_the_root_of_a_medium(desks: Desks) -> None:
    desks.pack()
    desks.out.sluice("send")
    for volume in desks.put_away():
        shutil.rmtree(desks.slot)
        shutil.copytree(volume, desks.slot)
        desks.inside.sluice("receive", "--once", expect=None)
    assert desks.inside.content("tools") == FILES
    assert desks.wanted() == []
