"""What every way of mirroring gives to ``mirror.sync``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from manifests.digest import Digest
from manifests.formats.base import Problem
from manifests.tree import Entry
from store.blobs import BlobBatch
from store.records import Validator


@dataclass(frozen=True, slots=True)
class Plan:
    """What the upstream has that we have not, as far as it can be told without fetching.

    ``removed`` counts files that are no indexes; ``first_removed`` names some of them.
    """

    added: int = 0
    updated: int = 0
    removed: int = 0
    size: int = 0
    first_removed: tuple[str, ...] = ()
    any: bool = True


@dataclass(slots=True)
class Gathered:
    """A complete copy of the upstream, on its way into the store.

    ``entries`` are sorted and are consumed once; ``problems``, ``downloaded`` and what
    ``facts`` returns are complete afterwards. ``facts`` None: the format shall make them
    from the tree. ``confirm`` is called last, before the commit, and tells whether the
    upstream still is what was read.
    """

    entries: Iterable[Entry]
    source: str
    problems: list[Problem] = field(default_factory=list)
    needed: int = 0
    downloaded: int = 0
    facts: Callable[[], Iterable[tuple[str, bytes]]] | None = None
    validators: list[tuple[str, Validator]] = field(default_factory=list)
    confirm: Callable[[], bool] = lambda: True
    expected: frozenset[str] = frozenset()
    """Paths whose removal is no loss: the upstream has them, nothing asks for them any more."""


class Source(Protocol):
    """One repository's upstream."""

    def plan(self, batch: BlobBatch) -> Plan:
        """Say what a sync would do (``--dry-run``). Writes nothing but blobs of indexes."""

    def gather(
        self, batch: BlobBatch, wrong: list[str], guard: Callable[[Plan], None]
    ) -> Gathered | None:
        """Copy the upstream; None when nothing changed since the newest snapshot.

        ``wrong`` names files that an earlier attempt found inconsistent; ``guard`` is
        shown the plan before anything is fetched or deleted, and may raise.
        """

    def committed(self, tree: Digest) -> None:
        """The copy is a committed snapshot with this tree now."""
