"""What a bundle changes, written down so that it can be shown when its blobs are long gone.

Outside the lists are made when a draft is packed and become an account when it is released;
inside both are made right before a publication. The commit of the act pins the account
with all its lists, and its event names the account: so the hash chain of the audit log
vouches for every line. The lists stay until a person has them forgotten, the account for
good. A run that is killed before its commit leaves garbage,
and the next one makes the lists again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import BinaryIO, Final, NamedTuple

from manifests.canonical import Record
from manifests.changelist import (
    MAX_ACCOUNT,
    Account,
    Head,
    Item,
    Kind,
    Listed,
    Sums,
    encode,
    listed,
)
from manifests.digest import Digest
from manifests.errors import BlobMissing, StoreError, TreeError
from manifests.formats import FORMATS, format_named
from manifests.formats.described import Described, Opener, plain
from manifests.provenance import Origin
from manifests.state import StateRow, StateTable, format_time
from manifests.tree import Change, Tree, diff
from store.blobs import BlobBatch
from store.ledger import ReadTransaction, WriteTransaction
from store.records import PinKind, Publication
from store.store import Store
from transfer.known import Known
from transfer.plan import Base
from transfer.provenance import origin_in, outside_origin

_PREFIX: Final = "changes:"


def write_list(store: Store, batch: BlobBatch, head: Head) -> Listed:
    """Compare the trees of ``head`` and keep the list; memory stays flat.

    A tree before that is not here any more counts as empty, and the list says so. Raises
    BlobMissing if the new tree is not here, NoSpace.
    """
    new = store.tree(head.tree)
    old = Tree(b"")
    if head.tree_before is not None:
        try:
            old = store.tree(head.tree_before)
        except (StoreError, TreeError):
            note = f"snapshot {head.serial_before} is not here any more: all counts as added"
            head = replace(head, note=f"{head.note}; {note}" if head.note else note)
    sums = Sums()
    digest, _ = batch.put_stream(encode(head, _items(store, head, diff(old, new)), sums))
    return Listed(head.repository, head.serial, digest, sums.added, sums.updated, sums.removed)


def _items(store: Store, head: Head, changes: Iterable[Change]) -> Iterator[Item]:
    describe = format_named(head.format).describe if head.format in FORMATS else _plain
    askers = _askers(head.origin)
    for path, before, after in changes:
        side = after or before
        assert side is not None
        change: Kind = "added" if before is None else "removed" if after is None else "updated"
        told = describe(path, partial(_open, store, side.digest))
        old = before if change == "updated" else None
        yield Item(
            change,
            path,
            told.kind,
            told.what,
            told.name,
            told.version,
            side.size,
            side.digest,
            0 if old is None else old.size,
            "" if old is None else old.digest,
            _asker(askers, path, told) if askers else "",
        )


def _open(store: Store, digest: Digest) -> BinaryIO | None:
    try:
        return store.blobs.open(digest)
    except BlobMissing:
        return None  # what was removed may be gone already


def _plain(path: str, opener: Opener) -> Described:
    """For a format that only another Sluice knows."""
    return plain(path)


def _askers(origin: Origin | None) -> Mapping[str, str]:
    """Who asked for a root; the newest act counts."""
    return {} if origin is None else {one.root: one.by for one in reversed(origin.roots)}


def _asker(askers: Mapping[str, str], path: str, told: Described) -> str:
    for name in (path, told.what, f"{told.name}:{told.version}"):
        if name in askers:
            return askers[name]
    return ""


# Outside


def outside_lists(store: Store, stream: str, base: Base, batch: BlobBatch) -> list[Listed]:
    """The lists of all repositories whose snapshot is another than in the newest bundle."""
    before = StateTable(()) if base.newest is None else base.newest.state
    lists = []
    for row in base.state.rows:
        old = before.row(row.repository)
        if old == row:
            continue
        old = old or base.table.row(row.repository)  # what was adopted on both sides
        with store.ledger.read() as tx:
            origin = outside_origin(tx, base, row)
        lists.append(write_list(store, batch, _head(stream, row, old, origin)))
    return lists


def lists_of_draft(value: object) -> tuple[Listed, ...]:
    """What a draft keeps of them, as JSON."""
    record = Record({}, where="draft", required=())
    rows = value if isinstance(value, list) else []
    return tuple(listed(record, row) for row in rows)


def _head(stream: str, row: StateRow, old: StateRow | None, origin: Origin | None) -> Head:
    return Head(
        stream,
        row.repository,
        row.format,
        row.serial,
        row.tree,
        None if old is None else old.serial,
        None if old is None else old.tree,
        origin,
    )


# Inside


@dataclass(frozen=True, slots=True)
class Fresh:
    """A snapshot that is about to be published in the place of ``live``; ``checked``:
    signatures were demanded here, and held."""

    row: StateRow
    live: Publication | None
    checked: bool


def inside_accounts(
    store: Store,
    stream: str,
    bundles: Sequence[Known],
    newest: Known,
    fresh: Iterable[Fresh],
    now: datetime,
) -> dict[Known, Digest]:
    """Make the accounts of one publication, durable on return: one for each bundle that
    brought some of its snapshots."""
    lists: dict[Known, list[Listed]] = {}
    with store.blobs.batch() as batch:
        for one in fresh:
            row, live = one.row, one.live
            named = _naming(bundles, newest, row)
            origin, problem = origin_in(store, named, row)
            head = replace(
                _head(stream, row, None, origin),
                serial_before=None if live is None else live.serial,
                tree_before=None if live is None else live.tree,
                checked=one.checked,
                note=problem,
            )
            lists.setdefault(named[-1], []).append(write_list(store, batch, head))
        return {
            known: batch.put_bytes(Account(now, store.ledger.actor, tuple(rows)).encode())[0]
            for known, rows in lists.items()
        }


def _naming(bundles: Sequence[Known], newest: Known, row: StateRow) -> list[Known]:
    """The bundles that name a snapshot, newest first; the last one brought it, as far as its
    manifest came."""
    found = [newest]
    older = (k for k in bundles if k.epoch == newest.epoch and k.sequence < newest.sequence)
    for known in sorted(older, key=lambda known: known.sequence, reverse=True):
        if known.heartbeat:
            continue
        try:
            manifest = known.manifest
        except BlobMissing:
            break  # the store lost it; what it said is not worth the publication
        if manifest.state.row(row.repository) != row:
            break
        found.append(known)
    return found


# Both


def keep_account(
    tx: WriteTransaction, bundle: tuple[str, int, int], account: Digest, note: str
) -> None:
    """Keep an account and its lists. ``bundle``: stream, epoch, sequence."""
    tx.pin(f"{_key(*bundle)}{account[:16]}", [account], PinKind.LISTS, note)


def forget_lists(tx: WriteTransaction, until: datetime) -> int:
    """Let go of the lists of acts up to that time; how many acts. The accounts stay."""
    old = [pin for pin in tx.pins(_PREFIX) if pin.kind is PinKind.LISTS and pin.at <= until]
    for pin in old:
        tx.pin(pin.key, pin.digests, PinKind.BLOBS, pin.note)
    if old:
        tx.event("changes.forgotten", accounts=len(old), until=format_time(until))
    return len(old)


class Told(NamedTuple):
    """An account, and whether its lists are kept, too."""

    digest: Digest
    account: Account
    kept: bool


def accounts(
    store: Store, tx: ReadTransaction, stream: str, epoch: int, sequence: int
) -> list[Told]:
    """What was written down of a bundle, oldest first; nothing for one that was sealed or
    published by a Sluice that kept no lists.

    Raises BlobMissing, BlobDamaged, MalformedManifest.
    """
    found = []
    for pin in tx.pins(_key(stream, epoch, sequence)):
        for digest in pin.digests:
            store.blobs.verify(digest)
            account = Account.parse(store.small(digest, MAX_ACCOUNT))
            found.append(Told(digest, account, pin.kind is PinKind.LISTS))
    return sorted(found, key=lambda one: (one.account.at, one.digest))


def _key(stream: str, epoch: int, sequence: int) -> str:
    return f"{_PREFIX}{stream}:{epoch}:{sequence}:"
