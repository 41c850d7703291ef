"""Rollback inside: an older snapshot goes live again, and stays until a newer one arrives."""

from __future__ import annotations

from datetime import datetime

from manifests.digest import sha256_of
from manifests.errors import UsageError
from store.ledger import ReadTransaction
from store.records import Publication
from store.store import Store
from transfer.arrivals import Deriver


def roll_back(
    store: Store, name: str, serial: int, *, deriver: Deriver, now: datetime
) -> Publication:
    """Publish snapshot ``serial`` under the served ``name`` again (or forward).

    Going back to the newest snapshot ends the rollback. Raises UsageError if
    nothing is published there or the snapshot is not kept.
    """
    with store.locks.shared():
        with store.ledger.read() as tx:
            live = tx.publication(name)
            if live is None:
                raise UsageError("nothing is published under this name", where=name)
            stored = tx.snapshot(live.stream, live.source_repository, serial)
            kept = tx.snapshots(live.stream, live.source_repository)
        if stored is None:
            serials = ", ".join(str(s.snapshot.serial) for s in kept)
            raise UsageError(
                f"snapshot {serial} is not kept here",
                where=name,
                remedy=f"choose one of {serials}",
            )
        tree = stored.snapshot.tree
        newest = kept[0].snapshot.serial
        publication = Publication(
            repository=name,
            stream=live.stream,
            format=stored.snapshot.format,
            source_repository=live.source_repository,
            serial=serial,
            tree=tree,
            overlay=deriver(stored.snapshot.format, name, tree, live),
            published=now,
            rolled_back=serial != newest,
        )
        with store.ledger.write() as tx:
            tx.publish([publication])
            tx.set_meta(_key(name), str(newest))
            tx.event("rollback", live.stream, name, serial=serial, before=live.serial)
    return publication


def rolled_past(tx: ReadTransaction, name: str) -> int:
    """The newest serial that was known when ``name`` was rolled back; 0 if it never was."""
    return int(tx.get_meta(_key(name)) or 0)


def _key(name: str) -> str:
    return f"rolled:{sha256_of(name.encode())[:48]}"
