"""A guard between an outbox and an inbox, and faults for the disk under both."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from store.seam import Operation

NOW = 1_800_000_000.0
"""A moment for tests, in seconds since the epoch."""


def age(path: Path, seconds: float, now: float = NOW) -> None:
    """Make a file's modification time ``seconds`` before ``now``."""
    os.utime(path, (now - seconds, now - seconds))


def visible(folder: Path) -> list[str]:
    """What a pick-up sees in a folder, sorted."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def move_all(outbox: Path, inbox: Path) -> None:
    """A guard that takes files away."""
    for name in visible(outbox):
        shutil.move(outbox / name, inbox / name)


def mirror_all(outbox: Path, inbox: Path) -> None:
    """A guard that makes the inbox like the outbox and leaves the outbox alone."""
    for name in visible(outbox):
        if not (inbox / name).exists():
            shutil.copy2(outbox / name, inbox / name)
    for name in visible(inbox):
        if not (outbox / name).exists():
            (inbox / name).unlink()


def rename_all(outbox: Path, inbox: Path) -> None:
    """A guard that gives files names of its own."""
    for number, name in enumerate(visible(outbox)):
        shutil.move(outbox / name, inbox / f"{number:08x}.{len(name)}")


def failing_at(k: int, code: int) -> Callable[[Operation], None]:
    """An observer for ``Seam`` that fails the operation number ``k`` (from 0), once."""
    count = iter(range(1 << 30))

    def observe(operation: Operation) -> None:
        if next(count) == k:
            raise OSError(code, os.strerror(code))

    return observe


def read_only(folder: Path, code: int = errno.EROFS) -> Callable[[Operation], None]:
    """An observer for ``Seam`` that refuses every change directly in ``folder``."""

    def observe(operation: Operation) -> None:
        for path in (operation.path, operation.target):
            if path is not None and path.parent == folder:
                raise OSError(code, os.strerror(code))

    return observe
