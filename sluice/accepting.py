"""From a wants file to roots: the outside's side of a want."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from manifests.errors import UsageError
from manifests.formats import format_named
from manifests.wants import Want, WantsFile
from manifests.zone import OutsideZone
from sluice.fulfilled import arrived
from store.ledger import WriteTransaction
from store.records import RootKind
from store.store import Store


@dataclass(frozen=True, slots=True)
class Judged:
    """A want and why it cannot become a root; an empty ``reason``: it can.

    ``known``: it is a root already. ``here``: the newest snapshot has it.
    """

    want: Want
    reason: str = ""
    known: bool = False
    here: bool = False


def judge(zone: OutsideZone, store: Store, file: WantsFile) -> list[Judged]:
    """What is to be said of every line. Raises UsageError: made for another outside."""
    if file.stream not in zone.streams:
        known = ", ".join(zone.streams) or "none"
        raise UsageError(
            f"this wants file is for the stream {file.stream}, which is not one of this zone",
            remedy=f"streams here: {known}",
        )
    crossing = zone.streams[file.stream].repositories
    names = {want.repository for want in file.wants}
    with store.ledger.read() as tx:
        roots = {name: {one.root for one in tx.roots(name)} for name in names}
    here = {
        name: arrived(store, name, zone.repositories[name].format, _whats(file, name))
        for name in names & zone.repositories.keys()
    }
    return [
        _judge(
            zone,
            crossing,
            want,
            known=want.what in roots[want.repository],
            here=want.what in here.get(want.repository, ()),
        )
        for want in file.wants
    ]


def _whats(file: WantsFile, repository: str) -> list[str]:
    return [want.what for want in file.wants if want.repository == repository]


def _judge(
    zone: OutsideZone, crossing: Sequence[str], want: Want, *, known: bool, here: bool
) -> Judged:
    repository = zone.repositories.get(want.repository)
    if repository is None or want.repository not in crossing:
        return Judged(want, "no repository of this stream")
    if not format_named(repository.format).may_be_root(want.what):
        return Judged(want, f"not what a {repository.format} repository can be asked for")
    return Judged(want, known=known, here=here)


def accept(tx: WriteTransaction, file: WantsFile, wants: Sequence[Want], by: str) -> int:
    """Make wants roots of their repositories; how many are new."""
    by_repository: dict[str, list[str]] = {}
    for want in wants:
        by_repository.setdefault(want.repository, []).append(want.what)
    new = 0
    for repository, texts in by_repository.items():
        added = len(tx.add_roots(repository, RootKind.WANT, texts, by))
        new += added
        tx.event("wants.accepted", file.stream, repository, wants=len(texts), new=added)
    return new
