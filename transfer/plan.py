"""What the next bundle of a stream would hold: state, base, floor, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifests.bundle import MAX_MANIFEST, Manifest
from manifests.digest import Digest
from manifests.roots import TrustedRoot, walk_roots
from manifests.state import StateRow, StateTable
from store.ledger import ReadTransaction
from store.records import BundleRecord
from store.store import Store


@dataclass(frozen=True, slots=True)
class Base:
    """Where a bundle starts from."""

    state: StateTable
    """The newest snapshots of the stream."""
    tables: tuple[StateTable, ...]
    """The states of the resend window, newest first, the last one being the base; none
    for a full bundle. The bundle completes an inside that holds any one of them."""
    retain: Mapping[str, int]
    newest: Manifest | None
    """The newest released manifest of this epoch."""

    @property
    def table(self) -> StateTable:
        """The base; empty for a full bundle."""
        return self.tables[-1] if self.tables else StateTable(())

    @property
    def changed(self) -> bool:
        """Whether the state is another than the newest released one.

        Before anything was mirrored there is no state, and so nothing to send.
        """
        if self.newest is None:
            return bool(self.state.rows)
        return self.newest.state != self.state


def own_root(roots: Sequence[bytes]) -> TrustedRoot:
    """The root of trust in force outside; raises TrustError for a broken chain."""
    return walk_roots(roots[:1], roots)


def released(tx: ReadTransaction, stream: str, epoch: int) -> list[BundleRecord]:
    """The released bundles of an epoch, newest first."""
    return [
        bundle
        for bundle in tx.bundles(stream)
        if bundle.epoch == epoch and bundle.released is not None
    ]


def read_manifest(store: Store, digest: Digest) -> Manifest:
    """A manifest that is kept as a blob. Raises BlobMissing, MalformedManifest."""
    return Manifest.parse(store.small(digest, MAX_MANIFEST))


def choose_base(
    store: Store,
    tx: ReadTransaction,
    stream: str,
    repositories: Sequence[str],
    *,
    epoch: int,
    resend_window: int = 0,
    full: bool = False,
) -> Base:
    """State, base and floor of the next bundle.

    The base is the state of the newest released bundle, moved back by
    ``resend_window`` bundles, but row by row never behind the floor that was
    last promised (the inside may have forgotten it), and never a tree that this
    store no longer has. A new epoch starts without a base, since it is declared
    when what the inside holds is in doubt.
    """
    state = StateTable.of(_newest_rows(tx, repositories))
    past = [
        read_manifest(store, bundle.manifest)
        for bundle in released(tx, stream, epoch)[: resend_window + 1]
    ]
    newest = past[0] if past else None
    tables: list[StateTable] = []
    if newest is not None and not full:
        for oldest in range(1, len(past) + 1):
            rows = (
                _base_row(store, row.repository, past[:oldest], newest.retain) for row in state.rows
            )
            tables.append(StateTable.of(row for row in rows if row is not None))
    return Base(state, tuple(tables), _retain(state, past, resend_window), newest)


def _newest_rows(tx: ReadTransaction, repositories: Sequence[str]) -> list[StateRow]:
    rows = []
    for name in repositories:
        stored = tx.newest_snapshot("", name)
        if stored is not None:
            snapshot = stored.snapshot
            rows.append(
                StateRow(name, snapshot.format, snapshot.serial, snapshot.tree, snapshot.tree_size)
            )
    return rows


def _base_row(
    store: Store, repository: str, past: Sequence[Manifest], floors: Mapping[str, int]
) -> StateRow | None:
    for manifest in reversed(past):
        row = manifest.state.row(repository)
        if (
            row is not None
            and row.serial >= floors.get(repository, 1)
            and store.blobs.has(row.tree)
        ):
            return row
    return None


def _retain(state: StateTable, past: Sequence[Manifest], resend_window: int) -> dict[str, int]:
    """The lowest serial that a base may name as long as this bundle is the newest."""
    promised = past[0].retain if past else {}
    floors = {}
    for row in state.rows:
        older = [manifest.state.row(row.repository) for manifest in past[:resend_window]]
        lowest = min([row.serial, *(old.serial for old in older if old is not None)])
        # What an inside was once allowed to forget is never asked for again.
        floors[row.repository] = max(lowest, promised.get(row.repository, 1))
    return floors
