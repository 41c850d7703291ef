"""Named files of an OCI layout or an image archive, wherever they lie. Nothing is unpacked.

A tar's members are looked up by name and read where they are; a name from outside never becomes
one of ours. POSIX.1-2017, ``pax``, "ustar Interchange Format".
"""

from __future__ import annotations

import io
import os
import posixpath
import stat
import tarfile
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests import errors
from manifests.errors import BadPath
from manifests.formats.bounded import compression
from manifests.tree import check_path
from mirror.report import printable

_MOST_MEMBERS = 1_000_000
_MOST_HEADER = 1 << 20
_MOST_LINKS = 8


class Files(Protocol):
    """Read-only files by relative names."""

    source: str
    packed: bool
    """Whether no name can lead out of it, whatever it says."""

    def open(self, name: str) -> BinaryIO | None:
        """The file's bytes; None if there is no such file. Raises UpstreamRefused."""

    def close(self) -> None: ...


class FolderFiles:
    """A folder. A file that is a link is none; folders above it may be links."""

    packed = False

    def __init__(self, folder: Path, source: str) -> None:
        self._folder = folder
        self.source = source

    def open(self, name: str) -> BinaryIO | None:
        """See ``Files``."""
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.fdopen(os.open(self._folder / check_path(name), flags), "rb")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise errors.UpstreamRefused(
                f"{printable(name)} cannot be read: {error.strerror}", where=self.source
            ) from error
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            file.close()
            raise errors.UpstreamRefused(
                f"{printable(name)} is not a regular file", where=self.source
            )
        return file

    def close(self) -> None:
        """Nothing is open."""


class TarFiles:
    """A plain tar. Links count only if they lead to a member."""

    packed = True

    def __init__(self, path: Path, source: str) -> None:
        self.source = source
        try:
            self._file = path.open("rb", buffering=0)
        except OSError as error:
            raise errors.UpstreamRefused(
                f"cannot be read: {error.strerror}", where=source, remedy="check `upstream`"
            ) from error
        try:
            self._members, self._links = self._read()
        except BaseException:
            self._file.close()
            raise

    def open(self, name: str) -> BinaryIO | None:
        """See ``Files``."""
        for _ in range(_MOST_LINKS):
            if name in self._members:
                offset, size = self._members[name]
                return io.BufferedReader(_Slice(self._file.fileno(), offset, size), 1 << 20)
            if name not in self._links:
                return None
            name = self._links[name]
        return None

    def close(self) -> None:
        """No member can be read any more."""
        self._file.close()

    def _read(self) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
        head = self._file.read(16)
        self._file.seek(0)
        if compression(head) != "plain":
            raise errors.UpstreamRefused(
                f"the archive is compressed ({compression(head)})",
                where=self.source,
                remedy="unpack it to a plain .tar first (gunzip, zstd -d)",
            )
        members: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        try:
            with tarfile.open(fileobj=_Frugal(self._file), mode="r:") as tar:
                for count, member in enumerate(tar):
                    if count >= _MOST_MEMBERS:
                        raise self._bad(f"more than {_MOST_MEMBERS} members")
                    tar.members = []  # type: ignore[attr-defined]  # else it keeps every one
                    if member.size < 0:
                        raise self._bad("a member of less than nothing")
                    name = _plain(member.name)
                    if name is None:
                        continue
                    if name in members or name in links:
                        raise self._bad(f"{printable(name)} is in it twice")
                    if member.isreg() and not member.issparse():
                        members[name] = (member.offset_data, member.size)
                    elif member.issym():
                        target = _plain(posixpath.join(posixpath.dirname(name), member.linkname))
                        if target is not None:
                            links[name] = target
                    elif member.islnk():
                        target = _plain(member.linkname)
                        if target is not None:
                            links[name] = target
        except (
            tarfile.TarError,
            OSError,
            ValueError,
            EOFError,
            OverflowError,
            RecursionError,
        ) as error:  # the last two: a size of 30 digits, a thousand long names in a row
            raise self._bad(printable(str(error))) from error
        return members, links

    def _bad(self, what: str) -> errors.UpstreamRefused:
        return errors.UpstreamRefused(
            f"not an archive of images: {what}",
            where=self.source,
            remedy="make it anew: skopeo copy docker://... oci-archive:FILE, or docker save",
        )


def _plain(name: str) -> str | None:
    """A name as it is looked up; None for what no image has."""
    name = posixpath.normpath(name) if name else ""
    try:
        return check_path(name)
    except BadPath:
        return None


class _Frugal(io.RawIOBase):
    """Refuses to read much at once: a tar's header may claim any length of itself."""

    def __init__(self, file: io.FileIO | BinaryIO) -> None:
        self._file = file

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _MOST_HEADER:
            raise ValueError("a header that is too long")
        return self._file.read(size) or b""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


class _Slice(io.RawIOBase):
    """A part of a file, read by position: several may be open at once."""

    def __init__(self, fd: int, offset: int, size: int) -> None:
        self._fd = fd
        self._at = offset
        self._end = offset + size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = os.pread(self._fd, min(len(buffer), max(0, self._end - self._at)), self._at)
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
