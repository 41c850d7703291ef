"""What crosses for what changed: the size of a bundle against the bytes that are new.

``python -m bench.bench_delta`` makes a repository of 100,000 small files, packs it, then
replaces a few files by new random bytes (1 MiB each) and packs again. The second bundle's
part files, heads and tree delta included, are compared with the new bytes.
"""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.bench_bundle import NOW, PART_SIZE
from bench.common import Figure, quick, report, work_folder
from manifests.state import Snapshot
from manifests.tree import Entry
from manifests.zone import OutsideStream
from sluice.ceremonies import StreamKeys
from store.records import BundleRecord, StoredSnapshot
from store.seam import Seam
from store.store import Store
from transfer.pack import pack
from transfer.release import release

MIB = 1 << 20
MOST = 1.25


class Outside:
    """A store with one repository of many files, and the keys of a stream."""

    def __init__(self, folder: Path, files: int) -> None:
        self.folder = folder
        self.store = Store.open(folder / "store")
        self.keys = StreamKeys(Seam(), "hq", folder / "keys")
        self.keys.create(NOW)
        self.stream = OutsideStream(
            name="hq", carrier="file", outbox=folder, keys=folder / "keys",
            part_size=PART_SIZE, repositories=("base",),
        )  # fmt: skip
        self.serial = 0
        with self.store.locks.shared(), self.store.blobs.batch() as batch:
            # A thousand contents under a hundred thousand names: the paths matter here.
            contents = [batch.put_bytes(f"content {n}".encode()) for n in range(1000)]
        self.entries = {
            f"Packages/{n % 100:02}/file-{n:07}": contents[n % 1000] for n in range(files)
        }

    def bundle(self) -> BundleRecord:
        """Snapshot, pack and release what the entries say."""
        self.serial += 1
        now = NOW + timedelta(minutes=self.serial)
        with self.store.locks.shared():
            entries = (Entry(path, *self.entries[path]) for path in sorted(self.entries))
            tree = self.store.keep_tree(entries)
            snapshot = Snapshot(
                "base", "files", self.serial, tree.digest, tree.size, tree.files, tree.bytes, now
            )
            with self.store.ledger.write() as tx:
                tx.add_snapshot(StoredSnapshot("", snapshot))
        spool, roots = self.folder / "spool", self.keys.chain()
        draft = pack(self.store, self.stream, spool, roots=roots, now=now)
        assert draft is not None
        return release(
            self.store, "hq", spool, draft.id,
            lambda manifest, sequence, _: self.keys.sign_release(manifest, sequence, now),
            roots=roots, now=now,
        )  # fmt: skip

    def change(self, count: int) -> int:
        """Give ``count`` paths a MiB of new bytes; the bytes that are new."""
        paths = sorted(self.entries)[:: max(1, len(self.entries) // count)][:count]
        with self.store.locks.shared(), self.store.blobs.batch() as batch:
            for path in paths:
                self.entries[path] = batch.put_bytes(os.urandom(MIB))
        return count * MIB


def main() -> int:
    reached = True
    with work_folder() as folder:
        outside = Outside(folder, 10_000 if quick() else 100_000)
        outside.bundle()
        for count in (1, 16):
            changed = outside.change(count)
            crossed = outside.bundle().size
            ratio = crossed / changed
            reached &= report(
                Figure(
                    f"bytes crossing for {count} MiB new among {len(outside.entries):,} files",
                    f"{crossed:,} bytes",
                    f"{changed:,} bytes changed",
                    ratio,
                    f"at most {MOST}",
                    ratio <= MOST,
                )
            ).reached
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
