"""What a bundle is and what it changed, from what this zone wrote down: for `sluice show`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from manifests.bundle import MAX_MANIFEST, Manifest
from manifests.changelist import Account, ChangeList, Head, Listed
from manifests.digest import Digest
from manifests.errors import UsageError
from manifests.state import StateRow
from manifests.zone import InsideStream, OutsideStream
from store.ledger import ReadTransaction
from store.records import BundleRecord, Hold
from store.store import Store
from transfer.changes import Told, accounts

CHANGED, FORGOTTEN, UNCHANGED, HELD, WAITING, NOT_SERVED, GONE, UNKNOWN = (
    "changed", "forgotten", "unchanged", "held", "waiting", "not served", "no longer sent",
    "unknown",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """One repository of a bundle. ``status`` is one of the words above; ``reason`` says why
    something is held. ``listed`` and ``account`` are set if there is, or was, a change list."""

    repository: str
    row: StateRow
    status: str
    reason: str = ""
    listed: Listed | None = None
    account: Account | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A bundle. ``at`` and ``by``: when and by whom it was released, or imported; None and ""
    if that is not known or has not happened."""

    zone: str
    bundle: BundleRecord
    manifest: Manifest
    at: datetime | None
    by: str
    accounts: tuple[Told, ...]
    parts: tuple[Part, ...]


def look_up(
    store: Store, stream: OutsideStream | InsideStream, sequence: int, epoch: int | None = None
) -> Shown:
    """Collect all but the items. Raises UsageError, BlobMissing, BlobDamaged."""
    with store.ledger.read() as tx:
        bundle = _find(tx, stream.name, sequence, epoch)
        told = accounts(store, tx, stream.name, bundle.epoch, sequence)
        manifest = _manifest(store, bundle.manifest)
        before = _before(store, tx, bundle)
        holds = {hold.key: hold for hold in tx.holds(stream.name)}
        local = stream if isinstance(stream, InsideStream) else None
        parts = [_part(tx, local, row, bundle, told, before, holds) for row in manifest.state.rows]
        if before is not None and not local:
            parts += [
                Part(row.repository, row, GONE)
                for row in before.state.rows
                if manifest.state.row(row.repository) is None
            ]
    return Shown(
        "outside" if local is None else "inside",
        bundle,
        manifest,
        bundle.released if local is None else bundle.imported,
        told[-1].account.by if told else "",
        tuple(told),
        tuple(parts),
    )


@contextmanager
def opened(store: Store, listed: Listed) -> Iterator[ChangeList]:
    """A change list, after its digest was proved. Raises BlobMissing, BlobDamaged,
    MalformedManifest."""
    store.blobs.verify(listed.digest)
    with store.blobs.open(listed.digest) as file:
        yield ChangeList(file, f"change list of {listed.repository} {listed.serial}")


def head_of(store: Store, part: Part) -> Head | None:
    """The head of its change list, if there is one."""
    if part.listed is None or part.status != CHANGED:
        return None
    with opened(store, part.listed) as changes:
        return changes.head


def _find(tx: ReadTransaction, stream: str, sequence: int, epoch: int | None) -> BundleRecord:
    bundles = tx.bundles(stream)
    found = [
        bundle
        for bundle in bundles
        if bundle.sequence == sequence and epoch in (None, bundle.epoch)
    ]
    if found:
        return max(found, key=lambda bundle: bundle.epoch)
    if not bundles:
        raise UsageError(
            "there is no bundle yet",
            where=stream,
            remedy="outside, `pack` makes the first; inside, `receive` takes it in",
        )
    newest = max((bundle.epoch, bundle.sequence) for bundle in bundles)
    raise UsageError(
        f"there is no bundle {sequence}" + (f" of epoch {epoch}" if epoch is not None else ""),
        where=stream,
        remedy=f"the newest one here is bundle {newest[1]} of epoch {newest[0]}",
    )


def _manifest(store: Store, digest: Digest) -> Manifest:
    return Manifest.parse(store.small(digest, MAX_MANIFEST))


def _before(store: Store, tx: ReadTransaction, bundle: BundleRecord) -> Manifest | None:
    """The newest manifest before, as far as it came."""
    older = [
        other
        for other in tx.bundles(bundle.stream)
        if other.epoch == bundle.epoch
        and other.sequence < bundle.sequence
        and other.kind != "heartbeat"
    ]
    if not older:
        return None
    return _manifest(store, max(older, key=lambda other: other.sequence).manifest)


def _part(
    tx: ReadTransaction,
    stream: InsideStream | None,
    row: StateRow,
    bundle: BundleRecord,
    told: list[Told],
    before: Manifest | None,
    holds: Mapping[str, Hold],
) -> Part:
    part = Part(row.repository, row, UNKNOWN)
    for _, account, kept in told:
        for listed in account.lists:
            if (listed.repository, listed.serial) == (row.repository, row.serial):
                status = CHANGED if kept else FORGOTTEN
                return replace(part, status=status, listed=listed, account=account)
    old = None if before is None else before.state.row(row.repository)
    if old == row or bundle.kind == "heartbeat":
        return replace(part, status=UNCHANGED)
    if stream is None:
        return part
    name = stream.local_name(row.repository)
    if name is None:
        return replace(part, status=NOT_SERVED)
    hold = holds.get(f"import:{stream.name}:{row.repository}")
    if hold is not None:
        return replace(part, status=HELD, reason=hold.reason)
    live = tx.publication(name)
    if live is not None and live.serial >= row.serial:
        return part  # published by a Sluice that kept no lists, or passed over
    return replace(part, status=WAITING)
