"""Where a local blob store keeps things, and how it opens what lies outside."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from manifests import errors
from manifests.digest import Digest, is_digest
from manifests.durable import Durable


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie below ``root``."""

    root: Path

    @property
    def temporary(self) -> Path:
        """What is being written."""
        return self.root / ".tmp"

    @property
    def damaged(self) -> Path:
        """What was set aside."""
        return self.root / ".damaged"

    def place(self, digest: Digest) -> Path:
        """The file of a blob; raises ``ValueError`` for text that is no digest."""
        return Path(self.name(digest))

    def name(self, digest: Digest) -> str:
        """The same as text, for what is done with every blob of a tree."""
        if not is_digest(digest):
            raise ValueError(f"not a digest: {digest[:80]!r}")
        return f"{self.root}/{digest[:2]}/{digest}"

    def has(self, digest: Digest) -> bool:
        """Whether the blob's file is there."""
        return os.path.exists(self.name(digest))  # noqa: PTH110 - called for every path of a tree

    def prepare(self, files: Durable) -> None:
        """Make the folders; remove temporary files whose process is gone."""
        files.mkdir(self.root, self.temporary)
        names = os.listdir(self.temporary)  # noqa: PTH208
        tokens = {name.partition(".")[0] for name in names}
        for token in sorted(tokens):
            lock = self.temporary / f"{token}.lock"
            with ExitStack() as stack:
                # The lock is made before and removed after the files that it stands for.
                with suppress(FileNotFoundError):
                    try:
                        handle = stack.enter_context(lock.open("rb"))
                        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    except (BlockingIOError, PermissionError):
                        continue  # its process lives, or is another user's
                for name in names:
                    if name.startswith(f"{token}.") and name != lock.name:
                        files.unlink(self.temporary / name)
                files.unlink(lock)


def open_regular(path: Path) -> tuple[int, int]:
    """Open a regular file for reading; its descriptor and size in bytes."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        if exc.errno in (errno.ELOOP, errno.ENXIO):
            raise errors.StoreError("not a regular file", where=str(path)) from exc
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        os.close(fd)
        raise errors.StoreError("not a regular file", where=str(path))
    return fd, status.st_size
