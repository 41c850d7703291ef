"""The one seam: every operation that changes what is on disk, over the operating system.

:class:`Seam` implements :class:`manifests.durable.Durable`. With an observer, each
operation is announced as an :class:`Operation` *before* it is carried out; what the
observer raises is treated as if the operating system had refused. The crash tests use
that to record, to kill, and to inject faults. Without one the cost is an ``is None`` test.

Errors: a full disk or quota is :class:`~manifests.errors.NoSpace`; a disk that fails or
turned read-only is :class:`~manifests.errors.StoreError`; everything else is the
``OSError`` that the system gave (``FileExistsError``, ``FileNotFoundError`` are answers).
"""

from __future__ import annotations

import enum
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from manifests import errors
from manifests.durable import DurableFile

BLOCK = 1 << 20
"""Bytes moved at once where the kernel does not copy by itself."""

_COPY_AT_ONCE = 8 << 20
_WRITE_BACK = 8 << 20
"""Appended bytes after which the disk is told to begin, rather than wait for the fsync."""

_NO_KERNEL_COPY = frozenset(
    {errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.ETXTBSY}
)
_SPACE_REMEDY = "free space on this disk or enlarge it, then run the same command again"
_DISK_REMEDY = "look at the kernel log, repair or replace the disk, then run `sluice verify`"


class Kind(enum.Enum):
    """What an operation does."""

    CREATE = "create"
    WRITE = "write"
    SYNC_FILE = "sync_file"
    SYNC_DIR = "sync_dir"
    RENAME = "rename"
    LINK = "link"
    UNLINK = "unlink"
    MKDIR = "mkdir"
    CHMOD = "chmod"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, as an observer sees it before it happens.

    ``path`` is the file, folder, or the source of a rename or link; ``target`` where
    a rename or link leads. ``handle`` tells which created file a write or fsync is for,
    whatever its name has become (0: by path). ``data`` are the bytes of a write at
    ``offset``; a kernel copy shows as a write. ``mode`` belongs to create and chmod,
    ``what`` to committed.
    """

    kind: Kind
    path: Path
    target: Path | None = None
    handle: int = 0
    offset: int = 0
    data: bytes = b""
    mode: int = 0
    what: str = ""

    def __str__(self) -> str:
        parts = [self.kind.value, str(self.path) if self.kind is not Kind.COMMITTED else self.what]
        if self.target is not None:
            parts.append(f"-> {self.target}")
        if self.kind is Kind.WRITE:
            parts.append(f"[{self.offset}+{len(self.data)}]")
        return " ".join(parts)


Observer = Callable[[Operation], None]


def refuse(exc: OSError, where: Path) -> NoReturn:
    """Raise the error that ``exc`` means to an operator, or ``exc`` itself.

    Raises ``NoSpace`` for ENOSPC and EDQUOT, ``StoreError`` for EIO and EROFS.
    """
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        what = "no space left on the disk" if exc.errno == errno.ENOSPC else "disk quota exceeded"
        raise errors.NoSpace(what, where=str(where), remedy=_SPACE_REMEDY) from exc
    if exc.errno == errno.EIO:
        raise errors.StoreError(
            "the disk failed (input/output error)", where=str(where), remedy=_DISK_REMEDY
        ) from exc
    if exc.errno == errno.EROFS:
        raise errors.StoreError(
            "the file system is read-only", where=str(where), remedy=_DISK_REMEDY
        ) from exc
    raise exc


@contextmanager
def told(path: Path) -> Iterator[None]:
    """Pass on what the operating system refuses inside, as ``refuse`` does."""
    try:
        yield
    except OSError as exc:
        refuse(exc, path)


class SeamFile:
    """A new file open for writing; see :class:`manifests.durable.DurableFile`."""

    __slots__ = ("_begun", "_failed", "_fd", "_handle", "_observer", "_path", "position")

    def __init__(self, path: Path, fd: int, handle: int, observer: Observer | None) -> None:
        self._path = path
        self._fd = fd
        self._handle = handle
        self._observer = observer
        self._failed = False
        self._begun = 0
        self.position = 0
        """Where the next append goes, in bytes."""

    @property
    def path(self) -> Path:
        """The name under which the file was created."""
        return self._path

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``. Raises ``NoSpace``, ``StoreError``."""
        self._put(data, self.position)
        self._advance(len(data))

    def _advance(self, by: int) -> None:
        self.position += by
        if self.position - self._begun >= _WRITE_BACK:
            # Linux starts to write the dirty pages of a range that is "not needed", and
            # keeps them cached. Only a hint, so a file system that knows none is no failure.
            start, self._begun = self._begun, self.position
            with suppress(OSError):
                os.posix_fadvise(self._fd, start, self.position - start, os.POSIX_FADV_DONTNEED)

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Write all of ``data`` at ``offset`` bytes; the append position stays."""
        self._put(data, offset)

    def _put(self, data: bytes | bytearray | memoryview, offset: int) -> None:
        try:
            if self._observer is not None:
                self._announce(bytes(data), offset)
            done = os.pwrite(self._fd, data, offset)
            if done != len(data):
                # The kernel may take less than offered, last of all on a full disk.
                rest = memoryview(data).cast("B")
                while done < len(rest):
                    done += os.pwrite(self._fd, rest[done:], offset + done)
        except OSError as exc:
            refuse(exc, self._path)

    def _announce(self, data: bytes, offset: int) -> None:
        assert self._observer is not None
        self._observer(
            Operation(Kind.WRITE, self._path, handle=self._handle, offset=offset, data=data)
        )

    def copy_from(self, source_fd: int, offset: int, length: int) -> None:
        """Append ``length`` bytes of ``source_fd``; its file position stays.

        Raises ``StoreError`` if the source ends early, ``NoSpace``.
        """
        if self._observer is not None:
            # Bytes must be in hand to be recorded, so the kernel cannot copy here.
            _copy_by_hand(source_fd, offset, length, self)
            return
        end = offset + length
        while offset < end:
            try:
                done = os.copy_file_range(
                    source_fd, self._fd, min(end - offset, _COPY_AT_ONCE), offset, self.position
                )
            except OSError as exc:
                if exc.errno not in _NO_KERNEL_COPY:
                    refuse(exc, self._path)
                done = 0
            if not done:
                # Either this pair of file systems cannot, or the source ended: reading tells.
                _copy_by_hand(source_fd, offset, end - offset, self)
                return
            offset += done
            self._advance(done)

    def sync(self) -> None:
        """fsync. Raises ``StoreError`` or ``NoSpace``, and again on every later call:

        after a failed fsync the kernel may forget that the pages were dirty, so that a
        second one would report success over lost data.
        """
        if self._failed:
            raise errors.StoreError(
                "an earlier fsync of this file failed", where=str(self._path), remedy=_DISK_REMEDY
            )
        try:
            if self._observer is not None:
                self._observer(Operation(Kind.SYNC_FILE, self._path, handle=self._handle))
            os.fsync(self._fd)
        except OSError as exc:
            self._failed = True
            refuse(exc, self._path)

    def close(self) -> None:
        """Close without making anything durable; closing twice is no error."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            with told(self._path):
                os.close(fd)

    def fileno(self) -> int:
        """The file descriptor; write only through the methods here."""
        return self._fd

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _copy_by_hand(source_fd: int, offset: int, length: int, target: DurableFile) -> None:
    end = offset + length
    while offset < end:
        with told(target.path):
            block = os.pread(source_fd, min(BLOCK, end - offset), offset)
        if not block:
            raise errors.StoreError(
                f"the source ended {end - offset} bytes early", where=str(target.path)
            )
        target.write(block)
        offset += len(block)


class Seam:
    """Durable writing over the operating system; safe to share between threads.

    ``observer`` is told every operation before it happens (see the module's text); it is
    called from whichever thread writes.
    """

    def __init__(self, observer: Observer | None = None) -> None:
        self._observer = observer
        self._handles = itertools.count(1)
        self._settled: set[Path] = set()
        # Folders whose name this process has made durable.

    def create(self, path: Path, mode: int = 0o644) -> SeamFile:
        """Open a new file for writing. Raises ``FileExistsError``, ``NoSpace``."""
        handle = 0
        with told(path):
            if self._observer is not None:
                handle = next(self._handles)
                self._observer(Operation(Kind.CREATE, path, handle=handle, mode=mode))
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        return SeamFile(path, fd, handle, self._observer)

    def reopen(self, path: Path) -> SeamFile:
        """Open an existing file to overwrite parts of it; a symbolic link is refused (ELOOP).

        Its operations are told by path, and its append position is the end of the file.
        """
        with told(path):
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            file = SeamFile(path, fd, 0, self._observer)
            file.position = os.fstat(fd).st_size
        return file

    def sync_file(self, path: Path) -> None:
        """fsync a file that something else wrote; a symbolic link is refused (ELOOP)."""
        self._sync(Operation(Kind.SYNC_FILE, path), os.O_RDONLY | os.O_NOFOLLOW)

    def sync_dir(self, path: Path) -> None:
        """fsync a folder."""
        self._sync(Operation(Kind.SYNC_DIR, path), os.O_RDONLY | os.O_DIRECTORY)

    def _sync(self, operation: Operation, flags: int) -> None:
        with told(operation.path):
            if self._observer is not None:
                self._observer(operation)
            fd = os.open(operation.path, flags | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def rename(self, source: Path, target: Path) -> None:
        """Rename, replacing ``target``, within one file system (else ``OSError`` EXDEV)."""
        with told(target):
            if self._observer is not None:
                self._observer(Operation(Kind.RENAME, source, target=target))
            os.rename(source, target)  # noqa: PTH104 - twice as fast as Path.rename

    def link(self, source: Path, target: Path) -> None:
        """Hard link. Raises ``FileExistsError``; ``OSError`` EXDEV or EMLINK."""
        with told(target):
            if self._observer is not None:
                self._observer(Operation(Kind.LINK, source, target=target))
            os.link(source, target, follow_symlinks=False)

    def unlink(self, path: Path) -> None:
        """Remove a name, if it is there."""
        with told(path), suppress(FileNotFoundError):
            if self._observer is not None:
                self._observer(Operation(Kind.UNLINK, path))
            os.unlink(path)  # noqa: PTH108

    def mkdir(self, *paths: Path) -> None:
        """Create folders and missing parents, each synced into its parent.

        A folder that exists is no error; a file of that name is ``FileExistsError``.
        """
        parents: dict[Path, None] = {}
        made: list[Path] = []
        for path in paths:
            chain = [path]
            while not chain[-1].parent.is_dir():
                chain.append(chain[-1].parent)
            for folder in reversed(chain):
                exists = folder.is_dir()
                if exists and folder in self._settled:
                    continue
                if not exists:
                    self._mkdir(folder)
                # Also for a folder that was there: its maker may have died before this fsync.
                parents[folder.parent] = None
                made.append(folder)
        for parent in parents:
            self.sync_dir(parent)
        self._settled.update(made)

    def _mkdir(self, path: Path) -> None:
        with told(path):
            if self._observer is not None:
                self._observer(Operation(Kind.MKDIR, path))
            try:
                os.mkdir(path)  # noqa: PTH102
            except FileExistsError:
                if not path.is_dir():
                    raise

    def chmod(self, path: Path, mode: int) -> None:
        """Set permission bits; durable with the file's next fsync."""
        with told(path):
            if self._observer is not None:
                self._observer(Operation(Kind.CHMOD, path, mode=mode))
            os.chmod(path, mode)  # noqa: PTH101

    def copy_range(self, source_fd: int, offset: int, length: int, target: DurableFile) -> None:
        """Append ``length`` bytes from ``offset`` of an open file to ``target``.

        Raises ``StoreError`` if the source ends early, ``NoSpace``.
        """
        if isinstance(target, SeamFile):
            target.copy_from(source_fd, offset, length)
        else:
            _copy_by_hand(source_fd, offset, length, target)

    def committed(self, what: str) -> None:
        """Tell the observer that the ledger committed ``what``."""
        if self._observer is not None:
            self._observer(Operation(Kind.COMMITTED, Path(), what=what))
