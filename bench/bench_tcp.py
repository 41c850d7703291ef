"""The TCP carrier against a bare socket copy, and many queued bundles against one.

Both copies read a file, cross loopback, and end when the other side has it fsynced; the
bare one neither frames nor hashes. The aim: a ratio of at least 0.7. ``receive`` of 200
bundles that queued up is compared with one bundle of the same content: the time that
numbering, signing and checking cost by the bundle, in a bound that lets a long pause be
made up for (at most 50 ms for each bundle more).
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.bench_bundle import Arrival, nothing
from bench.common import Figure, quick, report, work_folder
from cds.tcp import Listener, TcpOutlet
from manifests.state import Snapshot
from manifests.tree import Entry
from manifests.zone import InsideStream, OutsideStream, TcpListening, TcpSending
from sluice.ceremonies import StreamKeys
from store.records import StoredSnapshot
from store.seam import Seam
from store.store import Store
from transfer.pack import pack
from transfer.publish import Judges
from transfer.receive import receive
from transfer.release import release

LEAST = 0.7
MOST_EACH = 0.050
ROUNDS = 7
NOW = datetime(2030, 1, 1, tzinfo=UTC)
BLOCK = 256 << 10


def in_child(work: Callable[[], None]) -> int:
    """Start ``work`` in a process of its own; its id."""
    child = os.fork()
    if child:
        return child
    try:
        work()
        os._exit(0)
    except BaseException:  # noqa: BLE001
        sys.excepthook(*sys.exc_info())
        os._exit(1)


def ended_well(child: int) -> None:
    _, status = os.waitpid(child, 0)
    assert status == 0, "a step failed"


def bare(source: Path, target: Path) -> float:
    """Seconds of a copy over loopback that writes and fsyncs, and does nothing else."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            connection, _ = server.accept()
            buffer = memoryview(bytearray(BLOCK))
            with target.open("wb") as file:
                while count := connection.recv_into(buffer):
                    file.write(buffer[:count])
                file.flush()
                os.fsync(file.fileno())

        child = in_child(take)
        start = time.monotonic()
        with socket.create_connection(server.getsockname()) as connection:
            buffer = memoryview(bytearray(BLOCK))
            with source.open("rb", buffering=0) as file:
                while count := file.readinto(buffer):
                    connection.sendall(buffer[:count])
        ended_well(child)
        return time.monotonic() - start


def carrier(source: Path, target: Path) -> float:
    """Seconds of the same by the carrier, as one part."""
    reading, writing = os.pipe()
    told, telling = os.pipe()

    def take() -> None:
        came = threading.Event()
        settings = TcpListening(host="127.0.0.1", port=0)
        with Listener(Seam(), target, settings, landed=lambda path: came.set()) as listener:
            os.write(writing, b"%5d" % listener.address[1])
            assert came.wait(600)
            # Who closes first would look like a broken connection to the other side.
            os.read(told, 1)

    child = in_child(take)
    port = int(os.read(reading, 5))
    start = time.monotonic()
    outlet = TcpOutlet(TcpSending(host="127.0.0.1", port=port))
    outlet.offer("part", source)
    elapsed = 0.0
    while not elapsed:
        # Landed is when its name is in the folder; closing down is not part of the copy.
        if any(path.is_file() for path in target.iterdir()):
            elapsed = time.monotonic() - start
        time.sleep(0.0005)
    outlet.close()
    os.write(telling, b".")
    ended_well(child)
    for fd in (reading, writing, told, telling):
        os.close(fd)
    return elapsed


def measure_link(folder: Path, total: int) -> Figure:
    source = folder / "source"
    with source.open("wb") as file:
        for _ in range(total >> 20):
            file.write(os.urandom(1 << 20))
        os.fsync(file.fileno())
    times: dict[str, list[float]] = {"bare": [], "carrier": []}
    for _ in range(ROUNDS):
        for name, copy in (("bare", bare), ("carrier", carrier)):
            target = folder / name
            if name == "carrier":
                target.mkdir()
            os.sync()
            times[name].append(copy(source, target))
            shutil.rmtree(target) if target.is_dir() else target.unlink()
    # Medians of copies that took turns: what the disk does meanwhile differs by a fifth.
    ours, peer = (total / statistics.median(times[name]) / 1e9 for name in ("carrier", "bare"))
    return report(
        Figure(
            f"TCP carrier, {total >> 20} MiB over loopback",
            f"{ours:.2f} GB/s",
            f"bare socket copy with fsync {peer:.2f} GB/s",
            ours / peer,
            f"at least {LEAST}",
            ours / peer >= LEAST,
        )
    )


def fill(store: Store, contents: dict[str, bytes], serial: int) -> None:
    """The next snapshot of the repository ``base``."""
    with store.locks.shared(), store.blobs.batch() as batch:
        entries = [Entry(path, *batch.put_bytes(data)) for path, data in sorted(contents.items())]
    with store.locks.shared():
        tree = store.keep_tree(entries)
        snapshot = Snapshot(
            "base", "files", serial, tree.digest, tree.size, tree.files, tree.bytes, NOW
        )
        with store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot("", snapshot))


def make_bundles(folder: Path, days: list[dict[str, bytes]]) -> None:
    """Snapshots of growing content, a bundle for each."""
    stream = OutsideStream(
        name="hq", carrier="file", outbox=folder, keys=folder / "keys", repositories=("base",)
    )
    keys = StreamKeys(Seam(), "hq", folder / "keys")
    keys.create(NOW)
    with Store.open(folder / "store") as store:
        content: dict[str, bytes] = {}
        for serial, day in enumerate(days, 1):
            content |= day
            fill(store, content, serial)
            now = NOW + timedelta(minutes=serial)
            draft = pack(store, stream, folder / "spool", roots=keys.chain(), now=now)
            assert draft is not None
            release(
                store, "hq", folder / "spool", draft.id,
                lambda manifest, sequence, _, now=now: keys.sign_release(manifest, sequence, now),
                roots=keys.chain(), now=now,
            )  # fmt: skip


def receive_all(folder: Path, out: Path) -> float:
    """Seconds of one ``receive`` of all that lies in the spool."""
    root = StreamKeys(Seam(), "hq", out / "keys").export_root()
    spool = out / "spool" / "hq"
    stream = InsideStream(
        name="hq", carrier="file", inbox=spool, root=folder / "root.json", rename={}
    )
    judges = Judges(lambda *_: [], lambda *_: None, nothing)
    with Store.open(folder / "store") as store:
        arrivals = [Arrival(path) for path in sorted(spool.iterdir())]
        os.sync()
        start = time.monotonic()
        done = receive(
            store, stream, arrivals, pinned_root=root, judges=judges, now=NOW + timedelta(days=1)
        )
        elapsed = time.monotonic() - start
        assert len(done.published) == 1, done
    return elapsed


def measure_queue(folder: Path, bundles: int) -> Figure:
    days = [
        {f"day{day:03}/file{n}": os.urandom(20_000) for n in range(5)} for day in range(bundles)
    ]
    seconds = {}
    for name, content in (
        ("many", days),
        ("one", [{path: data for day in days for path, data in day.items()}]),
    ):
        out, inside = folder / f"{name}-out", folder / f"{name}-in"
        out.mkdir()
        inside.mkdir()
        make_bundles(out, content)
        seconds[name] = receive_all(inside, out)
    each = (seconds["many"] - seconds["one"]) / bundles
    return report(
        Figure(
            f"receive of {bundles} queued bundles, {bundles * 5} files",
            f"{seconds['many']:.2f} s",
            f"one bundle with the same content {seconds['one']:.2f} s",
            seconds["one"] / seconds["many"],
            f"at most {MOST_EACH * 1000:.0f} ms for each bundle more; here {each * 1000:.1f}",
            each <= MOST_EACH,
        )
    )


def main() -> int:
    """Measure both; 1 when an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    with work_folder(options.folder) as folder:
        figures = [
            measure_link(folder, (64 if quick() else 1024) << 20),
            measure_queue(folder, 10 if quick() else 200),
        ]
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
