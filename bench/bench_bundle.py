"""Pack and import against hashing and copying the same bytes, and their peak memory.

``python -m bench.bench_bundle [GIB ...]`` makes 64 files of random bytes for each size
(1 and 4 GiB). The speed of pack and of import is compared with the slower of ``openssl
dgst -sha256`` and a copy with fsync of the same bytes; all steps run one after the other
in processes of their own, so that a peak of memory is that of one step. The aim: a ratio
of at least 0.5, under 250 MB, and the same memory for both sizes.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Figure, quick, report, work_folder
from manifests.digest import Digest
from manifests.state import Snapshot
from manifests.tree import Entry
from manifests.zone import InsideStream, OutsideStream
from sluice.ceremonies import StreamKeys
from store.records import Publication, StoredSnapshot
from store.seam import Seam
from store.store import Store
from transfer.pack import pack
from transfer.publish import Judges
from transfer.receive import receive
from transfer.release import release

FILES = 64
PART_SIZE = 256 << 20
NOW = datetime(2030, 1, 1, tzinfo=UTC)
LEAST, MOST_MEMORY = 0.5, 250


class Arrival:
    """A part in the inbox."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.label = path.name
        self.size = path.stat().st_size
        self.identity = path.name

    def open(self):  # type: ignore[no-untyped-def]
        return self.path.open("rb")


def in_child(step: Callable[[], None]) -> tuple[float, float]:
    """Seconds and peak MB of ``step`` in a process of its own."""
    os.sync()
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        try:
            step()
            os._exit(0)
        except BaseException:  # noqa: BLE001
            sys.excepthook(*sys.exc_info())
            os._exit(1)
    _, status, usage = os.wait4(child, 0)
    seconds = time.monotonic() - start
    assert status == 0, "a step failed"
    return seconds, usage.ru_maxrss / 1024


def make_files(folder: Path, total: int) -> None:
    folder.mkdir()
    with Path("/dev/urandom").open("rb") as noise:
        for number in range(FILES):
            with (folder / f"{number:02}").open("wb") as file:
                left = total // FILES
                while left:
                    left -= file.write(noise.read(min(left, 1 << 20)))
                os.fsync(file.fileno())


def copy_with_fsync(source: Path, target: Path) -> None:
    target.mkdir()
    for path in sorted(source.iterdir()):
        with path.open("rb") as reader, (target / path.name).open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
            os.fsync(writer.fileno())


def fill(folder: Path, source: Path) -> None:
    with Store.open(folder / "store") as store, store.locks.shared():
        with store.blobs.batch() as batch:
            entries = []
            for path in sorted(source.iterdir()):
                digest, size = batch.adopt(path)
                entries.append(Entry(path.name, digest, size))
        tree = store.keep_tree(entries)
        snapshot = Snapshot("base", "files", 1, tree.digest, tree.size, tree.files, tree.bytes, NOW)
        with store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot("", snapshot))


def run_pack(folder: Path) -> None:
    stream = OutsideStream(
        name="hq", carrier="file", outbox=folder, keys=folder / "keys",
        part_size=PART_SIZE, repositories=("base",),
    )  # fmt: skip
    keys = StreamKeys(Seam(), "hq", folder / "keys")
    keys.create(NOW)
    with Store.open(folder / "store") as store:
        draft = pack(store, stream, folder / "spool", roots=keys.chain(), now=NOW)
        assert draft is not None
        release(
            store, "hq", folder / "spool", draft.id,
            lambda manifest, sequence, _: keys.sign_release(manifest, sequence, NOW),
            roots=keys.chain(), now=NOW,
        )  # fmt: skip


def nothing(_format: str, _name: str, _tree: Digest, _live: Publication | None) -> Digest | None:
    return None


def run_receive(folder: Path, out: Path) -> None:
    root = StreamKeys(Seam(), "hq", out / "keys").export_root()
    spool = out / "spool" / "hq"
    stream = InsideStream(
        name="hq", carrier="file", inbox=spool, root=folder / "root.json", rename={}
    )
    judges = Judges(lambda *_: [], lambda *_: None, nothing)
    with Store.open(folder / "store") as store:
        arrivals = [Arrival(path) for path in sorted(spool.iterdir())]
        report = receive(store, stream, arrivals, pinned_root=root, judges=judges, now=NOW)
        assert len(report.published) == 1, report


def measure(folder: Path, gib: float) -> list[Figure]:
    """Figures of one size, and the peak memory of pack and import in MB."""
    total = int(gib * (1 << 30))
    source = folder / "source"
    make_files(source, total)
    names = [str(path) for path in sorted(source.iterdir())]

    def openssl() -> None:
        subprocess.run(["openssl", "dgst", "-sha256", *names], check=True, capture_output=True)

    def speed(seconds: float) -> float:
        return total / seconds / 1e9

    hashing = speed(in_child(openssl)[0])
    copying = speed(in_child(lambda: copy_with_fsync(source, folder / "copy"))[0])
    shutil.rmtree(folder / "copy")
    slower, peer = min((hashing, "openssl"), (copying, "copy with fsync"))
    out, inside = folder / "out", folder / "in"
    out.mkdir()
    inside.mkdir()
    fill(out, source)
    figures = []
    for what in ("pack", "import"):
        if what == "pack":
            seconds, peak = in_child(lambda: run_pack(out))
        else:
            seconds, peak = in_child(lambda: run_receive(inside, out))
        ratio = speed(seconds) / slower
        figures.append(
            report(
                Figure(
                    f"{what} of {gib:g} GiB in {FILES} files",
                    f"{speed(seconds):.2f} GB/s, {peak:.0f} MB",
                    f"{peer} {slower:.2f} GB/s",
                    ratio,
                    f"at least {LEAST}, under {MOST_MEMORY} MB",
                    ratio >= LEAST and peak < MOST_MEMORY,
                )
            )
        )
    return figures


def main() -> int:
    """Measure each size; 1 when the aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("gib", nargs="*", type=float)
    parser.add_argument("--folder", type=Path, help="where to work")
    parser.add_argument("--quick", action="store_true", help="a small size, to see that it runs")
    options = parser.parse_args()
    figures = []
    for gib in options.gib or ([0.125] if quick() else [1.0, 4.0]):
        with work_folder(options.folder) as folder:
            figures += measure(folder, gib)
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
