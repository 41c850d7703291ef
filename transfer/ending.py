"""When a bundle is over inside: its files can go, and later its blobs need no pin."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from manifests.zone import InsideStream
from store.ledger import ReadTransaction, WriteTransaction
from store.store import Store
from transfer.known import Known

KEEP = 5
"""Snapshots that are kept of each repository at least, for rollbacks."""


def is_over(store: Store, tx: ReadTransaction, known: Known, newest: Known) -> bool:
    """Whether no part of a bundle is needed any more."""
    if known.heartbeat:
        return not known.missing_parts()
    if known.order > newest.order:
        return False
    if known.rows and not known.missing_parts():
        return all(store.blobs.has(row.tree) for row in known.manifest.state.rows)
    return is_settled(tx, known, newest)


def is_settled(tx: ReadTransaction, known: Known, newest: Known) -> bool:
    """Whether every snapshot that a bundle names is here, or will not be asked for.

    Until then its blobs belong to nothing that would keep them: what is missing may come
    in another bundle, even a late one. A snapshot below the ``retain`` floor is given up
    only when the newest one of its repository is complete, since that may rest on it.
    """
    if known.order > newest.order:
        return known.heartbeat
    for row in known.manifest.state.rows:
        if tx.snapshot(known.stream, row.repository, row.serial) is not None:
            continue
        last = newest.manifest.state.row(row.repository)
        if last is None:
            continue
        if row.serial >= newest.manifest.retain.get(row.repository, 1):
            return False
        if tx.snapshot(known.stream, row.repository, last.serial) is None:
            return False
    return True


def close(tx: WriteTransaction, known: Known, now: datetime) -> None:
    """Remember that a bundle is imported."""
    tx.update_bundle(known.stream, known.epoch, known.sequence, imported=now)
    if not known.heartbeat:
        tx.event("bundle.imported", known.stream, epoch=known.epoch, sequence=known.sequence)


def let_go(tx: WriteTransaction, bundles: Sequence[Known], newest: Known) -> None:
    """Unpin the imported bundles whose snapshots now keep their blobs."""
    for known in bundles:
        if known.pinned and known.imported and is_settled(tx, known, newest):
            for pin in known.pins():
                tx.unpin(pin)
            known.pinned = False


def forget_snapshots(tx: WriteTransaction, stream: InsideStream, newest: Known) -> None:
    """Drop snapshots below the floor, but never the newest few nor what is live."""
    live = {(p.source_repository, p.serial) for p in tx.publications() if p.stream == stream.name}
    for repository, floor in newest.manifest.retain.items():
        for stored in tx.snapshots(stream.name, repository)[KEEP:]:
            serial = stored.snapshot.serial
            if serial < floor and (repository, serial) not in live:
                tx.drop_snapshot(stream.name, repository, serial)
