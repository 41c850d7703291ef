"""What a person said the inside holds although no bundle brought it.

Both zones adopt the same files. An adopted tree that the inside has, too, stands as the
base of its repository in the next bundle: only what differs from it crosses. If the inside
lacks a blob after all, its hold names the files, and a full bundle (which relies on nothing)
brings them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from manifests.bundle import Manifest
from manifests.digest import Digest
from manifests.state import StateRow, StateTable
from store.ledger import ReadTransaction, WriteTransaction
from store.records import PinKind
from store.store import Store

_PREFIX: Final = "assumed:"


def assume(tx: WriteTransaction, stream: str, repository: str, tree: Digest, *, epoch: int) -> None:
    """As long as ``epoch`` lasts, the inside of ``stream`` is taken to hold all that ``tree``
    names."""
    tx.pin(_key(stream, repository), [tree], PinKind.BLOBS, str(epoch))
    tx.event("inside.assumed", stream, repository, tree=tree)


def assumed(tx: ReadTransaction, stream: str, epoch: int) -> dict[str, Digest]:
    """Trees by repository, until a bundle relied on them.

    What was said in an earlier epoch counts no more: a new one is declared when it is in
    doubt what the inside holds.
    """
    start = _key(stream, "")
    return {
        pin.key.removeprefix(start): pin.digests[0]
        for pin in tx.pins()
        if pin.key.startswith(start) and pin.note == str(epoch)
    }


def drop_assumed(tx: WriteTransaction, stream: str, repository: str) -> bool:
    """Rely on it no more; whether that was said at all."""
    return tx.unpin(_key(stream, repository))


def assumed_rows(
    store: Store, trees: Mapping[str, Digest], state: StateTable, only: Iterable[str] = ()
) -> dict[str, StateRow]:
    """Rows of a base, for what the state has of it.

    The serial is that of the state: the tree is no snapshot, and no floor moves by it.
    """
    names = set(only)
    rows = {}
    for row in state.rows:
        tree = trees.get(row.repository)
        if tree is not None and store.blobs.has(tree) and (not names or row.repository in names):
            size = store.blobs.size(tree)
            rows[row.repository] = StateRow(row.repository, row.format, row.serial, tree, size)
    return rows


def laid_over(table: StateTable, rows: Mapping[str, StateRow]) -> StateTable:
    """``table`` with other rows for some repositories."""
    others = (row for row in table.rows if row.repository not in rows)
    return StateTable.of([*others, *rows.values()])


def relied_on(tx: WriteTransaction, manifest: Manifest) -> None:
    """A bundle is released: what it was based on is no assumption any more, nor is anything
    of what it brings in full."""
    trees = assumed(tx, manifest.stream, manifest.epoch)
    for row in manifest.state.rows:
        before = manifest.base.row(row.repository)
        full = manifest.kind == "full"
        if full or (before is not None and trees.get(row.repository) == before.tree):
            tx.unpin(_key(manifest.stream, row.repository))


def _key(stream: str, repository: str) -> str:
    # No name holds a colon.
    return f"{_PREFIX}{stream}:{repository}"
