"""What a sync tells its caller, and the bounds that all ways of mirroring share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from manifests.formats.base import Problem, Severity
from manifests.state import Snapshot

SHOWN = 20
"""How many names a message or a hold lists; the total is always told too."""

INDEXES: Mapping[str, tuple[str, ...]] = {
    "yum": ("repodata/",),
    "oci": ("_manifests/", "_blobs/"),
}
"""Folders that are not counted when removals are, by format: what is in them is named by its
content, so every publication renames it. Of images the tags count. rsync fetches these folders
after what they list."""


class Progress(Protocol):
    """Where long work is shown. Sizes are in bytes."""

    def expect(self, items: int = 0, size: int = 0) -> None: ...
    def advance(self, items: int = 0, size: int = 0) -> None: ...


class Quiet:
    """A progress that nobody sees."""

    def expect(self, items: int = 0, size: int = 0) -> None: ...
    def advance(self, items: int = 0, size: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync did, or with ``dry_run`` would do.

    ``snapshot`` is None when nothing changed (or in a dry run). The counts compare with
    the newest snapshot before; in a dry run they are the upstream's own announcement.
    ``problems`` are all advice: what is required holds the sync instead. ``returned`` are
    files that were accepted as missing and are there again.
    """

    repository: str
    snapshot: Snapshot | None = None
    added: int = 0
    updated: int = 0
    removed: int = 0
    bytes_needed: int = 0
    bytes_downloaded: int = 0
    attempts: int = 1
    problems: tuple[Problem, ...] = ()
    returned: tuple[str, ...] = ()
    dry_run: bool = False

    @property
    def changed(self) -> bool:
        """Whether anything differs from the newest snapshot before."""
        return bool(self.snapshot or self.added or self.updated or self.removed)


def is_index(format_name: str, path: str) -> bool:
    """Whether ``path`` lies in a folder of indexes."""
    return any(f"/{path}".find(f"/{folder}") >= 0 for folder in INDEXES.get(format_name, ()))


def required(problems: Iterable[Problem]) -> list[Problem]:
    """Those that hold a snapshot."""
    return [one for one in problems if one.severity is Severity.REQUIRED]


def named(problems: Iterable[Problem]) -> list[str]:
    """The first problems, one line each."""
    lines: list[str] = []
    for problem in problems:
        if len(lines) == SHOWN:
            break
        lines.append(f"{printable(problem.path)}: {printable(problem.what)}")
    return lines


def printable(text: str, limit: int = 300) -> str:
    """Text from outside as one line that no terminal acts upon."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else f"{safe[:limit]}..."
