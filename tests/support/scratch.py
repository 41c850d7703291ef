"""Where the files of the tests lie.

Sluice waits for the disk wherever an operator's data hangs on it, tens of thousands of
times in a run of all tests; so the tests work in memory where the machine has the room.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
"""Bytes that must be free there, and in the machine's memory: some times what a run takes."""
_DISK = Path("/var/tmp")


def memory() -> Path | None:
    """A folder in memory that is fit for whole test runs; None if there is none."""
    try:
        there = os.statvfs(_MEMORY)
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
    except OSError:
        return None
    [free] = [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    room = min(free, there.f_bavail * there.f_frsize, _allowed())
    # Tests run programs that they make; containers often forbid that there.
    return None if room < _ROOM or there.f_flag & os.ST_NOEXEC else _MEMORY


def _allowed() -> int:
    """Bytes that a container may use, all in all; it sees the memory of the whole machine."""
    try:
        return int(Path("/sys/fs/cgroup/memory.max").read_text("ascii"))
    except (OSError, ValueError):  # none, or "max"
        return _ROOM


@contextmanager
def elsewhere(folder: Path) -> Iterator[Path]:
    """A new folder on another file system than ``folder``."""
    for place in (_MEMORY, _DISK):
        if place.stat().st_dev != folder.stat().st_dev:
            with TemporaryDirectory(prefix="sluice-", dir=place) as made:
                yield Path(made)
            return
    raise AssertionError(f"{_MEMORY} and {_DISK} are on one file system")
