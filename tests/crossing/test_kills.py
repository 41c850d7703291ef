"""kill -9 at random moments of every step: the next run ends as if nothing had been."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.drive import Inside, Outside, Upstream, pair
from tests.support.forker import Forker


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    with Forker(tmp_path / "said") as made:
        yield made


class Rig:
    """Two repositories, small parts, and a history of what the vendor had."""

    def __init__(self, tmp_path: Path, forker: Forker, seed: int) -> None:
        self.chance = random.Random(seed)
        self.forker = forker
        self.vendors = {
            name: Upstream(tmp_path / name, self._files(6)) for name in ("tools", "docs")
        }
        self.out, self.inside = pair(tmp_path, self.vendors, part_size="128KiB")
        for name in self.vendors:
            self.out.repositories[name] |= {"together": "all", "max_removals": "100%"}
        self.out.configure()
        self.history: dict[str, list[dict[str, bytes]]] = {name: [] for name in self.vendors}
        self.longest: dict[str, float] = {}
        self.kills: dict[str, int] = {}

    def _files(self, count: int) -> dict[str, bytes]:
        return {
            f"{self.chance.choice('abc')}/{self.chance.getrandbits(16):04x}": self.chance.randbytes(
                self.chance.choice([0, 10, 3_000, 40_000, 150_000])
            )
            for _ in range(count)
        }

    def change(self) -> None:
        """The vendors' next day."""
        for name, vendor in self.vendors.items():
            there = sorted(vendor.files())
            vendor.remove(*self.chance.sample(there, self.chance.randint(0, len(there) // 3)))
            vendor.write(self._files(3))
            self.history[name].append(vendor.files())

    def step(self, zone: Outside | Inside, *words: str) -> None:
        """Kill the command some times at random moments, then let it end."""
        name = words[0]
        for _ in range(self.chance.randint(1, 2)):
            most = self.longest.get(name, 0.4)
            ended = self.forker.run(
                "-z", zone.folder, *words, kill_after=self.chance.uniform(0, most)
            )
            if ended.code is None:
                self.kills[name] = self.kills.get(name, 0) + 1
            else:
                assert ended.code == 0, ended
            self.whole()
        until = time.monotonic() + 60
        while True:
            ended = self.forker.run("-z", zone.folder, *words)
            # An rsync holds the work copy until it has noticed that its sync was killed.
            if "wait until it has ended" not in ended.err or time.monotonic() > until:
                break
            time.sleep(0.2)
        assert ended.code == 0, ended
        self.longest[name] = max(0.05, 0.95 * ended.seconds + 0.05 * self.longest.get(name, 0))

    def whole(self) -> None:
        """What is live is one of the vendor's days, all of it, and both of the same day."""
        days = set()
        for name, past in self.history.items():
            live = self.inside.content(name)
            if live is None:
                days.add(-1)
                continue
            [found] = [day for day, files in enumerate(past) if files == live]
            days.add(found)
        assert len(days) == 1, "the group moves together"

    def cycle(self) -> None:
        self.change()
        self.step(self.out, "sync")
        self.step(self.out, "pack")
        brought = []
        self.step(self.out, "send")
        brought += self.out.take()
        self.inside.bring(self.chance.sample(brought, len(brought)), rename=self.chance)
        self.step(self.inside, "receive", "--once")
        for name, vendor in self.vendors.items():
            assert self.inside.content(name) == vendor.files()
        assert self.inside.digest() == self.out.digest()
        assert self.inside.waiting() == []

    def end(self) -> None:
        """Nothing is left over, nothing is wrong, nothing was counted twice."""
        days = len(self.history["tools"])
        assert self.out.status()["streams"]["hq"]["sequence"] == days
        assert self.inside.status()["streams"]["hq"]["sequence"] == days
        assert self.inside.events("bundle.gap") == []
        assert self.inside.quarantined() == {}
        assert len(self.inside.events("publication")) == 2 * days
        assert not [path for path in (self.out.folder / "spool").rglob("*") if path.is_file()]
        for zone in (self.out, self.inside):
            zone.sluice("gc")
            zone.sluice("verify")
            zone.sluice("events", "--verify")
            scratch = zone.folder / "scratch"
            assert not scratch.exists() or not list(scratch.iterdir())
            assert not list((zone.folder / "blobs" / ".tmp").rglob("*"))
        for name, vendor in self.vendors.items():
            assert self.inside.content(name) == vendor.files()


@pytest.mark.parametrize("seed", [1])
def test_killed_at_random_moments(tmp_path: Path, forker: Forker, seed: int) -> None:
    rig = Rig(tmp_path, forker, seed)
    for _ in range(2):
        rig.cycle()
    rig.end()
    assert sum(rig.kills.values()) >= 4, rig.kills


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", [2, *range(10, 14)])
def test_killed_hundreds_of_times(tmp_path: Path, forker: Forker, seed: int) -> None:
    rig = Rig(tmp_path, forker, seed)
    for _ in range(40):
        rig.cycle()
    rig.end()
    assert min(rig.kills.values()) >= 20, rig.kills
