"""A zone's store: blobs, ledger and locks in one folder.

::

    VERSION          "1": the layout of this folder
    blobs/           see store.blobs
    ledger.sqlite    unless the ledger is kept in PostgreSQL
    locks/           see store.locks
    scratch/         work in progress; nothing in it outlives its process
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from manifests.digest import Digest
from manifests.durable import Durable, publish_file
from manifests.errors import BlobDamaged, BlobMissing, NoSpace, StoreError, WrongVersion
from manifests.tree import Entry, Tree, apply, encode, sizes
from manifests.units import format_bytes
from store.blobs import BlobBatch, BlobStore, LocalBlobs
from store.checksums import Checksums
from store.ledger import Ledger
from store.ledger.base import Clock, utc_now
from store.locks import Locks
from store.seam import Seam
from store.views import StoredView

STORE_VERSION = "1"
_MAPPED_TREES = 64


@dataclass(frozen=True, slots=True)
class KeptTree:
    """A tree that is a blob now: its digest, the length of its text, and its totals."""

    digest: Digest
    size: int
    files: int
    bytes: int


class Store:
    """The one way to blobs and ledger. Safe to share between threads."""

    def __init__(
        self, folder: Path, files: Durable, blobs: BlobStore, ledger: Ledger, reserve_free: int
    ) -> None:
        self.folder = folder
        self.files = files
        self.blobs = blobs
        self.ledger = ledger
        self.locks = Locks(folder / "locks")
        self.reserve_free = reserve_free
        """Bytes that all work leaves free on the disk."""
        self.checksums = Checksums(blobs, _LedgerChecksums(ledger))
        self._trees: OrderedDict[Digest, Tree] = OrderedDict()
        self._guard = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: Path,
        ledger_url: str | None = None,
        files: Durable | None = None,
        reserve_free: int = 0,
        *,
        ledger_password: str = "",
        actor: str = "",
        clock: Clock = utc_now,
    ) -> Self:
        """Open the store in ``folder`` for writing, and make it if it is not there.

        The ledger is made with it: beside blobs it was there, and an empty one in its place
        would forget what was published, sent and accepted.

        Raises WrongVersion, LedgerDamaged, StoreBusy, ConfigError, StoreError.
        """
        files = files or Seam()
        version = folder / "VERSION"
        if not version.exists():
            _refuse_half(folder)
            files.mkdir(folder)
            publish_file(files, version, f"{STORE_VERSION}\n".encode())
        check_version(version)
        ledger = Ledger.open(
            ledger_url or folder / "ledger.sqlite",
            files,
            password=ledger_password,
            actor=actor,
            clock=clock,
            make=not (folder / "blobs").exists(),
        )
        return cls(folder, files, LocalBlobs(folder / "blobs", files), ledger, reserve_free)

    @classmethod
    def open_read_only(
        cls, folder: Path, ledger_url: str | None = None, *, ledger_password: str = ""
    ) -> Self:
        """Open an existing store for reading; nothing in it is touched.

        Raises WrongVersion, LedgerDamaged, ConfigError, StoreError.
        """
        check_version(folder / "VERSION")
        files = Seam()
        ledger = Ledger.open_read_only(
            ledger_url or folder / "ledger.sqlite", password=ledger_password
        )
        return cls(folder, files, LocalBlobs(folder / "blobs", files), ledger, 0)

    def close(self) -> None:
        """Close the ledger; mapped trees end with their last user."""
        self.ledger.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def tree(self, digest: Digest) -> Tree:
        """The tree with this digest, mapped into memory; raises BlobMissing.

        Mapped trees are shared and cached, so nobody closes them.
        """
        with self._guard:
            if digest in self._trees:
                self._trees.move_to_end(digest)
                return self._trees[digest]
        tree = Tree.map(self.blobs.path(digest))
        with self._guard:
            self._trees[digest] = tree
            if len(self._trees) > _MAPPED_TREES:
                self._trees.popitem(last=False)
        return tree

    def forget_trees(self) -> None:
        """Map trees anew from now on: blobs were removed or set aside."""
        with self._guard:
            self._trees.clear()

    def view(self, tree: Digest, overlay: Digest | None = None) -> StoredView:
        """Tree and overlay as one; raises BlobMissing if either text is not there."""
        over = None if overlay is None else self.tree(overlay)
        return StoredView(self.tree(tree), over, self.blobs, self.checksums.values)

    def keep_tree(self, entries: Iterable[Entry], batch: BlobBatch | None = None) -> KeptTree:
        """Make a tree of sorted entries and keep it as a blob, with flat memory.

        With ``batch`` it is durable once that is flushed, else on return. The caller
        holds the shared lock. Raises BadPath, MalformedTree, NoSpace.
        """
        if batch is None:
            with self.blobs.batch() as own:
                return self.keep_tree(entries, own)
        files = total = 0

        def counted() -> Iterator[Entry]:
            nonlocal files, total
            for entry in entries:
                files += 1
                total += entry.size
                yield entry

        digest, size = batch.put_stream(encode(counted()))
        return KeptTree(digest, size, files, total)

    def keep_changed(
        self, old: Digest, changes: Mapping[bytes, Entry | None], batch: BlobBatch
    ) -> KeptTree | None:
        """The tree ``old`` with other files (None: without a file) at some paths; None if it is
        empty then. What did not change is copied in blocks.

        The caller holds the shared lock. Raises BlobMissing, NoSpace.
        """
        before = self.tree(old)
        files = total = 0

        def blocks() -> Iterator[bytes]:
            nonlocal files, total
            for block in apply(before, _delta(before, changes)):
                files += block.count(b"\n")
                total += sum(sizes(block))
                yield block

        digest, size = batch.put_stream(blocks())
        return KeptTree(digest, size, files, total) if files else None

    def missing(self, tree: Digest) -> Iterator[Entry]:
        """Entries of a tree whose blobs are not in the store, or have another size.

        Raises BlobMissing when the tree itself is not there.
        """
        for entry in self.tree(tree).entries():
            try:
                there = self.blobs.size(entry.digest) == entry.size
            except BlobMissing:
                there = False
            if not there:
                yield entry

    def small(self, digest: Digest, limit: int) -> bytes:
        """The bytes of a small blob; raises BlobMissing, BlobDamaged above ``limit`` bytes."""
        if self.blobs.size(digest) > limit:
            raise BlobDamaged(f"a blob of more than {limit} bytes", where=digest)
        with self.blobs.open(digest) as body:
            return body.read()

    def require_free(self, needed: int, what: str) -> None:
        """Raise NoSpace unless ``needed`` more bytes leave ``reserve_free`` on the disk."""
        free = self.blobs.free_bytes()
        if needed + self.reserve_free > free:
            short = needed + self.reserve_free - free
            raise NoSpace(
                f"{what} needs {format_bytes(needed)} of space; {format_bytes(free)} are free, "
                f"and {format_bytes(self.reserve_free)} stay reserved",
                where=str(self.folder),
                remedy=f"free at least {format_bytes(short)} (`sluice gc`), enlarge the disk, "
                "or lower reserve_free",
            )

    @contextmanager
    def scratch(self, purpose: str) -> Iterator[Path]:
        """A private folder on the store's file system, gone at the end.

        The shared lock is held meanwhile: with the store alone, ``gc`` removes what dead
        processes left.
        """
        parent = self.folder / "scratch"
        with self.locks.shared():
            self.files.mkdir(parent)
            place = Path(tempfile.mkdtemp(prefix=f"{purpose}-", dir=parent))
            try:
                yield place
            finally:
                shutil.rmtree(place)


def _delta(before: Tree, changes: Mapping[bytes, Entry | None]) -> Iterator[bytes]:
    """The lines of a delta, for what really changes."""
    for path in sorted(changes):
        entry = changes[path]
        if before.lookup(path.decode()) != entry:
            yield b"-" + path + b"\n" if entry is None else b"+" + entry.line()


class _LedgerChecksums:
    """Keeps checksums in the ledger; in one that is open for reading, only looks."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def known(self, digests: Sequence[Digest], algorithm: str) -> dict[Digest, str]:
        with self._ledger.read() as tx:
            return tx.checksums(digests, algorithm)

    def remember(self, rows: list[tuple[Digest, str, str]]) -> None:
        if not self._ledger.writable:
            return
        with self._ledger.write() as tx:
            tx.add_checksums(rows)


def _refuse_half(folder: Path) -> None:
    if (folder / "blobs").exists():
        raise StoreError(
            "this folder has blobs, but no VERSION",
            where=str(folder),
            remedy="check the path of the store, or restore VERSION from a backup",
        )


def check_version(path: Path) -> None:
    """Read the file VERSION of a store. Raises StoreError (no store), WrongVersion."""
    try:
        found = path.read_bytes()[:40].decode("ascii", "backslashreplace").strip()
    except FileNotFoundError:
        _refuse_half(path.parent)
        raise StoreError(
            "there is no store here", where=str(path.parent), remedy="make one with `sluice init`"
        ) from None
    if found != STORE_VERSION:
        # There is one layout so far: what is no newer one is damaged.
        newer = found.isdigit() and int(found) > int(STORE_VERSION)
        raise WrongVersion(
            f"the store has version {found!r}, this program reads {STORE_VERSION}",
            where=str(path.parent),
            remedy="install the newer Sluice that wrote it"
            if newer
            else "restore the file VERSION from a backup",
        )
