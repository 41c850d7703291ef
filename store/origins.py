"""Where snapshots came from, kept outside from the sync on until a snapshot is dropped."""

from __future__ import annotations

from manifests import canonical
from manifests.digest import sha256_of
from manifests.provenance import MAX_LINE, Origin
from store.ledger import ReadTransaction, WriteTransaction


def _key(repository: str, serial: int) -> str:
    # A serial has at most 16 digits, a key 64 characters.
    return f"origin:{sha256_of(repository.encode())[:40]}:{serial}"


def keep_origin(tx: WriteTransaction, origin: Origin) -> None:
    """Remember where a snapshot of this zone came from."""
    tx.set_meta(
        _key(origin.repository, origin.serial), canonical.dumps(origin.to_json()).decode("ascii")
    )


def drop_origin(tx: WriteTransaction, repository: str, serial: int) -> None:
    """Forget it, with its snapshot."""
    tx.drop_meta(_key(repository, serial))


def origin_of(tx: ReadTransaction, repository: str, serial: int) -> Origin | None:
    """Where a snapshot came from; None if nothing is known, as for one made before this was
    written down and without a source."""
    text = tx.get_meta(_key(repository, serial))
    if text is not None:
        return Origin.of_json(canonical.loads(text.encode("ascii"), cap=MAX_LINE))
    stored = tx.snapshot("", repository, serial)
    if stored is None or not stored.source:
        return None
    return Origin(repository, serial, upstream=stored.source, synced=stored.snapshot.created)
