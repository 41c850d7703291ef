"""A sync that finds nothing changed, against ``rsync -n`` over the same files.

``python bench/bench_sync.py [FILES]`` prints its figures. The aim: at most 1.2 times
``rsync -n`` plus one second, with no content read. What counts is the time of a whole
process, the interpreter's start included; that of the sync alone is shown beside it. Each
is the best of several runs, taken in turns.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench.common import Figure, quick, report  # noqa: E402
from tests.support import tools  # noqa: E402

FILES = 100_000
RUNS = 5
SIZE = 1024
"""Bytes of each file, so that reading all of them would show."""

WORKER = """
import sys, time
from pathlib import Path
from manifests.zone.model import Repository, Upstream
from mirror.sync import sync
from store.store import Store
def read_so_far():
    return int(next(line for line in open("/proc/self/io") if line.startswith("rchar")).split()[1])
with Store.open(Path(sys.argv[1])) as store:
    repo = Repository(name="bench", format="files", upstream=Upstream(urls=(sys.argv[2],)))
    before, started = read_so_far(), time.monotonic()
    report = sync(store, repo)
    spent = time.monotonic() - started
print(bool(report.snapshot), read_so_far() - before, spent)
"""


def main(files: int = FILES) -> int:
    """Build the upstream, measure, print; 1 when the aim is missed."""
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as scratch:
        home = Path(scratch)
        upstream = home / "upstream"
        _fill(upstream, files)
        port = tools.free_port()
        daemon = _daemon(home, upstream, port)
        try:
            return _measure(home, f"rsync://127.0.0.1:{port}/bench/", files)
        finally:
            daemon.terminate()
            daemon.wait()


def _fill(upstream: Path, files: int) -> None:
    """``files`` small files in folders of 1,000, each with other bytes."""
    for number in range(files):
        folder = upstream / f"{number // 1000:04}"
        if number % 1000 == 0:
            folder.mkdir(parents=True)
        (folder / f"package-{number}.bin").write_bytes(f"{number}\n".encode().ljust(SIZE, b"."))


def _daemon(home: Path, upstream: Path, port: int) -> subprocess.Popen[bytes]:
    config = home / "rsyncd.conf"
    owner = "uid = root\ngid = root\n" if Path("/proc/self").stat().st_uid == 0 else ""
    config.write_text(
        f"address = 127.0.0.1\nport = {port}\nuse chroot = no\nread only = yes\n{owner}"
        f"log file = {home / 'log'}\n[bench]\npath = {upstream}\n"
    )
    daemon = subprocess.Popen(["rsync", "--daemon", "--no-detach", f"--config={config}"])
    for _ in range(100):
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return daemon
        except OSError:
            time.sleep(0.05)
    daemon.terminate()
    raise SystemExit("the rsync daemon did not start")


def _measure(home: Path, url: str, files: int) -> int:
    store = home / "store"
    started = time.monotonic()
    _sync(store, url)
    first = time.monotonic() - started
    plain = home / "plain"
    shutil.copytree(store / "work/bench/files", plain, copy_function=shutil.copy2)
    listing = ["rsync", "-n", "-rltH", "--delete", url, f"{plain}/"]
    best_rsync = best_sync = best_alone = float("inf")
    read = 0
    for _ in range(RUNS):
        started = time.monotonic()
        subprocess.run(listing, check=True, stdout=subprocess.DEVNULL)
        best_rsync = min(best_rsync, time.monotonic() - started)
        started = time.monotonic()
        changed, read, alone = _sync(store, url)
        best_sync = min(best_sync, time.monotonic() - started)
        best_alone = min(best_alone, alone)
        if changed:
            raise SystemExit("a sync without changes made a snapshot")
    limit = 1.2 * best_rsync + 1.0
    print(f"first sync {first:.1f} s; without the interpreter's start {best_alone:.2f} s")
    content = files * SIZE
    figures = [
        Figure(
            f"no-change sync of {files:,} files",
            f"{best_sync:.2f} s",
            f"`rsync -n` {best_rsync:.2f} s",
            best_sync / best_rsync,
            f"at most 1.2 times + 1 s = {limit:.2f} s",
            best_sync <= limit,
        ),
        Figure(
            f"bytes read by a no-change sync of {files:,} files",
            f"{read / 1e6:.1f} MB",
            f"their content {content / 1e6:.0f} MB",
            read / content,
            "at most 0.25: no content",
            read <= content / 4,
        ),
    ]
    for figure in figures:
        report(figure)
    return int(not all(figure.reached for figure in figures))


def _sync(store: Path, url: str) -> tuple[bool, int, float]:
    done = subprocess.run(
        [sys.executable, "-c", WORKER, str(store), url],
        check=True,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    changed, read, spent = done.stdout.split()
    return changed == "True", int(read), float(spent)


if __name__ == "__main__":
    numbers = [word for word in sys.argv[1:] if word.isdigit()]
    sys.exit(main(int(numbers[0]) if numbers else FILES // 10 if quick() else FILES))
