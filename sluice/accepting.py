"""From a wants file to roots: the outside's side of a want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from manifests.errors import UsageError
from manifests.formats import FORMATS
from manifests.wants import Want, WantsFile
from manifests.zone import OutsideZone
from store import records
from store.ledger import ReadTransaction, WriteTransaction


@dataclass(frozen=True, slots=True)
class Judged:
    """A want and why it cannot become a root; an empty ``reason``: it can.

    ``known``: it is a root already.
    """

    want: Want
    reason: str = ""
    known: bool = False


def judge(zone: OutsideZone, tx: ReadTransaction, file: WantsFile) -> list[Judged]:
    """What is to be said of every line. Raises UsageError: made for another outside."""
    if file.stream not in zone.streams:
        known = ", ".join(zone.streams) or "none"
        raise UsageError(
            f"this wants file is for the stream {file.stream}, which is not one of this zone",
            remedy=f"streams here: {known}",
        )
    crossing = zone.streams[file.stream].repositories
    roots = {name: _roots(tx, name) for name in {want.repository for want in file.wants}}
    return [
        _judge(zone, crossing, want, known=want.what in roots[want.repository])
        for want in file.wants
    ]


def _judge(zone: OutsideZone, crossing: Sequence[str], want: Want, *, known: bool) -> Judged:
    repository = zone.repositories.get(want.repository)
    if repository is None or want.repository not in crossing:
        return Judged(want, "no repository of this stream")
    if not FORMATS[repository.format].may_be_root(want.what):
        return Judged(want, f"not what a {repository.format} repository can be asked for")
    return Judged(want, known=known)


def accept(tx: WriteTransaction, file: WantsFile, wants: Sequence[Want], by: str) -> int:
    """Make wants roots of their repositories; how many are new. Raises UsageError."""
    by_repository: dict[str, list[str]] = {}
    for want in wants:
        by_repository.setdefault(want.repository, []).append(want.what)
    new = 0
    for repository, texts in by_repository.items():
        added = _add_roots(tx, repository, texts, by)
        new += added
        tx.event("wants.accepted", file.stream, repository, wants=len(texts), new=added)
    return new


# Roots belong to whoever keeps them; only these two call its functions of the ledger.


def _roots(tx: ReadTransaction, repository: str) -> set[str]:
    list_roots: Any = getattr(tx, "roots", None)
    return set() if list_roots is None else {each.root for each in list_roots(repository)}


def _add_roots(tx: WriteTransaction, repository: str, wants: Sequence[str], by: str) -> int:
    """How many of them are new."""
    add: Any = getattr(tx, "add_roots", None)
    kind: Any = getattr(records, "RootKind", None)
    if add is None or kind is None:
        raise UsageError(
            "this Sluice keeps no roots, so no want can be accepted",
            remedy="write what is wanted into zone.yaml, below its repository",
        )
    return len(add(repository, kind.WANT, wants, by))
