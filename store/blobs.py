"""Blobs: bytes kept under their digest.

:class:`BlobStore` is what the rest of Sluice knows; :class:`LocalBlobs` keeps blobs in a
folder. Reading is by digest at any time. Writing goes through a batch, so that the costly
fsyncs of many small blobs are shared::

    with blobs.batch() as batch:
        digest, size = batch.put_bytes(data)
        ...
    # only here (or after batch.flush()) may a ledger commit rely on them

Whoever relies on a blob before its commit holds the store's shared lock
(:mod:`store.locks`), so that ``gc`` cannot take it away in between.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests import errors
from manifests.digest import Digest, is_digest
from manifests.durable import Durable
from store.layout import Layout
from store.local_batch import LocalBatch
from store.seam import BLOCK

_DAMAGED_REMEDY = "run `sluice verify --repair` to set it aside, then fetch or receive it again"


class BlobWriter(Protocol):
    """One blob that is being written; it exists once the batch is flushed."""

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append ``chunk``. Raises ``BlobDamaged`` past the promised size, ``NoSpace``."""

    def copy_range(self, source_fd: int, offset: int, length: int) -> None:
        """Append ``length`` bytes of an open file. Raises ``StoreError`` if it ends early."""

    def finish(self) -> tuple[Digest, int]:
        """Check digest and size. Raises ``BlobDamaged``; nothing is kept then."""

    def abort(self) -> None:
        """Forget what was written; after ``finish`` it does nothing."""


class BlobBatch(Protocol):
    """Blobs that become durable together; safe to share between threads.

    Methods that add a blob return its digest and its size in bytes, and raise
    ``BlobDamaged`` if the bytes are not the ones expected, ``NoSpace`` on a full disk.
    """

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there or in this batch; if so, it is durable after flush."""

    def put_bytes(
        self, data: bytes | bytearray | memoryview, expected: Digest | None = None
    ) -> tuple[Digest, int]:
        """Add bytes from memory."""

    def put_stream(
        self,
        chunks: Iterable[bytes],
        expected: Digest | None = None,
        limit: int | None = None,
        size: int | None = None,
    ) -> tuple[Digest, int]:
        """Add a stream, with flat memory.

        More than ``limit`` bytes raise ``OversizedIndex``; another size than ``size``
        raises ``BlobDamaged``. If ``expected`` is there already, nothing is read.
        """

    def put_file(self, path: Path, expected: Digest | None = None) -> tuple[Digest, int]:
        """Add a copy of a regular file that belongs to somebody else."""

    def adopt(self, path: Path, expected: Digest | None = None) -> tuple[Digest, int]:
        """Add a file of our own that nobody will write to again, without copying if possible.

        It is hard-linked and becomes read-only under both names; where it cannot be
        linked (other file system, not ours) it is copied. Raises ``StoreError`` for
        anything but a regular file, and if the file changes meanwhile.
        """

    def writer(self, expected: Digest | None = None, size: int | None = None) -> BlobWriter:
        """Start a blob that arrives piece by piece."""

    def flush(self) -> None:
        """Make everything so far durable. After an error the batch accepts nothing more."""


class BlobStore(Protocol):
    """Bytes under their digests. Methods on an absent blob raise ``BlobMissing``."""

    def has(self, digest: Digest) -> bool: ...
    def size(self, digest: Digest) -> int:
        """Size in bytes."""

    def open(self, digest: Digest) -> BinaryIO:
        """The bytes, for reading and seeking."""

    def path(self, digest: Digest) -> Path:
        """A local file with the bytes; read-only, and not to be linked or changed."""

    def digests(self) -> Iterator[Digest]:
        """All blobs in ascending order, with flat memory."""

    def delete(self, digest: Digest) -> None:
        """Remove a blob, if it is there. Only under the store's exclusive lock."""

    def verify(self, digest: Digest) -> None:
        """Read the blob. Raises ``BlobDamaged`` if its bytes are not its own."""

    def quarantine_damaged(self, digest: Digest) -> Path:
        """Move a damaged blob aside, so that it counts as missing and can be fetched again."""

    def free_bytes(self) -> int:
        """Bytes that may still be written by an ordinary user."""

    def batch(self) -> AbstractContextManager[BlobBatch]:
        """Add blobs; leaving the context normally flushes, an exception drops the rest."""


class LocalBlobs:
    """Blobs in a folder: ``root/ab/abcdef...``, each read-only.

    ``root/.tmp`` holds what is being written, ``root/.damaged`` what was set aside. The
    file system of ``root`` must know hard links and fsync of folders (ext4, XFS, Btrfs).
    Making an instance touches nothing, so that a server may read a store it cannot write.
    """

    def __init__(self, root: Path, files: Durable) -> None:
        self._layout = Layout(root)
        self._files = files
        self._prepared = False

    def has(self, digest: Digest) -> bool:
        """Whether the blob is there (its durability: see ``BlobBatch.has``)."""
        return self._layout.has(digest)

    def size(self, digest: Digest) -> int:
        """Size in bytes; raises ``BlobMissing``."""
        try:
            return os.stat(self._layout.name(digest)).st_size  # noqa: PTH116
        except FileNotFoundError:
            raise self._missing(digest) from None

    def open(self, digest: Digest) -> BinaryIO:
        """Open for reading; raises ``BlobMissing``."""
        try:
            return open(self._layout.name(digest), "rb")  # noqa: PTH123
        except FileNotFoundError:
            raise self._missing(digest) from None

    def path(self, digest: Digest) -> Path:
        """The blob's own file; raises ``BlobMissing``."""
        if not self.has(digest):
            raise self._missing(digest)
        return self._layout.place(digest)

    def digests(self) -> Iterator[Digest]:
        """All blobs in ascending order; files with other names are passed over."""
        for prefix in (f"{n:02x}" for n in range(256)):
            try:
                names = os.listdir(self._layout.root / prefix)  # noqa: PTH208
            except FileNotFoundError:
                continue
            for name in sorted(names):
                if name.startswith(prefix) and is_digest(name):
                    yield Digest(name)

    def delete(self, digest: Digest) -> None:
        """Remove a blob, if it is there.

        Not synced: a blob that comes back after a power cut is whole, and gc's next find.
        """
        self._files.unlink(self._layout.place(digest))

    def verify(self, digest: Digest) -> None:
        """Read and compare; raises ``BlobMissing``, ``BlobDamaged`` (also if unreadable)."""
        path = self._layout.place(digest)
        found = hashlib.sha256()
        with self.open(digest) as body:
            try:
                while block := body.read(BLOCK):
                    found.update(block)
            except OSError as exc:
                if exc.errno != errno.EIO:
                    raise
                raise errors.BlobDamaged(
                    "the disk cannot read this blob", where=str(path), remedy=_DAMAGED_REMEDY
                ) from exc
        if found.hexdigest() != digest:
            raise errors.BlobDamaged(
                f"the bytes have the digest {found.hexdigest()}, not the blob's own",
                where=str(path),
                remedy=_DAMAGED_REMEDY,
            )

    def quarantine_damaged(self, digest: Digest) -> Path:
        """Move a blob to ``root/.damaged``; raises ``BlobMissing``. Durable on return."""
        place, aside = self._layout.place(digest), self._layout.damaged
        self._files.mkdir(aside)
        target = aside / digest
        turn = 1
        while target.exists():
            turn += 1
            target = aside / f"{digest}.{turn}"
        try:
            self._files.rename(place, target)
        except FileNotFoundError:
            raise self._missing(digest) from None
        self._files.sync_dir(aside)
        self._files.sync_dir(place.parent)
        return target

    def free_bytes(self) -> int:
        """Free bytes of the file system that holds ``root`` (or will hold it)."""
        place = self._layout.root
        while not place.exists() and place.parent != place:
            place = place.parent
        stat = os.statvfs(place)
        return stat.f_bavail * stat.f_frsize

    def batch(self) -> LocalBatch:
        """Start a batch; the first one also removes what dead processes left in ``.tmp``."""
        if not self._prepared:
            self._layout.prepare(self._files)
            self._prepared = True
        return LocalBatch(self._layout, self._files)

    def _missing(self, digest: Digest) -> errors.BlobMissing:
        return errors.BlobMissing(
            f"blob {digest} is not in the store",
            where=str(self._layout.root),
            remedy="`sluice verify` names all that is missing; restore it from a backup, or have it"
            " sent again (outside: `pack --full`; in an outside zone `sync`)",
        )
