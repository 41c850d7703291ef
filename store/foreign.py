"""Walking a folder that belongs to somebody else, in the order of a tree.

No symbolic link is followed: folders are opened one below the other by descriptor, so what
is swapped meanwhile leads nowhere. Nothing ends the walk: what cannot be read, is no regular
file, or has a name that no tree may hold is yielded with the reason.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from manifests.errors import BadPath, ConfigError
from manifests.tree import PRIVATE, check_path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Without O_NONBLOCK a FIFO that was put there meanwhile would hold us for ever.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class ForeignFile:
    """A regular file. ``status`` is what its name said; ``folder`` is an open descriptor of
    the folder it is in, good until the next item is asked for."""

    path: str
    name: str
    folder: int
    status: os.stat_result

    @contextmanager
    def open(self) -> Iterator[int]:
        """A descriptor for reading. Raises OSError; also where it is no regular file now."""
        fd = os.open(self.name, _FILE, dir_fd=self.folder)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "no regular file any more")
            yield fd
        finally:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class PassedOver:
    """What is no file for a tree, and why; ``link``: a symbolic link, which is nothing wrong."""

    path: str
    why: str
    link: bool = False


@contextmanager
def open_foreign(file: Path) -> Iterator[BinaryIO]:
    """A regular file that a person named, for reading. Raises OSError."""
    fd = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as body:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        yield body


def walk(folder: Path) -> Iterator[ForeignFile | PassedOver]:
    """All that is below ``folder``, sorted as a tree is. Raises ConfigError if it is no folder."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(
            f"the folder cannot be read: {error.strerror}",
            where=str(folder),
            remedy="name a folder that this account may read",
        ) from error
    yield from _below("", fd)


def _below(prefix: str, fd: int) -> Iterator[ForeignFile | PassedOver]:
    """What is in an open folder, which is closed at the end."""
    try:
        try:
            with os.scandir(fd) as listing:
                # Names alone: a folder may have a million.
                found = [
                    item.name + ("/" if item.is_dir(follow_symlinks=False) else "")
                    for item in listing
                ]
        except OSError as error:
            yield PassedOver(prefix, f"cannot be listed: {error.strerror}")
            return
        found.sort(key=os.fsencode)
        for name in found:
            path = prefix + name.rstrip("/")
            try:
                status = os.lstat(name.rstrip("/"), dir_fd=fd)
            except OSError as error:
                yield PassedOver(path, f"cannot be read: {error.strerror}")
                continue
            kind = stat.S_IFMT(status.st_mode)
            if name.endswith("/") != (kind == stat.S_IFDIR):
                yield PassedOver(path, "it was replaced meanwhile")
            elif kind == stat.S_IFLNK:
                yield PassedOver(path, "a symbolic link", link=True)
            elif why := _refused(path):
                yield PassedOver(path, why)
            elif kind == stat.S_IFDIR:
                yield from _enter(path, name.rstrip("/"), fd)
            elif kind == stat.S_IFREG:
                yield ForeignFile(path, name, fd, status)
            else:
                yield PassedOver(path, "neither a file nor a folder")
    finally:
        os.close(fd)


def _enter(path: str, name: str, parent: int) -> Iterator[ForeignFile | PassedOver]:
    try:
        fd = os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        yield PassedOver(path, f"cannot be listed: {error.strerror}")
        return
    yield from _below(f"{path}/", fd)


def _refused(path: str) -> str:
    """Why no tree may hold this path; "" if one may."""
    if f"{path}/".startswith(PRIVATE):
        return "the name is Sluice's own"
    try:
        check_path(path)
    except BadPath as error:
        return f"bad name: {error.what}"
    return ""
