"""The steps of ``bench_scale``, each a process: ``python -m bench.scale_steps STEP DIR PATHS``.

The last line of output is JSON: seconds, seconds of CPU time of the one thread, peak memory
in bytes, and the amount of work.
All trees are made up: paths like those of packages, digests without blobs where nobody
opens them, few and small blobs where a bundle carries them.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from bench.common import PeakMemory
from manifests.digest import Digest, sha256_of
from manifests.formats.base import Severity, Spec
from manifests.formats.files import FilesFormat
from manifests.formats.yum.format import YumFormat
from manifests.state import Snapshot
from manifests.tree import Entry, Tree, diff, encode
from manifests.zone import OutsideStream
from sluice.ceremonies import StreamKeys
from store.records import StoredSnapshot
from store.seam import Seam
from store.store import Store
from transfer.pack import pack
from transfer.release import release

NOW = datetime(2030, 1, 1, tzinfo=UTC)
_ASKED = 200_000
_BLOBS = 64
_FOLDER = 1000


def _path(number: int) -> str:
    return f"Packages/{number // _FOLDER:04}/package-{number:07}-1.{number % 17}-2.el9.x86_64.rpm"


def _entries(paths: int, changed: int = -1) -> Iterator[Entry]:
    """Sorted entries, each with its own digest; one differs when asked."""
    for number in range(paths):
        text = f"{number}{' changed' if number == changed else ''}"
        yield Entry(_path(number), sha256_of(text.encode()), 1000 + number)


# --- preparation --------------------------------------------------------------


def make_trees(folder: Path, paths: int) -> int:
    """Two trees that differ in one file in the middle."""
    for name, changed in (("old", -1), ("new", paths // 2)):
        with (folder / name).open("wb") as file:
            file.writelines(encode(_entries(paths, changed)))
    return paths


def make_yum(folder: Path, paths: int) -> int:
    """A yum repository: its indexes are real, its packages are only named."""
    with Store.open(folder / "yum") as store, store.locks.shared(), store.blobs.batch() as batch:
        plain, total = hashlib.sha256(), 0
        packed = folder / "primary.xml.gz"
        with gzip.open(packed, "wb", compresslevel=1) as file:
            for piece in _primary(paths):
                plain.update(piece)
                total += len(piece)
                file.write(piece)
        size = packed.stat().st_size
        primary, _ = batch.put_file(packed)
        packed.unlink()
        repomd = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<repomd xmlns="http://linux.duke.edu/metadata/repo"><revision>1</revision>'
            f'<data type="primary"><checksum type="sha256">{primary}</checksum>'
            f'<open-checksum type="sha256">{plain.hexdigest()}</open-checksum>'
            f'<location href="repodata/primary.xml.gz"/><timestamp>1</timestamp>'
            f"<size>{size}</size><open-size>{total}</open-size></data></repomd>\n"
        ).encode()
        index, _ = batch.put_bytes(repomd)

        def entries() -> Iterator[Entry]:
            yield from _entries(paths)
            yield Entry("repodata/primary.xml.gz", primary, size)
            yield Entry("repodata/repomd.xml", index, len(repomd))

        tree = store.keep_tree(entries(), batch)
        batch.flush()
    (folder / "yum.tree").write_text(tree.digest)
    return paths


def _primary(paths: int) -> Iterator[bytes]:
    yield (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<metadata xmlns="http://linux.duke.edu/metadata/common"'
        f' xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{paths}">\n'
    ).encode()
    for number, entry in enumerate(_entries(paths)):
        yield (
            f'<package type="rpm"><name>package-{number:07}</name><arch>x86_64</arch>'
            f'<version epoch="0" ver="1.{number % 17}" rel="2.el9"/>'
            f'<checksum type="sha256" pkgid="YES">{entry.digest}</checksum>'
            "<summary>A package of the benchmark</summary><description>Nothing</description>"
            '<packager/><url/><time file="1" build="1"/>'
            f'<size package="{entry.size}" installed="{entry.size}" archive="{entry.size}"/>'
            f'<location href="{entry.path}"/></package>\n'
        ).encode()
    yield b"</metadata>\n"


def make_zone(folder: Path, paths: int) -> int:
    """An outside that has released one snapshot, and mirrored one with one changed file."""
    keys = StreamKeys(Seam(), "hq", folder / "keys")
    keys.create(NOW)
    with Store.open(folder / "zone") as store:
        _mirror(store, paths, serial=1)
        _pack_and_release(store, folder, keys)
        _mirror(store, paths, serial=2, changed=paths // 2)
    return paths


def _mirror(store: Store, paths: int, *, serial: int, changed: int = -1) -> None:
    with store.locks.shared():
        with store.blobs.batch() as batch:
            some = [batch.put_bytes(f"{i}\n".encode()) for i in range(_BLOBS)]
            other = batch.put_bytes(b"changed\n")
        tree = store.keep_tree(
            Entry(_path(i), *(other if i == changed else some[i % _BLOBS])) for i in range(paths)
        )
        snapshot = Snapshot(
            "base", "files", serial, tree.digest, tree.size, tree.files, tree.bytes,
            NOW + timedelta(hours=serial),
        )  # fmt: skip
        with store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot("", snapshot))


def _pack_and_release(store: Store, folder: Path, keys: StreamKeys) -> int:
    stream = OutsideStream(
        name="hq", carrier="file", outbox=folder, keys=folder / "keys",
        part_size=64 << 20, repositories=("base",),
    )  # fmt: skip
    spool, roots = folder / "spool", keys.chain()
    draft = pack(store, stream, spool, roots=roots, now=NOW)
    if draft is None:
        raise AssertionError("nothing to pack")
    release(
        store, "hq", spool, draft.id,
        lambda manifest, sequence, _: keys.sign_release(manifest, sequence, NOW),
        roots=roots, now=NOW,
    )  # fmt: skip
    return draft.blobs


# --- what is measured -----------------------------------------------------------


def lookup(folder: Path, paths: int) -> Callable[[], int]:
    """Random paths, all there."""
    chosen = random.Random(1)
    asked = [_path(chosen.randrange(paths)) for _ in range(_ASKED)]

    def run() -> int:
        with Tree.map(folder / "old") as tree:
            found = sum(tree.lookup(path) is not None for path in asked)
        assert found == _ASKED
        return found

    return run


def compare(folder: Path, paths: int) -> Callable[[], int]:
    """A diff that finds one changed file."""

    def run() -> int:
        with Tree.map(folder / "old") as old, Tree.map(folder / "new") as new:
            assert len(list(diff(old, new))) == 1
        return paths

    return run


def check_files(folder: Path, paths: int) -> Callable[[], int]:
    """The check of ``format: files``."""

    def run() -> int:
        with Store.open(folder / "zone") as store:
            with store.ledger.read() as tx:
                newest = tx.newest_snapshot("", "base")
            assert newest is not None
            view = store.view(newest.snapshot.tree)
            assert not list(FilesFormat().check(Spec("base"), view))
        return paths

    return run


def check_yum(folder: Path, paths: int) -> Callable[[], int]:
    """The check of a yum repository: every package of primary.xml is looked up."""

    def run() -> int:
        with Store.open(folder / "yum") as store:
            view = store.view(Digest((folder / "yum.tree").read_text()))
            problems = YumFormat().check(Spec("base"), view)
            assert not [each for each in problems if each.severity is Severity.REQUIRED]
        return paths

    return run


def pack_one(folder: Path, paths: int) -> Callable[[], int]:
    """Pack and release of one changed file against a released base."""

    def run() -> int:
        keys = StreamKeys(Seam(), "hq", folder / "keys")
        with Store.open(folder / "zone") as store:
            blobs = _pack_and_release(store, folder, keys)
        assert blobs == 2  # the file and the delta of the tree
        return blobs

    return run


PREPARE = {"make-trees": make_trees, "make-yum": make_yum, "make-zone": make_zone}
_STEPS = {
    "lookup": lookup,
    "diff": compare,
    "files": check_files,
    "yum": check_yum,
    "pack": pack_one,
}
MEASURE = {
    "lookup": f"{_ASKED:,} random look-ups",
    "diff": "diff of one changed file",
    "files": "check of a files tree",
    "yum": "check of a yum tree",
    "pack": "pack of one changed file",
}


def main() -> None:
    """Run one step and tell what it took."""
    name, folder, paths = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
    step = partial(PREPARE[name], folder, paths) if name in PREPARE else _STEPS[name](folder, paths)
    with PeakMemory() as memory:
        start, started = time.perf_counter(), time.thread_time()
        work = step()
        cpu, spent = time.thread_time() - started, time.perf_counter() - start
    peak = memory.peak
    told = {
        "seconds": spent,
        "cpu": cpu,
        "total": peak.total,
        "private": peak.private,
        "work": work,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main()
