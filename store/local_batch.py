"""Writing blobs into a local folder, many at a time.

The order that makes it safe: bytes under a temporary name, fsync of the file, rename,
fsync of the folder. So a file under its final name always has all its bytes on disk, and
only its *name* may still be lost; a batch therefore syncs the folders of blobs that it
found present, too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.durable import Durable, DurableFile
from store.hashing import SideHash
from store.layout import Layout, open_regular
from store.local_writer import LocalWriter, Pending, check
from store.seam import BLOCK, told

_MODE = 0o444
_WAITING = 256
"""Blobs whose fsync waits; bounds open files and what a power cut can cost in work."""

_SYNCERS = 8
"""fsyncs under way at once: the file system carries them out in one commit."""

_NO_LINK = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP})

_T = TypeVar("_T")


class LocalBatch:
    """See :class:`store.blobs.BlobBatch`. A context manager, for one use."""

    def __init__(self, layout: Layout, files: Durable) -> None:
        self._layout = layout
        self._files = files
        self._lock = threading.RLock()
        self._pending: dict[Digest, Pending] = {}
        self._writers: set[LocalWriter] = set()
        self._temporaries: set[Path] = set()
        self._folders: set[Path] = set()
        self._alive: DurableFile | None = None
        self._token = ""
        self._count = 0
        self._broken = False

    def __enter__(self) -> Self:
        while self._alive is None:
            self._token = f"{os.getpid()}-{secrets.token_hex(8)}"
            path = self._layout.temporary / f"{self._token}.lock"
            alive = self._files.create(path, 0o600)
            fcntl.flock(alive.fileno(), fcntl.LOCK_EX)
            # Somebody cleaning up may have taken it in the moment before the lock.
            if path.exists():
                self._alive = alive
            else:
                alive.close()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                self.flush()
        except BaseException as failure:
            self._clean(failure)
            raise
        self._clean(exc)

    def _clean(self, exc: BaseException | None) -> None:
        """Remove every temporary file; a failure to do so never hides ``exc``."""
        with self._lock:
            self._broken = True
            try:
                for writer in list(self._writers):
                    writer.abort()
                for pending in self._pending.values():
                    if pending.file is not None:
                        pending.file.close()
                for path in self._temporaries:
                    self._files.unlink(path)
                self._files.unlink(self._layout.temporary / f"{self._token}.lock")
            except (errors.StoreError, OSError) as failure:
                if exc is None:
                    raise
                exc.add_note(f"temporary files stay until the next start: {failure}")
            finally:
                if self._alive is not None:
                    self._alive.close()

    # What writers use.

    def create_temporary(self, writer: LocalWriter | None) -> DurableFile:
        """A new file that this batch removes unless it becomes a blob."""
        path = self._new_name()
        file = self._files.create(path, _MODE)
        if writer is not None:
            with self._lock:
                self._writers.add(writer)
        return file

    def _new_name(self) -> Path:
        with self._lock:
            if self._broken or self._alive is None:
                raise errors.StoreError(
                    "this batch of blobs has ended or failed", where=str(self._layout.root)
                )
            self._count += 1
            path = self._layout.temporary / f"{self._token}.{self._count}"
            self._temporaries.add(path)
            return path

    def drop(self, path: Path, file: DurableFile | None, writer: LocalWriter | None) -> None:
        """Remove a temporary file."""
        if file is not None:
            file.close()
        self._files.unlink(path)
        with self._lock:
            self._temporaries.discard(path)
            if writer is not None:
                self._writers.discard(writer)

    def add(self, pending: Pending, writer: LocalWriter | None = None) -> None:
        """Take over a complete temporary file."""
        with self._lock:
            if writer is not None:
                self._writers.discard(writer)
            if not self.has(pending.digest):
                self._pending[pending.digest] = pending
                if len(self._pending) >= _WAITING:
                    self._settle()
                return
        self.drop(pending.temporary, pending.file, None)

    # What callers use.

    def has(self, digest: Digest) -> bool:
        """Present or in this batch; durable after ``flush``."""
        with self._lock:
            if digest in self._pending:
                return True
            if not self._layout.has(digest):
                return False
            self._folders.add(self._layout.place(digest).parent)
            return True

    def put_bytes(
        self, data: bytes | bytearray | memoryview, expected: Digest | None = None
    ) -> tuple[Digest, int]:
        """Add bytes from memory."""
        digest = sha256_of(data)
        check(digest, expected)
        if not self.has(digest):
            file = self.create_temporary(None)
            try:
                file.write(data)
            except BaseException:
                file.close()
                raise
            self.add(Pending(digest, file.path, file))
        return digest, len(data)

    def put_stream(
        self,
        chunks: Iterable[bytes],
        expected: Digest | None = None,
        limit: int | None = None,
        size: int | None = None,
    ) -> tuple[Digest, int]:
        """Add a stream; not read at all if ``expected`` is there."""
        known = self._known(expected, size)
        if known is not None:
            return known

        def fill(writer: LocalWriter) -> None:
            for chunk in chunks:
                writer.write(chunk)

        return self._fill(LocalWriter(self, expected, size, limit), fill)

    def put_file(self, path: Path, expected: Digest | None = None) -> tuple[Digest, int]:
        """Add a copy of a regular file."""
        known = self._known(expected, None)
        if known is not None:
            return known
        fd, size = open_regular(path)
        try:
            return self._fill(
                LocalWriter(self, expected, None, None),
                lambda writer: writer.copy_range(fd, 0, size),
            )
        finally:
            os.close(fd)

    def adopt(self, path: Path, expected: Digest | None = None) -> tuple[Digest, int]:
        """Add a file of our own by hard link, else by copy."""
        known = self._known(expected, None)
        if known is not None:
            return known
        temporary = self._new_name()
        try:
            # Linked before it is read: the name may lead to another file meanwhile.
            self._files.link(path, temporary)
            digest, size = self._freeze(temporary, path)
            check(digest, expected)
        except OSError as exc:
            self.drop(temporary, None, None)
            if exc.errno not in _NO_LINK:
                raise
            return self.put_file(path, expected)
        except BaseException:
            self.drop(temporary, None, None)
            raise
        self.add(Pending(digest, temporary, None))
        return digest, size

    def _freeze(self, temporary: Path, path: Path) -> tuple[Digest, int]:
        """Make a file read-only and hash it; ``path`` is its name for messages."""
        fd, size = open_regular(temporary)
        try:
            before = os.fstat(fd)
            self._files.chmod(temporary, _MODE)
            with told(path):
                digest = _digest_of(fd, size)
            after = os.fstat(fd)
        finally:
            os.close(fd)
        if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
            raise errors.StoreError(
                "the file changed while it was read",
                where=str(path),
                remedy="let whatever writes to it end, then run the command again",
            )
        return digest, size

    def writer(self, expected: Digest | None = None, size: int | None = None) -> LocalWriter:
        """Start a blob piece by piece."""
        return LocalWriter(self, expected, size, None)

    def _known(self, expected: Digest | None, size: int | None) -> tuple[Digest, int] | None:
        if expected is None or not self.has(expected):
            return None
        with self._lock:
            pending = self._pending.get(expected)
            place = pending.temporary if pending else self._layout.place(expected)
            found = place.stat().st_size
        if size is not None and size != found:
            raise errors.BlobDamaged(f"has {found} bytes, {size} were promised", where=expected)
        return expected, found

    def _fill(self, writer: LocalWriter, fill: Callable[[LocalWriter], None]) -> tuple[Digest, int]:
        try:
            fill(writer)
        except BaseException:
            writer.abort()
            raise
        return writer.finish()

    def flush(self) -> None:
        """fsync, rename, fsync the folders; everything added so far is durable then."""
        with self._lock:
            self._settle()
            try:
                _all(self._files.sync_dir, sorted(self._folders))
            except BaseException:
                self._broken = True
                raise
            self._folders.clear()

    def _settle(self) -> None:
        """Bring what waits under its final name; the folders still wait for ``flush``."""
        if self._broken:
            raise errors.StoreError(
                "this batch of blobs has ended or failed", where=str(self._layout.root)
            )
        waiting = list(self._pending.values())
        try:
            _all(self._sync, waiting)
            folders = {self._layout.place(pending.digest).parent for pending in waiting}
            self._files.mkdir(*sorted(folders))
            for pending in waiting:
                self._files.rename(pending.temporary, self._layout.place(pending.digest))
                if pending.file is None:
                    # Renaming onto another name of the same file leaves both.
                    self._files.unlink(pending.temporary)
                self._temporaries.discard(pending.temporary)
                del self._pending[pending.digest]
        except BaseException:
            self._broken = True
            raise
        self._folders |= folders

    def _sync(self, pending: Pending) -> None:
        if pending.file is None:
            self._files.sync_file(pending.temporary)
        else:
            pending.file.sync()
            pending.file.close()


def _all(act: Callable[[_T], None], items: list[_T]) -> None:
    """Call ``act`` on every item, several at once; raises the first error, after all ended."""
    if len(items) < 2:
        for item in items:
            act(item)
        return
    # Loaded when it is needed: a confined child only reads.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(_SYNCERS, len(items))) as pool:
        for _ in pool.map(act, items):
            pass


def _digest_of(fd: int, size: int) -> Digest:
    total = SideHash()
    offset = 0
    try:
        while offset < size and (block := os.pread(fd, BLOCK, offset)):
            total.update(block)
            offset += len(block)
    finally:
        digest = total.digest()
    return digest
