"""The verbs of durable writing, as a protocol.

``store.seam`` implements it over the operating system. It stands here so that
the carriers, which may import nothing but ``manifests``, write through the
same seam as everything else: the crash tests record these operations.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from manifests.errors import UsageError


class DurableFile(Protocol):
    """A new file that is being written. Closing does not make it durable."""

    @property
    def path(self) -> Path: ...
    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of ``data``."""

    def write_at(self, offset: int, data: bytes | bytearray | memoryview) -> None:
        """Overwrite or extend at ``offset`` bytes; the append position stays."""

    def sync(self) -> None:
        """fsync: after it the bytes survive a power cut (the name may not)."""

    def close(self) -> None: ...
    def fileno(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None: ...


class Durable(Protocol):
    """Every operation that changes what is on disk."""

    def create(self, path: Path, mode: int = 0o644) -> DurableFile:
        """Open a file that must not exist yet (``O_CREAT | O_EXCL``)."""

    def reopen(self, path: Path) -> DurableFile:
        """Open an existing file of our own, to overwrite parts of it (``write_at``)."""

    def sync_file(self, path: Path) -> None:
        """fsync a file that something else wrote (rsync, createrepo_c)."""

    def sync_dir(self, path: Path) -> None:
        """fsync a folder: names in it survive a power cut from here on."""

    def rename(self, source: Path, target: Path) -> None:
        """Atomic replace within one file system."""

    def link(self, source: Path, target: Path) -> None:
        """Hard link; raises ``FileExistsError`` if the target exists."""

    def unlink(self, path: Path) -> None:
        """Remove a name; a name that is gone already is no error."""

    def mkdir(self, *paths: Path) -> None:
        """Create folders and their missing parents, each synced into its parent.

        Several at once share the fsyncs of their common parents.
        """

    def chmod(self, path: Path, mode: int) -> None: ...
    def copy_range(self, source_fd: int, offset: int, length: int, target: DurableFile) -> None:
        """Append ``length`` bytes of an open file (copy_file_range where it can)."""

    def committed(self, what: str) -> None:
        """Called by the ledger right after a transaction committed."""


def refuse_device(target: Path) -> None:
    """Raise UsageError if ``target`` is there, and neither a file nor a folder."""
    if target.exists() and not (target.is_file() or target.is_dir()):
        raise UsageError(
            "this is a device or a pipe, and no file",
            where=str(target),
            remedy="name a new file, or one that may be replaced",
        )


def publish_file(files: Durable, target: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Write ``data`` under a temporary name, make it durable, then rename it to ``target``.

    The one way to write a small named file (configuration, state, a key). Raises UsageError
    where a device or the like has that name: root would put a file in the place of /dev/null.
    """
    refuse_device(target)
    temporary = target.with_name(f".{target.name}.tmp")
    files.unlink(temporary)
    with files.create(temporary, mode) as out:
        out.write(data)
        out.sync()
    files.rename(temporary, target)
    files.sync_dir(target.parent)
