"""`run` in both zones, killed at random while bundles flow: no hand is needed afterwards."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.crossing.test_run import Running, gone, overdue
from tests.support import tools
from tests.support.drive import Inside, Outside, Upstream, Zone, noise, pair

BUNDLES, KILLS = 6, 12
"""So many at least, and so many of each zone."""
LONGEST, PATIENCE = 900.0, 240.0


class Killed:
    """The `run` of one zone, which somebody kills and starts again and again."""

    def __init__(self, zone: Zone, folder: Path, chance: random.Random) -> None:
        self.zone = zone
        self._folder = folder
        self._chance = chance
        self.starts = 0
        self.kills = {"run": 0, "all": 0, "one": 0, "told": 0}
        self.start()

    def start(self) -> None:
        if isinstance(self.zone, Outside):
            # A schedule has no seconds; each start makes up for what was missed.
            for name in self.zone.repositories:
                overdue(self.zone.folder, f"sync {name}")
        self.starts += 1
        self.running = Running(self.zone.folder, self._folder / f"{self.starts}.log")
        self._next(self._chance.choice([0, 0, 1, 2, 3, 4, 5, 6, 7, 8]))

    def _next(self, lines: int) -> None:
        """The next kill comes after so many lines of the log, soon or at once."""
        self._lines = self.running.text().count("\n") + lines
        self._late = time.monotonic() + 20.0
        self._pause = self._chance.choice([0.0, self._chance.uniform(0.0, 3.0)])

    def tick(self) -> None:
        """Kill if it is time, to be called often."""
        now = time.monotonic()
        if self.running.text().count("\n") < self._lines and now < self._late:
            return
        if self._late != 0.0:
            self._late, self._due = 0.0, now + self._pause
        if now < self._due:
            return
        how = self._chance.choice(["run", "run", "all", "one", "told"])
        below = self.running.children()
        if how == "one" and below:
            with suppress(ProcessLookupError):
                os.kill(self._chance.choice(below), signal.SIGKILL)
            self.kills[how] += 1
            self._next(self._chance.randint(0, 3))
            return
        if how == "told":
            code = self.running.end()
            # Before its handlers stand the system ends it, or what stops all commands.
            assert code in (0, 143, -signal.SIGTERM), self.running.text()
        else:
            self.running.process.kill()
            for pid in below if how == "all" else ():
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self.running.process.wait()
        self.kills[how] += 1
        until(lambda: gone(below), "what a killed run had started is still there")
        self._check()
        self.start()

    def _check(self) -> None:
        assert "Traceback" not in self.running.text(), self.running.text()

    def end(self) -> None:
        assert self.running.end() == 0, self.running.text()
        self._check()


def until(true: object, what: str) -> None:
    assert callable(true)
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.1)


@contextmanager
def link(out: Outside, inside: Inside) -> Iterator[None]:
    """A carrier that takes every file away as soon as it lies there, and loses none."""
    stop = threading.Event()

    def carry() -> None:
        while not stop.wait(0.05):
            for path in sorted(out.outbox.glob("*.tar")):
                os.replace(path, inside.inbox / path.name)

    thread = threading.Thread(target=carry)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def bundles(out: Outside) -> int:
    with out.store() as store, store.ledger.read() as tx:
        return len(tx.bundles(out.stream))


def enough(out: Outside, runs: list[Killed]) -> bool:
    return min(sum(run.kills.values()) for run in runs) >= KILLS and bundles(out) >= BUNDLES


@pytest.mark.soak
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_ends_agree_after_kills_without_a_hand(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    names = ("tools", "docs")
    vendors = {
        name: Upstream(tmp_path / name, {"first": noise(n, 100_000)})
        for n, name in enumerate(names)
    }
    out, inside = pair(tmp_path, vendors, part_size="256KiB")
    for name in names:
        out.repositories[name] |= {"schedule": "0 3 * * *", "max_removals": "100%"}
    out.common = inside.common = {"reserve_free": "1MiB"}
    out.configure()
    inside.serve = {"listen": f"127.0.0.1:{tools.free_port()}"}
    inside.configure()
    out.status()
    runs = []
    for zone in (out, inside):
        folder = tmp_path / f"{zone.folder.name}-runs"
        folder.mkdir()
        runs.append(Killed(zone, folder, random.Random(chance.random())))
    try:
        with link(out, inside):
            ends, day = time.monotonic() + LONGEST, 0
            while time.monotonic() < ends and not enough(out, runs):
                for run in runs:
                    run.tick()
                day += 1
                for vendor in vendors.values():
                    size = chance.choice([0, 10, 5_000, 300_000])
                    vendor.write({f"{chance.choice('abc')}/{day % 7}": chance.randbytes(size)})
                time.sleep(0.2)
            for run in runs:
                run.running.process.kill()
                run.running.process.wait()
                run.start()
            until(
                lambda: all(inside.content(name) == vendors[name].files() for name in names),
                f"the inside has not what the vendors have: {inside.status()}",
            )
            until(lambda: inside.digest() == out.digest(), "the state digests differ")
            until(lambda: inside.waiting() == [], f"in the inbox: {inside.waiting()}")
        for run in runs:
            run.end()
    finally:
        for run in runs:
            run.running.process.kill()
            run.running.process.wait()
    print({run.zone.folder.name: run.kills for run in runs}, "bundles:", bundles(out))
    assert inside.quarantined() == {}
    assert inside.events("bundle.gap") == []
    for zone in (out, inside):
        assert zone.holds() == {}
        zone.sluice("gc")
        zone.sluice("verify")
        zone.sluice("events", "--verify")
