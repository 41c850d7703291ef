"""What the next bundle of a stream would hold: state, base, floor, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from manifests.bundle import MAX_MANIFEST, Manifest
from manifests.digest import Digest
from manifests.errors import BlobMissing, UsageError
from manifests.roots import TrustedRoot, walk_roots
from manifests.state import StateRow, StateTable
from store.ledger import ReadTransaction
from store.records import BundleRecord
from store.store import Store
from transfer.assumed import assumed, assumed_rows, laid_over
from transfer.series import Series, open_series


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
    """The newest released manifest of this epoch that carried content."""
    held: tuple[StateTable, ...] = ()
    """States every one of which has what need not cross; mostly ``tables``."""
    series: Series | None = None
    """The unfinished series that this bundle goes on with."""
    adopted: frozenset[Digest] = frozenset()
    """Trees of the base that no bundle brought: what they name need not cross, but the
    inside may not have their text."""
    forced: bool = False
    """It crosses even if the state is the newest released one."""

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
        return self.forced or self.series is not None or self.newest.state != self.state


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


def with_content(bundles: Iterable[BundleRecord]) -> list[BundleRecord]:
    """Without heartbeats, which bring nothing and count in no window."""
    return [bundle for bundle in bundles if bundle.kind != "heartbeat"]


def read_manifest(store: Store, digest: Digest) -> Manifest:
    """A manifest that is kept as a blob. Raises BlobMissing, MalformedManifest."""
    return Manifest.parse(store.small(digest, MAX_MANIFEST))


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asked of one `pack`.

    ``since`` is the sequence whose state is the base; ``only`` names the repositories that
    move on, the others stay as the newest released bundle has them.
    """

    full: bool = False
    since: int | None = None
    only: tuple[str, ...] = ()


def choose_base(
    store: Store,
    tx: ReadTransaction,
    stream: str,
    repositories: Sequence[str],
    *,
    epoch: int,
    resend_window: int = 0,
    wish: Wish = Wish(),
) -> Base:
    """State, base and floor of the next bundle.

    The base is the state of the newest released bundle, moved back by
    ``resend_window`` bundles, but row by row never behind the floor that was
    last promised (the inside may have forgotten it), and never a tree that this
    store no longer has. A new epoch starts without a base, since it is declared
    when what the inside holds is in doubt. A series goes on from its own base. What the
    inside adopted (``transfer.assumed``) is the base of its repository, but for a full bundle.

    Raises UsageError for ``since`` if there is no such bundle.
    """
    records = with_content(released(tx, stream, epoch))
    past = _past(store, records[: resend_window + 1], wish)
    newest = past[0] if past else None
    state = StateTable.of(_newest_rows(tx, repositories))
    if wish.only:
        state = _merged(state, newest.state if newest else StateTable(()), wish.only)
    series = None
    tables: tuple[StateTable, ...] = ()
    if newest is None or wish.full:
        pass
    elif wish.since is not None:
        tables = _since(store, stream, records, wish.since, newest)
    else:
        series = open_series(store, tx, stream, epoch)
        tables = series.tables if series else _window(store, state, past, newest)
    adopted: dict[str, StateRow] = {}
    if series is None and not wish.full:
        adopted = assumed_rows(store, assumed(tx, stream, epoch), state, wish.only)
    if adopted:
        tables = tuple(laid_over(table, adopted) for table in tables or (StateTable(()),))
    held = tables
    if wish.only and newest is not None:
        tables = tuple(
            _merged(table, newest.state, wish.only) for table in tables or (StateTable(()),)
        )
    return Base(
        state,
        tables,
        _retain(state, past, resend_window),
        newest,
        held,
        series,
        frozenset(row.tree for row in adopted.values()),
        forced=wish.full or wish.since is not None or bool(adopted),
    )


def _past(store: Store, records: Sequence[BundleRecord], wish: Wish) -> list[Manifest]:
    """The manifests of these bundles. A full bundle needs no past, and so not what was lost of it.

    Raises BlobMissing.
    """
    try:
        return [read_manifest(store, bundle.manifest) for bundle in records]
    except BlobMissing:
        if wish.full and not wish.only:
            return []
        raise


def _merged(moving: StateTable, staying: StateTable, names: Sequence[str]) -> StateTable:
    """The rows of ``names`` from one table, all others from another."""
    rows = [row for row in moving.rows if row.repository in names]
    return StateTable.of([*rows, *(r for r in staying.rows if r.repository not in names)])


def _since(
    store: Store, stream: str, records: Sequence[BundleRecord], sequence: int, newest: Manifest
) -> tuple[StateTable, ...]:
    """The states from a bundle on, newest first.

    What the inside may have forgotten since then is in none of them, and crosses whole.
    """
    after = [bundle for bundle in records if bundle.sequence > sequence]
    if len(after) == len(records) or sequence > newest.sequence:
        known = f"{records[-1].sequence} to {records[0].sequence}"
        raise UsageError(
            f"there is no bundle {sequence} to start from",
            where=stream,
            remedy=f"this epoch has bundles {known}",
        )
    tables = []
    for bundle in records[: len(after) + 1]:
        state = read_manifest(store, bundle.manifest).state
        tables.append(
            StateTable.of(
                row
                for row in state.rows
                if row.serial >= newest.retain.get(row.repository, 1) and store.blobs.has(row.tree)
            )
        )
    return tuple(tables)


def _window(
    store: Store, state: StateTable, past: Sequence[Manifest], newest: Manifest
) -> tuple[StateTable, ...]:
    """The states of the resend window, newest first."""
    tables = []
    for oldest in range(1, len(past) + 1):
        rows = (
            _base_row(store, row.repository, past[:oldest], newest.retain) for row in state.rows
        )
        tables.append(StateTable.of(row for row in rows if row is not None))
    return tuple(tables)


def full_is_due(
    tx: ReadTransaction, stream: str, epoch: int, every: float | None, now: datetime
) -> bool:
    """Whether the newest full bundle is older than ``every`` seconds (None: never due)."""
    made = [b.created for b in released(tx, stream, epoch) if b.kind == "full"]
    return every is not None and bool(made) and (now - made[0]).total_seconds() >= every


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
    if past[-1].state.row(repository) is None:
        return None  # who has only that state has nothing of a repository that came later
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
