"""What is missing, exactly: which files, in which parts of which bundles.

A path of a snapshot leads to a blob, a blob by the indexes of open bundles to the parts
that carry it. A tree that is a delta leads to the tree it is based on. What no index
explains may be in a bundle whose index is not here, or in one that never came at all.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import Final

from manifests.bundle import Index
from manifests.digest import Digest
from manifests.slip import MAX_MISSING
from manifests.trust import TrustState
from store.ledger import ReadTransaction
from store.store import Store
from transfer.known import Known, PartState

LISTED: Final = 50
"""Paths, problems and parts that a hold names; the rest is counted."""
MOST_BUNDLES: Final = MAX_MISSING
"""Bundles that are listed as missing, the oldest: a sequence may be any number."""
_PER_PART: Final = 20
_REMEMBERED: Final = 200_000
"""Blobs of lost parts that are held in memory; beyond, parts are named without their files."""


@dataclass(slots=True)
class Lack:
    """What a snapshot lacks: paths with their blobs, and how many there are."""

    paths: list[tuple[str, Digest]] = field(default_factory=list)
    count: int = 0
    tree: Digest | None = None
    """The tree itself is not here, so nobody knows its paths."""

    def add(self, path: str, digest: Digest) -> None:
        self.count += 1
        if len(self.paths) < _REMEMBERED:
            self.paths.append((path, digest))


@dataclass(slots=True)
class Places:
    """Where something missing is: parts by bundle (``epoch/sequence``), whole bundles, and
    the paths in each part."""

    parts: dict[str, set[int]] = field(default_factory=dict)
    bundles: list[int] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)

    def detail(self) -> dict[str, object]:
        """For a hold."""
        return {
            "bundles": self.bundles[:LISTED],
            "files": self.files,
            "parts": {name: sorted(parts)[:LISTED] for name, parts in sorted(self.parts.items())},
        }

    def remedy(self) -> str:
        """Which commands outside bring it."""
        wanted = [f"bundle {number} (`resend {number}`)" for number in self.bundles[:LISTED]]
        for name, parts in sorted(self.parts.items()):
            listed = ",".join(map(str, sorted(parts)[:LISTED]))
            shown = listed.replace(",", ", ")
            sequence = name.partition("/")[2]
            wanted.append(f"bundle {name} part {shown} (`resend {sequence} --parts {listed}`)")
        if not wanted:
            return "have the outside send another bundle, or a full one (`pack --full`)"
        return f"have the outside hand over again {'; '.join(wanted)}; or `pack --full` there"


class Missing:
    """Looks things up in the bundles that are open. ``newest`` is the state in force."""

    def __init__(self, store: Store, bundles: Sequence[Known], newest: Known) -> None:
        self._store = store
        self._bundles = bundles
        self._newest = newest

    def places(self, lack: Lack) -> Places:
        """Where what is lacking can be."""
        found = Places()
        unexplained = lack.count > len(lack.paths)
        for path, digest in lack.paths:
            unexplained = not self._find(digest, path, found) or unexplained
        if lack.tree is not None:
            unexplained = not self._find(lack.tree, "", found) or unexplained
        if unexplained:
            for known in self._bundles:
                lost = [] if known.imported or known.indexed else known.lost_parts()
                if lost:
                    found.parts.setdefault(known.name, set()).update(lost)
            found.bundles = self.gaps
        return found

    def _find(self, digest: Digest, path: str, found: Places) -> bool:
        """Note the parts of a blob, or of what it is made of; whether any is known."""
        seen: set[Digest] = set()
        while digest not in seen:
            seen.add(digest)
            if digest in self._lost:
                for name, part in self._lost[digest]:
                    found.parts.setdefault(name, set()).add(part)
                    files = found.files.setdefault(f"{name} part {part}", [])
                    if path and len(files) < _PER_PART:
                        files.append(path)
                return True
            bases = [
                base for base in self._bases.get(digest, ()) if not self._store.blobs.has(base)
            ]
            if not bases:
                return False
            digest = bases[0]
        return False

    @cached_property
    def _lost(self) -> Mapping[Digest, list[tuple[str, int]]]:
        """Which lost parts a blob has bytes in."""
        found: dict[Digest, list[tuple[str, int]]] = {}
        for known in self._open():
            with Index.map(self._store.blobs.path(known.manifest.index.digest)) as index:
                for part in known.lost_parts():
                    for entry in index.of_part(part):
                        if len(found) < _REMEMBERED and not self._store.blobs.has(entry.stored):
                            found.setdefault(entry.digest, []).append((known.name, part))
        return found

    @cached_property
    def _bases(self) -> Mapping[Digest, list[Digest]]:
        """What a tree that came as a delta is based on."""
        found: dict[Digest, list[Digest]] = {}
        for known in self._open():
            with Index.map(self._store.blobs.path(known.manifest.index.digest)) as index:
                for entry in index.encoded():
                    if entry.base is not None:
                        found.setdefault(entry.digest, []).append(entry.base)
        return found

    def _open(self) -> Iterable[Known]:
        return (known for known in self._bundles if known.indexed and not known.imported)

    @cached_property
    def gaps(self) -> list[int]:
        """The bundles that never came and may matter: after the newest state that is whole."""
        with self._store.ledger.read() as tx:
            whole = newest_whole(tx, self._bundles, self._newest)
        return gaps(self._bundles, whole, self._newest)


def newest_whole(tx: ReadTransaction, bundles: Iterable[Known], newest: Known) -> Known | None:
    """The newest bundle of the epoch whose state is wholly here as snapshots."""
    for known in sorted(bundles, key=lambda known: known.order, reverse=True):
        if known.heartbeat or known.order > newest.order or known.epoch != newest.epoch:
            continue
        rows = known.manifest.state.rows
        stored = (tx.snapshot(known.stream, row.repository, row.serial) for row in rows)
        if all(
            have is not None and have.snapshot.tree == row.tree
            for have, row in zip(stored, rows, strict=True)
        ):
            return known
    return None


def gaps(bundles: Iterable[Known], whole: Known | None, newest: Known) -> list[int]:
    """Sequences between ``whole`` and ``newest`` of which nothing ever came, the first ones."""
    epoch, last = newest.order
    first = 1 if whole is None else whole.order[1] + 1
    have = {known.order[1] for known in bundles if known.order[0] == epoch}
    return first_missing(range(first, last), have)


def first_missing(numbers: Iterable[int], have: Container[int]) -> list[int]:
    """At most ``MOST_BUNDLES`` of ``numbers`` that are not in ``have``."""
    return [*islice((number for number in numbers if number not in have), MOST_BUNDLES)]


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What a stream still waits for inside. ``whole`` is the newest bundle whose whole state
    is here, ``newest`` the one whose state counts."""

    whole: Known | None
    newest: Known | None
    bundles: tuple[tuple[int, tuple[int, ...]], ...]
    """Sequence and parts; no parts: nothing of that bundle came. Sorted, the first ones."""


def outstanding(tx: ReadTransaction, bundles: Sequence[Known], state: TrustState) -> Outstanding:
    """By what the ledger knows; parts that lie in the inbox and wait are not missing."""
    here = [known for known in bundles if known.epoch == state.epoch]
    newest = next((known for known in here if known.sequence == state.released), None)
    whole = None if newest is None else newest_whole(tx, here, newest)
    if whole is not None and whole is newest and state.sequence == state.released:
        return Outstanding(whole, newest, ())
    first = 1 if whole is None else whole.sequence + 1
    by_number = {known.sequence: known for known in here}
    found: list[tuple[int, tuple[int, ...]]] = []
    for number in range(first, state.sequence + 1):
        known = by_number.get(number)
        if known is None:
            found.append((number, ()))
        elif not known.imported and not known.heartbeat:
            parts = tx.parts(known.stream, known.epoch, number)
            lost = tuple(part.index for part in parts if part.state == PartState.MISSING)
            found += [(number, lost)] if lost else []
        if len(found) == MOST_BUNDLES:
            break
    return Outstanding(whole, newest, tuple(found))
