"""``sluice run`` inside: from its start to READY, memory at rest, and ``/metrics`` under load.

    python -m bench.bench_run [--quick]

The zone publishes 50 repositories of 10,000 files each. Its peer is the same zone with
nothing published: what a zone holds is mapped, not loaded, so it must cost next to nothing
while nobody asks. READY is what ``sd_notify(3)`` says; memory is summed over ``run`` and
all that it started, as the kernel tells in ``smaps_rollup``: PSS, in which a page shared by
three processes counts a third for each, and anonymous memory, which has no file behind it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.bench_serve import nginx, rate
from bench.common import CHECKOUT, Figure, quick, report, work_folder
from manifests.state import Snapshot
from manifests.tree import Entry
from sluice.cli import main as sluice
from store.records import Publication, StoredSnapshot
from store.store import Store
from tests.support import tools

REPOSITORIES = 50
LIKE_EMPTY = 1.25
"""A start that read what is published would grow with it: 50 trees have 40 MB."""
LIKE_LIBRARIES = 2.0
"""Our own code may take as long to load as the libraries that the same processes need."""
_COMMON = "asyncio, sqlalchemy, yaml"
LIBRARIES = (_COMMON, f"{_COMMON}, cryptography.x509", f"{_COMMON}, aiohttp")
"""Of ``run``, of ``serve``, and of its worker: each starts the next."""
BESIDE = f"{_COMMON}, tuf.api.metadata, watchdog.observers"
"""Of ``receive``, which starts together with ``serve``."""
AT_REST_MB = 300
"""For the whole zone, of which the interpreter and its libraries are the most: it leaves a
machine of 1 GiB to the page cache, which is what serves files."""
SCRAPES = 1000
"""``/metrics`` a second that one core must give: a scrape each second costs it a thousandth."""
DISTURBED = 0.9
"""Files a second that stay while ``/metrics`` is asked 10 times a second, and not a file."""
LIKE_A_FILE = 3.0
"""How much longer ``/metrics`` may take than a small file under the same load."""
_PAUSE = 0.1
_CONNECTIONS = 16
_PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all processes of a zone, bytes."""

    processes: int
    rss: int
    pss: int
    anonymous: int


class Zone:
    """An inside zone with ``repositories`` of ``files`` files; few and small blobs."""

    def __init__(self, folder: Path, root: Path, repositories: int, files: int) -> None:
        self.folder = folder
        self.port = tools.free_port()
        _call("init", "inside", folder, "--root", root, "--stream", "hq")
        settings = {
            "zone": "inside",
            "reserve_free": "1MiB",
            "streams": {"hq": {"carrier": "file", "inbox": "inbox", "root": "trust/root.json"}},
            "serve": {"listen": f"127.0.0.1:{self.port}"},
        }
        (folder / "zone.yaml").write_text(json.dumps(settings))
        now = datetime.now(UTC).replace(microsecond=0)
        with Store.open(folder) as store:
            with store.blobs.batch() as batch:
                blobs = [batch.put_bytes(os.urandom(4096)) for _ in range(64)]
            rows = []
            for number in range(repositories):
                name = f"repo{number:03}"
                kept = store.keep_tree(
                    Entry(f"d{n // 100:03}/{name}-{n:05}", *blobs[n % 64]) for n in range(files)
                )
                about = (name, "files", 1, kept.digest, kept.size, kept.files, kept.bytes, now)
                live = Publication(name, "hq", "files", name, 1, kept.digest, None, now)
                rows.append((StoredSnapshot("hq", Snapshot(*about)), live))
            with store.ledger.write() as tx:
                for snapshot, _ in rows:
                    tx.add_snapshot(snapshot)
                tx.publish([live for _, live in rows])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[tuple[float, int]]:
        """``run`` in a process of its own: seconds until READY, and its id."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            address = self.folder / "notify"
            address.unlink(missing_ok=True)
            manager.bind(str(address))
            manager.settimeout(_PATIENCE)
            environ = {**os.environ, "NOTIFY_SOCKET": str(address)}
            environ.pop("JOURNAL_STREAM", None)
            start = time.perf_counter()
            with self.folder.with_suffix(".log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "sluice", "-z", str(self.folder), "run"],
                    cwd=CHECKOUT, env=environ, stdout=log, stderr=log,
                )  # fmt: skip
            try:
                while b"READY=1" not in manager.recv(4096):
                    pass
                yield time.perf_counter() - start, process.pid
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(_PATIENCE)


def _call(*words: object) -> None:
    if sluice([str(word) for word in words]) != 0:
        raise SystemExit(f"sluice {words[0]} failed")


def _family(pid: int) -> list[int]:
    found, left = [pid], [pid]
    while left:
        for path in Path(f"/proc/{left.pop()}/task").glob("*/children"):
            more = [int(word) for word in path.read_text().split()]
            found += more
            left += more
    return found


def memory(pid: int) -> Memory:
    """What ``pid`` and all that it started take now."""
    sums = dict.fromkeys(("Rss", "Pss", "Anonymous"), 0)
    family = _family(pid)
    for each in family:
        for line in Path(f"/proc/{each}/smaps_rollup").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in sums:
                sums[name] += int(rest.split()[0]) * 1024
    return Memory(len(family), sums["Rss"], sums["Pss"], sums["Anonymous"])


def at_rest(pid: int) -> Memory:
    """The same once the duties of the start are done and nothing starts any more."""
    seen, since, until = _family(pid), time.monotonic(), time.monotonic() + _PATIENCE
    while time.monotonic() - since < 3 and time.monotonic() < until:
        time.sleep(0.1)
        if (now := _family(pid)) != seen:
            seen, since = now, time.monotonic()
    return memory(pid)


def latencies(port: int, path: str, seconds: float) -> list[float]:
    """Seconds of each request, one after the other on one connection, with pauses."""
    found = []
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        found.append(time.perf_counter() - start)
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status}")
        time.sleep(_PAUSE)
    connection.close()
    return found


def libraries_alone() -> float:
    """Seconds that processes like those of a zone take to load libraries, and do no more."""
    start = time.perf_counter()
    beside: subprocess.Popen[bytes] | None = None
    for names in LIBRARIES:
        subprocess.run([sys.executable, "-c", f"import {names}"], check=True)
        beside = beside or subprocess.Popen([sys.executable, "-c", f"import {BESIDE}"])
    assert beside is not None
    if beside.wait() != 0:
        raise SystemExit(f"no {BESIDE}")
    return time.perf_counter() - start


def start_and_rest(empty: Zone, full: Zone, rounds: int) -> Iterator[Figure]:
    """Start-up and memory, each zone in turns."""
    seconds: dict[Zone, list[float]] = {empty: [], full: []}
    bare_starts = []
    resting: dict[Zone, Memory] = {}
    for _ in range(rounds):
        bare_starts.append(libraries_alone())
        for zone in (empty, full):
            with zone.running() as (taken, pid):
                seconds[zone].append(taken)
                resting[zone] = at_rest(pid)
    ours, theirs = (statistics.median(seconds[zone]) for zone in (full, empty))
    yield Figure(
        "`run` inside, from its start to READY",
        f"{ours:.2f} s",
        f"the same zone, nothing published {theirs:.2f} s",
        ours / theirs,
        f"at most {LIKE_EMPTY}",
        ours / theirs <= LIKE_EMPTY,
    )
    libraries = statistics.median(bare_starts)
    yield Figure(
        "the same start, of its four processes",
        f"{ours:.2f} s",
        f"four Pythons, started in the same order, that load their libraries {libraries:.2f} s",
        ours / libraries,
        f"at most {LIKE_LIBRARIES:.0f}",
        ours / libraries <= LIKE_LIBRARIES,
    )
    rest, bare = resting[full], resting[empty]
    ratio = rest.anonymous / bare.anonymous
    yield Figure(
        f"memory at rest, anonymous, of its {rest.processes} processes",
        f"{rest.anonymous / 1e6:.0f} MB",
        f"the same zone, nothing published {bare.anonymous / 1e6:.0f} MB",
        ratio,
        f"at most {LIKE_EMPTY}",
        ratio <= LIKE_EMPTY,
    )
    yield Figure(
        f"memory at rest, PSS, of its {rest.processes} processes",
        f"{rest.pss / 1e6:.0f} MB (RSS {rest.rss / 1e6:.0f} MB)",
        f"limit {AT_REST_MB} MB",
        rest.pss / 1e6 / AT_REST_MB,
        "at most 1",
        rest.pss <= AT_REST_MB * 1e6,
    )


def asked(full: Zone, pid: int, before: Memory) -> Figure:
    """Memory after a file of every repository was fetched: trees are mapped, not loaded."""
    connection = http.client.HTTPConnection("127.0.0.1", full.port, timeout=30)
    for number in range(REPOSITORIES):
        name = f"repo{number:03}"
        connection.request("GET", f"/files/{name}/d000/{name}-00007")
        answer = connection.getresponse()
        if answer.status != 200 or len(answer.read()) != 4096:
            raise AssertionError(f"{name}: {answer.status}")
    connection.close()
    after = memory(pid)
    ratio = after.anonymous / before.anonymous
    return Figure(
        "the same memory after one file of each repository was fetched",
        f"{after.anonymous / 1e6:.0f} MB (PSS {after.pss / 1e6:.0f} MB)",
        f"before {before.anonymous / 1e6:.0f} MB (PSS {before.pss / 1e6:.0f} MB)",
        ratio,
        f"at most {LIKE_EMPTY}",
        ratio <= LIKE_EMPTY,
    )


def scraped(full: Zone, www: Path, seconds: int, rounds: int) -> Iterator[Figure]:
    """``/metrics`` alone, and beside clients who fetch files."""
    file = "/files/repo000/d000/repo000-00007"
    with nginx(www, "location /stub { stub_status; }") as peer:
        theirs = rate(f"{peer}/stub", _CONNECTIONS, seconds, small=True)
        ours = rate(f"{full.url}/metrics", _CONNECTIONS, seconds, small=True)
    yield Figure(
        "GET of /metrics, one worker process",
        f"{ours:.0f} requests/s",
        f"{SCRAPES} requests/s (nginx stub_status {theirs:.0f})",
        ours / SCRAPES,
        "at least 1",
        ours >= SCRAPES,
    )
    waits: dict[str, list[float]] = {"/metrics": [], file: []}
    rates: dict[str, list[float]] = {"/metrics": [], file: []}
    for _ in range(rounds):
        for path, found in waits.items():
            asking = threading.Thread(
                target=lambda path=path, found=found: found.extend(
                    latencies(full.port, path, seconds)
                )
            )
            asking.start()
            rates[path].append(rate(full.url + file, _CONNECTIONS, seconds, small=True))
            asking.join()
    pairs = zip(rates["/metrics"], rates[file], strict=True)
    kept = statistics.median(ours / theirs for ours, theirs in pairs)
    yield Figure(
        "GET of 4 KiB while /metrics is asked 10 times a second",
        f"{statistics.median(rates['/metrics']):.0f} requests/s",
        f"while a file is asked so {statistics.median(rates[file]):.0f} requests/s",
        kept,
        f"at least {DISTURBED}",
        kept >= DISTURBED,
    )
    slow, small = (statistics.quantiles(waits[path], n=20)[-1] for path in ("/metrics", file))
    yield Figure(
        "/metrics under that load, 95 of 100 answers within",
        f"{slow * 1000:.1f} ms (median {statistics.median(waits['/metrics']) * 1000:.1f} ms)",
        f"a file of 4 KiB, asked in the same way {small * 1000:.1f} ms",
        slow / small,
        f"at most {LIKE_A_FILE}",
        slow / small <= LIKE_A_FILE,
    )


def measured(empty: Zone, full: Zone, rounds: int) -> Figure:
    """``sluice metrics``, which ``run`` calls every two minutes, by its CPU time."""

    def cpu(zone: Zone) -> float:
        words = [sys.executable, "-m", "sluice", "-z", str(zone.folder), "metrics"]
        before = os.times()
        subprocess.run(words, cwd=CHECKOUT, stdout=subprocess.DEVNULL, check=True)
        after = os.times()
        return sum(after[2:4]) - sum(before[2:4])

    ours, theirs = (min(cpu(zone) for _ in range(rounds)) for zone in (full, empty))
    return Figure(
        "`sluice metrics`, CPU time with the start of the interpreter",
        f"{ours:.2f} s",
        f"the same zone, nothing published {theirs:.2f} s",
        ours / theirs,
        f"at most {LIKE_EMPTY}",
        ours / theirs <= LIKE_EMPTY,
    )


def main() -> int:
    """0 when all targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work, instead of .bench")
    options = parser.parse_args()
    files, rounds, seconds = (500, 1, 2) if quick() else (10_000, 5, 5)
    figures = []
    with work_folder(options.folder) as folder:
        _call("init", "outside", folder / "OUT", "--stream", "hq")
        root = folder / "root.json"
        _call("-z", folder / "OUT", "trust", "export", root)
        empty = Zone(folder / "EMPTY", root, 0, 0)
        full = Zone(folder / "FULL", root, REPOSITORIES, files)
        for figure in start_and_rest(empty, full, rounds):
            figures.append(report(figure))
        with full.running() as (_, pid):
            figures.append(report(asked(full, pid, at_rest(pid))))
            for figure in scraped(full, folder / "OUT", seconds, rounds):
                figures.append(report(figure))
        figures.append(report(measured(empty, full, rounds)))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
