"""What the next bundle of a stream would hold: state, base, floor, sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from manifests.bundle import MAX_MANIFEST, HeadPlan, Manifest, head_room
from manifests.bundle.index import LOCATION
from manifests.bundle.parts import MAX_ROW
from manifests.bundle.tar import END, member_size
from manifests.digest import Digest
from manifests.roots import TrustedRoot, walk_roots
from manifests.state import StateRow, StateTable
from store.ledger import ReadTransaction
from store.records import BundleRecord
from store.store import Store
from transfer.content import Content

_RELEASE_ROOM: Final = 16 << 10
"""Bytes kept for the release document; one signature takes about 200."""


@dataclass(frozen=True, slots=True)
class Base:
    """Where a bundle starts from."""

    state: StateTable
    """The newest snapshots of the stream."""
    table: StateTable
    """The base; empty for a full bundle."""
    retain: Mapping[str, int]
    newest: Manifest | None
    """The newest released manifest of this epoch."""

    @property
    def changed(self) -> bool:
        """Whether the state is another than the newest released one."""
        return self.newest is None or self.newest.state != self.state


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
    rows = []
    if newest is not None and not full:
        for row in state.rows:
            found = _base_row(store, row.repository, past, newest.retain)
            if found is not None:
                rows.append(found)
    return Base(state, StateTable.of(rows), _retain(state, past, resend_window), newest)


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
    kept = past[:resend_window]
    floors = {}
    for row in state.rows:
        older = [manifest.state.row(row.repository) for manifest in kept]
        floors[row.repository] = min([row.serial, *(o.serial for o in older if o is not None)])
    return floors


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes that are known before anything is written; all in bytes."""

    index: int
    """Reserved for the index; what it leaves free is padded."""
    heads: HeadPlan
    total: int
    """At most so much do all part files take."""


def make_room(content: Content, manifest_size: int, roots: Sequence[bytes], part_size: int) -> Room:
    """Reserve room for index and heads. Raises ConfigError: ``part_size`` is too small."""
    members = content.member_bytes()
    # The layout wastes at most a 64th of a part; heads take at most half of one.
    most_parts = 2 * (members + content.line_bytes()) // (part_size - part_size // 32) + 4
    pieces = content.stored_bytes() // (4 << 30) + most_parts
    lines = content.line_bytes() + content.count() * LOCATION
    index = lines + pieces * (LOCATION + 1)
    locations = 64 * (index // (part_size // 2) + 2)
    full = head_room(
        [
            manifest_size + locations + 1024,
            _RELEASE_ROOM,
            *map(len, roots),
            # A root that is rotated between pack and release still fits.
            2 * max(map(len, roots)),
            most_parts * MAX_ROW,
        ]
    )
    payload = members + member_size(index)
    heads = HeadPlan.choose(part_size, full, payload)
    return Room(index, heads, payload + most_parts * (full + len(END)))
