"""After `verify --repair`: holds that end because what was set aside has come back."""

from __future__ import annotations

from manifests.errors import SluiceError
from manifests.tree import parse
from store.records import Hold
from store.store import Store
from store.verify import HOLD


def end_repaired(store: Store, stream: str) -> list[str]:
    """End the `damaged` holds of a stream (outside: "") whose repositories are whole again.

    Blobs are only looked for, not read: what was damaged was moved aside, and what comes
    in is verified. Returns the repositories.
    """
    with store.ledger.read() as tx:
        holds = [hold for hold in tx.holds() if hold.key.startswith(f"{HOLD}{stream}/")]
    healed = [hold for hold in holds if _is_whole(store, hold)]
    if healed:
        with store.ledger.write() as tx:
            for hold in healed:
                tx.clear_hold(hold.key)
                tx.event("repaired", hold.stream, hold.repository)
            # Servers may remember that a blob was not there.
            tx.bump_generation()
    return [hold.repository for hold in healed]


def _is_whole(store: Store, hold: Hold) -> bool:
    with store.ledger.read() as tx:
        trees = {s.snapshot.tree for s in tx.snapshots(hold.stream, hold.repository)}
        for live in tx.publications():
            if (live.stream, live.source_repository) == (hold.stream, hold.repository):
                trees |= {live.tree} | ({live.overlay} if live.overlay else set())
    try:
        for digest in trees:
            if not store.blobs.has(digest):
                return False
            for entry in parse(store.tree(digest).blocks()):
                if store.blobs.size(entry.digest) != entry.size:
                    return False
    except SluiceError:
        return False  # `verify` says what is wrong with it
    return True
