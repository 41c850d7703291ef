"""A series: one state whose content crosses in several bundles, none above `max_bundle`.

All of them name the whole new state, and the base from before the series; each brings
a share of the blobs, so that every repository goes live inside with the bundle that makes
it complete. What was carried already is known by the indexes of the series' bundles.
A sync in the middle does no harm: the next bundle aims at the newest state.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from manifests.canonical import dumps, loads
from manifests.digest import Digest, sha256_of
from manifests.state import StateRow, StateTable
from store.ledger import ReadTransaction, WriteTransaction
from store.records import BundleRecord, PinKind
from store.store import Store

_CAP = 64 << 20


@dataclass(frozen=True, slots=True)
class Series:
    """``tables``: the states that it began from; none for a full one. ``indexes``: of the
    bundles so far."""

    epoch: int
    tables: tuple[StateTable, ...]
    indexes: tuple[Digest, ...]

    def to_json(self) -> dict[str, object]:
        """For a draft, and for the ledger."""
        return {
            "epoch": self.epoch,
            "indexes": [str(digest) for digest in self.indexes],
            "tables": [
                [[r.repository, r.format, r.serial, str(r.tree), r.tree_size] for r in table.rows]
                for table in self.tables
            ],
        }


def open_series(store: Store, tx: ReadTransaction, stream: str, epoch: int) -> Series | None:
    """The series that is not finished. Rows whose tree this store no longer has are left
    out: those repositories cross whole."""
    text = tx.get_meta(_key(stream))
    if not text:
        return None
    value = loads(text.encode("ascii"), cap=_CAP)
    assert isinstance(value, dict)
    if value["epoch"] != epoch:
        return None
    tables = []
    for rows in _list(value["tables"]):
        found = (StateRow(*_list(row)) for row in _list(rows))  # type: ignore[arg-type]
        tables.append(StateTable.of(row for row in found if store.blobs.has(row.tree)))
    indexes = tuple(Digest(str(digest)) for digest in _list(value["indexes"]))
    return Series(epoch, tuple(tables), indexes)


def note_series(tx: WriteTransaction, bundle: BundleRecord, value: object) -> None:
    """After a release: remember the series that goes on, or that none does."""
    key, pin = _key(bundle.stream), f"series:{bundle.stream}"
    if not isinstance(value, dict):
        tx.drop_meta(key)
        tx.unpin(pin)
        return
    tx.set_meta(key, dumps(value).decode("ascii"))
    trees = [str(_list(row)[3]) for rows in _list(value["tables"]) for row in _list(rows)]
    texts = [str(digest) for digest in _list(value["indexes"])]
    tx.pin(pin, _digests([*texts, *trees]), PinKind.BLOBS, "series")


def _digests(texts: Iterable[str]) -> list[Digest]:
    return sorted({Digest(text) for text in texts})


def _list(value: object) -> list[object]:
    assert isinstance(value, list | tuple)
    return list(value)


def _key(stream: str) -> str:
    """Where the ledger keeps it (at most 64 bytes)."""
    return f"series:{sha256_of(stream.encode())[:40]}"
