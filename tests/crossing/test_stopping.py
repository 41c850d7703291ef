"""SIGTERM and Ctrl-C in the middle: a quick, clean end, and the next run goes on."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.drive import Outside, Upstream, noise, pair
from tests.support.forker import Forker
from tests.support.stops import CODES, WORDS


@pytest.fixture
def forker(tmp_path: Path) -> Iterator[Forker]:
    with Forker(tmp_path / "said") as made:
        yield made


def test_every_step_can_be_stopped_at_any_moment(tmp_path: Path, forker: Forker) -> None:
    chance = random.Random(5)
    upstream = Upstream(tmp_path / "vendor", {"a": noise(1, 1000)})
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="256KiB")
    stopped = 0
    for day in range(3):
        upstream.write({f"{day}/{n}": noise(day * 100 + n, 60_000) for n in range(30)})
        for zone, words in (
            (out, ["sync"]),
            (out, ["pack"]),
            (out, ["send"]),
            (inside, ["receive", "--once"]),
        ):
            if zone is inside:
                inside.bring(out.take())
            by = chance.choice(list(CODES))
            # Before the handlers stand there is nothing to clean up.
            ended = forker.run(
                "-z", zone.folder, *words, kill_after=chance.uniform(0.03, 0.25), by=by
            )
            assert ended.code in (0, CODES[by], -by), ended
            assert ended.stopping < 30
            assert len(ended.err.splitlines()) <= 1, ended.err
            stopped += ended.code == CODES[by]
            ended = forker.run("-z", zone.folder, *words)
            assert ended.code == 0, ended
        inside.bring(out.take())
        inside.receive()
        assert inside.content("tools") == upstream.files()
    assert stopped >= 2
    for zone in (out, inside):
        zone.sluice("verify")
    assert inside.events("bundle.gap") == []


@pytest.mark.parametrize("by", [*CODES, signal.SIGKILL])
def test_a_slow_sync_stops_at_once_with_its_rsync(tmp_path: Path, by: signal.Signals) -> None:
    upstream = Upstream(tmp_path / "vendor", {"large": noise(1, 3_000_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    out.repositories["tools"]["bandwidth"] = "100KiB"
    out.configure()
    process = out.start("sync")
    work = out.folder / "work"
    until = time.monotonic() + 60
    while not (rsyncs(work) and list(work.rglob(".large.*"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    told = time.monotonic()
    process.send_signal(by)
    _, err = process.communicate(timeout=60)
    # It would end with 0 if it were not stopped.
    assert process.returncode == CODES.get(by, -by), err
    assert "Traceback" not in err
    # Its helpers were told as well; on a busy machine they take a moment to go.
    while rsyncs(work) and time.monotonic() - told < 60:
        time.sleep(0.05)
    assert rsyncs(work) == []
    assert out.holds() == {}
    del out.repositories["tools"]["bandwidth"]
    out.configure()
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()


@pytest.mark.parametrize(
    ("by", "asked"),
    [
        (signal.SIGTERM, {"format": "yum"}),
        (signal.SIGINT, {"format": "maven", "artifacts": ["org.example:lib:1"]}),
        (signal.SIGTERM, {"format": "oci", "images": [{"name": "app", "tags": ["v1"]}]}),
    ],
    ids=["yum", "maven", "oci"],
)
def test_a_sync_stops_at_once_while_its_upstream_says_nothing(
    tmp_path: Path, by: signal.Signals, asked: dict[str, object]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        out = Outside.make(tmp_path / "OUT")
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        out.repositories["it"] = {"upstream": address, "timeout": "10m", **asked}
        out.configure()
        process = out.start("sync")
        silent.settimeout(60)
        connection, _ = silent.accept()
        with connection:
            assert connection.recv(4)
            process.send_signal(by)
            _, err = process.communicate(timeout=60)
    assert process.returncode == CODES[by], err
    assert err.splitlines() == WORDS[by]
    assert out.holds() == {}


def rsyncs(folder: Path) -> list[int]:
    """Processes whose command line names ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"rsync" in words and os.fsencode(folder) in words:
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("by", list(CODES))
def test_a_waiting_receive_takes_what_comes_and_ends_when_told(
    tmp_path: Path, by: signal.Signals
) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    parts = out.cycle()
    process = inside.start("receive")
    try:
        assert process.stdout is not None
        assert "watching" in process.stdout.readline()
        inside.bring(parts)
        until = time.monotonic() + 60
        while not inside.live():
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        process.send_signal(by)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode in (0, CODES[by]), err
    assert "Traceback" not in err
    assert inside.content("tools") == {"a": b"a"}


@pytest.mark.parametrize("by", list(CODES))
def test_the_server_ends_when_told(tmp_path: Path, by: signal.Signals) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    port = tools.free_port()
    process = inside.start("serve", "--listen", f"127.0.0.1:{port}", "--workers", 2)
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            break
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(by)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, CODES[by]), err
    assert "Traceback" not in err


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("word", ["serve", "run", "receive"])
def test_a_service_can_be_stopped_at_any_moment_of_its_start_and_life(
    tmp_path: Path, word: str
) -> None:
    chance = random.Random(7)
    upstream = Upstream(tmp_path / "vendor", {"a": noise(1, 100_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.serve = {"listen": f"127.0.0.1:{tools.free_port()}", "workers": 2}
    inside.configure()
    wanted = out.cycle()
    stopped = 0
    for _ in range(30):
        inside.bring(wanted)
        process = inside.start(word)
        by = chance.choice([signal.SIGTERM, signal.SIGINT])
        seconds = chance.uniform(0.0, 4.0)
        time.sleep(seconds)
        # A terminal tells all processes of its group, a service manager the first.
        below = children(process.pid)
        process.send_signal(by)
        if by == signal.SIGINT:
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    if os.getpgid(pid) == os.getpgid(process.pid):
                        os.kill(pid, by)
        told = time.monotonic()
        said, err = process.communicate(timeout=120)
        # What Python does until it comes to our program answers Ctrl-C in its own way.
        early = by == signal.SIGINT and "Traceback" in err and "sluice/cli.py" not in err
        assert process.returncode in (0, CODES[by], -by) or early, (seconds, said, err)
        assert time.monotonic() - told < 60
        assert "Traceback" not in err or early, (seconds, said, err)
        stopped += process.returncode in (0, CODES[by])
        until = time.monotonic() + 60
        while any(Path(f"/proc/{pid}").exists() for pid in below) and time.monotonic() < until:
            time.sleep(0.05)
        assert not [pid for pid in below if Path(f"/proc/{pid}").exists()], (seconds, said, err)
    assert stopped > 10
    inside.receive(*wanted)
    assert inside.content("tools") == upstream.files()
    assert (inside.holds(), inside.quarantined()) == ({}, {})
    inside.sluice("verify")


def children(pid: int) -> list[int]:
    """All descendants."""
    found, left = [], [pid]
    while left:
        for path in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                more = [int(word) for word in path.read_text().split()]
                found += more
                left += more
    return found
