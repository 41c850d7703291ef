"""Putting an arrived file aside, into quarantine or into a folder of finished files.

Outside names are never used as they are: the kept name is made of their harmless
characters and of the arrival's identity. So it is unique, and doing the same thing twice
(after a crash) ends in the same place.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from cds.base import Arrival, printable
from manifests import errors
from manifests.durable import Durable, DurableFile, publish_file

COPY_LIMIT = 64 << 20
"""Most bytes copied of a bad file that cannot be moved."""

REASON = ".reason.txt"

_TAG = 16
_STEM = 100
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._-]")
_CANNOT_MOVE = frozenset({errno.EXDEV, errno.EROFS, errno.EACCES, errno.EPERM})


def safe_name(arrival: Arrival) -> str:
    """A flat ASCII name for the arrival, at most 117 characters, its own for each identity."""
    stem = _NOT_PLAIN.sub("_", arrival.name[:_STEM]).lstrip(".-") or "file"
    return f"{stem}-{arrival.identity[:_TAG]}"


def write_new(files: Durable, path: Path, fill: Callable[[DurableFile], None]) -> None:
    """Write a new temporary file and fsync it; ``path`` may be a leftover.

    If that fails, the half-written file is removed before the error goes on.
    """
    files.unlink(path)
    with files.create(path) as out:
        try:
            fill(out)
            out.sync()
        except BaseException:
            discard(files, path)
            raise


def discard(files: Durable, path: Path) -> None:
    """Remove a temporary file on the way out of an error.

    A second error from the same disk would hide the first; the next try at the same
    name removes what is left.
    """
    with suppress(OSError, errors.StoreError):
        files.unlink(path)


def put_aside(files: Durable, arrival: Arrival, folder: Path, limit: int | None) -> bool:
    """Move the arrival to ``folder / safe_name(arrival)``, durably, or copy it there.

    It is copied where it cannot be moved (another file system, a read-only inbox), at
    most ``limit`` bytes of it (``None``: all). Returns whether the whole file is now in
    ``folder``; the name it arrived under may still be there.

    Raises ``ArrivalChanged``, ``NoSpace``, ``StoreError``, ``OSError``.
    """
    target = folder / safe_name(arrival)
    with arrival.open() as source:
        try:
            files.rename(arrival.path, target)
            files.sync_dir(folder)
            return True
        except (OSError, errors.StoreError) as exc:
            if why_not(exc) not in _CANNOT_MOVE:
                raise
        length = arrival.size if limit is None else min(arrival.size, limit)
        temporary = folder / f".{target.name}.tmp"
        write_new(files, temporary, lambda out: files.copy_range(source.fileno(), 0, length, out))
        files.rename(temporary, target)
        files.sync_dir(folder)
        return length == arrival.size


def why_not(exc: BaseException) -> int | None:
    """The system's error number behind an exception of a durable write, if there is one."""
    found = exc if isinstance(exc, OSError) else exc.__cause__
    return found.errno if isinstance(found, OSError) else None


class Quarantine:
    """A folder of refused files, each beside a ``NAME.reason.txt`` of one line.

    The folder is the memory: what is kept there is known again, by its identity, and a
    file whose entry a person deletes is looked at anew.
    """

    def __init__(self, files: Durable, folder: Path, *, copy_limit: int = COPY_LIMIT) -> None:
        self._files = files
        self.folder = folder
        self._copy_limit = copy_limit

    def kept(self) -> frozenset[str]:
        """Tags of all that is kept; see :meth:`knows`."""
        try:
            names = os.listdir(self.folder)  # noqa: PTH208 - names only, no Path for each
        except FileNotFoundError:
            return frozenset()
        return frozenset(
            name[-_TAG:] for name in names if not name.startswith(".") and not name.endswith(REASON)
        )

    @staticmethod
    def knows(kept: frozenset[str], arrival: Arrival) -> bool:
        """Whether this very file is among ``kept``."""
        return bool(kept) and arrival.identity[:_TAG] in kept

    def put(self, arrival: Arrival, reason: str) -> Path:
        """Put the arrival aside; see :meth:`cds.base.Inlet.quarantine`.

        Of a file that cannot be moved at most ``copy_limit`` bytes are copied; if that is
        not all of it, the reason says so and the file itself stays where it is.
        """
        if not arrival.lies_there():
            # Also raises the right error; and no reason is left behind for nothing.
            arrival.open().close()
        self._files.mkdir(self.folder)
        target = self.folder / safe_name(arrival)
        # The reason comes first: no crash leaves a refused file without one.
        self._explain(target, arrival, reason)
        if not put_aside(self._files, arrival, self.folder, self._copy_limit):
            note = f"only the first {self._copy_limit} of {arrival.size} bytes are kept here"
            self._explain(target, arrival, f"{reason} ({note})")
            return target
        withdraw(self._files, arrival)
        return target

    def _explain(self, target: Path, arrival: Arrival, reason: str) -> None:
        line = f"{arrival.label}: {printable(reason, 600)}\n"
        publish_file(self._files, target.with_name(target.name + REASON), line.encode())


def withdraw(files: Durable, arrival: Arrival) -> bool:
    """Unlink the name the file arrived under, if it still leads to that file.

    Not synced: a name that comes back after a power cut is known by its identity.
    Returns False where the folder may not be written.
    """
    if not arrival.lies_there():
        return True
    try:
        files.unlink(arrival.path)
    except (OSError, errors.StoreError) as exc:
        if why_not(exc) not in _CANNOT_MOVE:
            raise
        return False
    return True


def remove_older(files: Durable, folder: Path, before: float) -> int:
    """Remove what was refused earlier than ``before`` (seconds since the epoch).

    ``folder`` has one quarantine for each stream. Returns how many files went. The reason
    goes last, so that a crash leaves no file without one. Raises StoreError.
    """
    gone = 0
    for reason in sorted(folder.glob(f"*/*{REASON}")):
        if reason.lstat().st_mtime >= before:
            continue
        files.unlink(reason.with_name(reason.name.removesuffix(REASON)))
        files.unlink(reason)
        gone += 1
    return gone
