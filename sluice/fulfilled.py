"""Wants and roots that are there by now."""

from __future__ import annotations

from collections.abc import Iterable

from manifests.errors import BlobMissing
from manifests.formats import FORMATS, format_named
from store.ledger import ReadTransaction
from store.records import StoredWant
from store.store import Store


def strike_off(store: Store, actor: str = "") -> int:
    """Inside: forget the wants that are published; how many.

    Also those that were noted late, by a server that saw the miss before the publication.
    """
    with store.ledger.read() as tx:
        found = _published(store, tx)
    if not found:
        return 0
    names = sorted({want.repository for want in found})
    with store.ledger.write(actor) as tx:
        for want in found:
            tx.forget_wants(want.repository, want.what)
        for name in names:
            whats = [want.what for want in found if want.repository == name]
            tx.event("wants.fulfilled", repository=name, wants=len(whats))
    return len(found)


def _published(store: Store, tx: ReadTransaction) -> list[StoredWant]:
    wants = tx.wants()
    found = []
    for name in sorted({want.repository for want in wants}):
        live = tx.publication(name)
        if live is None or live.format not in FORMATS:
            continue
        own = [want for want in wants if want.repository == name]
        try:
            view, kind = store.view(live.tree, live.overlay), format_named(live.format)
            found += [want for want in own if kind.holds(want.what, view)]
        except BlobMissing:
            continue  # `verify` tells; the wants stay
    return found


def arrived(store: Store, repository: str, format_name: str, roots: Iterable[str]) -> set[str]:
    """Outside: which of these are part of the repository's newest snapshot.

    Raises BlobMissing.
    """
    with store.ledger.read() as tx:
        newest = tx.newest_snapshot("", repository)
    if newest is None:
        return set()
    view, kind = store.view(newest.snapshot.tree), format_named(format_name)
    return {root for root in roots if kind.holds(root, view)}
