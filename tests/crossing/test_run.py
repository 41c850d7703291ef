"""``sluice run`` in both zones: duties, services, reload, and every way to end."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sluice.running.history import note
from store.store import Store
from tests.support import tools
from tests.support.zones import Zones

PATIENCE = 60.0


class Running:
    """``sluice run`` as its service manager sees it."""

    def __init__(self, zone: Path, log: Path) -> None:
        self.log = log
        self._notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = str(log.with_suffix(".notify"))
        self._notes.bind(address)
        self._notes.settimeout(0.05)
        self.told: list[str] = []
        environ = {**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": "900000"}
        environ.pop("JOURNAL_STREAM", None)
        self._out = log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "sluice", "-z", str(zone), "run"],
            env=environ, stdout=self._out, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def text(self) -> str:
        return self.log.read_text("utf-8")

    def until(self, check: Callable[[], object]) -> None:
        """Wait until ``check`` holds, listening to what the manager is told."""
        end = time.monotonic() + PATIENCE
        while not check():
            self.listen()
            assert time.monotonic() < end, self.text()
            assert self.process.poll() is None, self.text()

    def listen(self) -> None:
        with suppress(TimeoutError):
            self.told += self._notes.recv(4096).decode().splitlines()

    def ready(self) -> None:
        self.until(lambda: "READY=1" in self.told)

    def children(self) -> list[int]:
        """All descendants."""
        found, left = [], [self.process.pid]
        while left:
            for path in Path(f"/proc/{left.pop()}/task").glob("*/children"):
                try:
                    more = [int(word) for word in path.read_text().split()]
                except OSError:
                    continue
                found += more
                left += more
        return found

    def end(self, by: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(by)
        code = self.process.wait(PATIENCE)
        self._out.close()
        self._notes.close()
        return code


def gone(pids: list[int]) -> bool:
    """None of them runs; a dead one that nobody has asked about counts as gone."""
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z":
            return False
    return True


def overdue(zone: Path, duty: str) -> None:
    """As if the machine had been off since the duty's last run."""
    long_ago = datetime(2026, 1, 1, tzinfo=UTC)
    with closing(Store.open(zone)) as store:
        note(store, duty, long_ago, long_ago, 0)


@pytest.fixture
def zones(tmp_path: Path) -> Zones:
    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "a.txt").write_text("first")
    return Zones(
        tmp_path / "zones",
        {"tools": {"format": "files", "upstream": f"file://{vendor}", "schedule": "0 3 * * *"}},
        inside={
            "serve": {"listen": f"127.0.0.1:{tools.free_port()}"},
            "metrics": "sluice.prom",
        },
    )


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Path], Running]]:
    started: list[Running] = []

    def start(zone: Path) -> Running:
        started.append(Running(zone, tmp_path / f"run-{len(started)}.log"))
        return started[-1]

    yield start
    for running in started:
        running.process.kill()
        running.process.wait()


def served(zones: Zones, path: str) -> str | None:
    listen = json.loads((zones.inside / "zone.yaml").read_text())["serve"]["listen"]
    try:
        with urllib.request.urlopen(f"http://{listen}/{path}", timeout=60) as answer:
            return str(answer.read().decode())
    except OSError:
        return None


def test_from_a_missed_sync_to_a_served_file_without_a_hand(
    zones: Zones, run: Callable[[Path], Running]
) -> None:
    zones.out("status")
    overdue(zones.outside, "sync tools")
    inside = run(zones.inside)
    inside.ready()
    outside = run(zones.outside)
    outbox = zones.outside / "outbox"
    outside.until(lambda: [*outbox.glob("*.tar")])
    zones.carry()
    inside.until(lambda: served(zones, "files/tools/a.txt") == "first")

    # Figures are kept up to date, and the status tells how the duties went.
    figures = zones.inside / "sluice.prom"
    inside.until(lambda: figures.exists() and "sluice_info" in figures.read_text())
    inside.until(lambda: zones.status()["duties"]["metrics"]["last"])
    status = zones.status()
    assert status["run"] == {"running": True, "always": ["serve", "receive"]}
    assert status["duties"]["metrics"]["last"]["code"] == 0
    assert status["duties"]["gc"]["last"] is None and status["duties"]["gc"]["next"]
    assert "metrics" in zones.within("status").out

    # A sync that changes nothing makes no bundle; and one run was enough.
    assert outside.text().count("snapshot 1") == 1
    plan = zones.out("run", "--dry-run").out
    assert "sync tools" in plan and "T03:00:00Z" in plan
    # The watchdog is fed all the while, and what ends ends in order.
    outside.until(lambda: outside.told.count("WATCHDOG=1") > 2)
    for running in (outside, inside):
        below = running.children()
        assert running.end() == 0, running.text()
        assert "stopped" in running.text()
        assert gone(below)
    assert "`sluice run` is not running" in zones.within("status").out


def test_a_service_that_dies_is_started_again_and_settings_are_read_again(
    zones: Zones, run: Callable[[Path], Running]
) -> None:
    inside = run(zones.inside)
    inside.ready()
    assert served(zones, "healthz") is not None
    [server] = [pid for pid in inside.children() if _words(pid).endswith(b"\0serve\0")]
    os.kill(server, signal.SIGKILL)
    inside.until(lambda: "serve: ended with -9" in inside.text())
    inside.until(lambda: served(zones, "healthz") is not None)

    good = (zones.inside / "zone.yaml").read_text()
    (zones.inside / "zone.yaml").write_text(good.replace('"serve"', '"sevre"'))
    inside.process.send_signal(signal.SIGHUP)
    inside.until(lambda: "did you mean `serve`?" in inside.text())
    (zones.inside / "zone.yaml").write_text(good)
    assert served(zones, "healthz") is not None

    settings: dict[str, Any] = json.loads(good)
    settings["serve"]["listen"] = f"127.0.0.1:{tools.free_port()}"
    (zones.inside / "zone.yaml").write_text(json.dumps(settings))
    inside.process.send_signal(signal.SIGHUP)
    inside.until(lambda: served(zones, "healthz") is not None)
    assert "RELOADING=1" in inside.told
    assert inside.end(signal.SIGINT) == 0


def test_killed_it_leaves_nothing_behind_and_the_next_run_goes_on(
    zones: Zones, run: Callable[[Path], Running]
) -> None:
    inside = run(zones.inside)
    inside.ready()
    below = inside.children()
    assert below
    inside.process.kill()
    inside.process.wait()
    end = time.monotonic() + PATIENCE
    while not gone(below) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(below)

    # Meanwhile the outside had mirrored but not packed: that is made up for.
    zones.out("sync")
    outside = run(zones.outside)
    outside.until(lambda: [*(zones.outside / "outbox").glob("*.tar")])
    assert outside.end() == 0
    zones.carry()
    again = run(zones.inside)
    again.until(lambda: served(zones, "files/tools/a.txt") == "first")
    assert again.end() == 0


def test_stopped_in_the_middle_of_a_sync(zones: Zones, run: Callable[[Path], Running]) -> None:
    vendor = zones.folder.parent / "vendor"
    with (vendor / "large.bin").open("wb") as large:
        large.truncate(9_000_000)
    repository = zones.repositories["tools"]
    repository["bandwidth"] = "64KiB"
    shutil.copytree(vendor, zones.folder / "mirror")
    zones.configure_outside()
    zones.out("status")
    overdue(zones.outside, "sync tools")
    outside = run(zones.outside)
    outside.until(lambda: [*(zones.outside / "work").rglob(".large.bin.*")])
    below = outside.children()
    told = time.monotonic()
    assert outside.end() == 0
    assert time.monotonic() - told < 60  # its rsync alone would go on for more than two minutes
    assert gone(below)
    del repository["bandwidth"]
    zones.configure_outside()
    overdue(zones.outside, "sync tools")
    outside = run(zones.outside)
    outside.until(lambda: [*(zones.outside / "outbox").glob("*.tar")])
    assert outside.end() == 0


def test_a_zone_runs_once(zones: Zones, run: Callable[[Path], Running]) -> None:
    outside = run(zones.outside)
    outside.ready()
    said = zones.out("run", expect=None)
    assert said.code == 1 and "run" in said.err
    assert outside.end() == 0


def _words(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
