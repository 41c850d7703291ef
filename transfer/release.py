"""Release: a draft gets its number and its signatures, and becomes a bundle.

The steps, each of which may be repeated after a crash: the manifest is made
complete and kept in the draft; it is signed; heads are written into the parts,
which are synced and get their final names; one commit makes it the newest bundle.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from manifests.bundle import WIRE, Copies, EventHead, HeadPlan, Manifest, parse_parts
from manifests.bundle.parts import MAX_TABLE
from manifests.changelist import Account
from manifests.digest import Digest, sha256_of
from manifests.errors import ConfigError, HeldError, StoreError, Unsigned, UsageError
from manifests.roots import TrustedRoot, verify_release
from store.records import BundleRecord, DraftRecord
from store.store import Store
from transfer.assumed import relied_on
from transfer.changes import lists_of_draft
from transfer.outgoing import Outgoing, let_go
from transfer.pack import unpin_draft
from transfer.plan import own_root, released, with_content
from transfer.recreate import build_part_head
from transfer.series import note_series
from transfer.spool import Spool

Sign = Callable[[bytes, int, bytes | None], bytes]
"""``sign(manifest, sequence, document)``: the release document; ``document`` is what
other people signed before, or None. Raises what it likes; nothing is released then."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    manifest: Manifest
    raw: bytes
    document: bytes | None


def release(
    store: Store,
    stream: str,
    spool: Path,
    draft: str,
    sign: Sign,
    *,
    roots: Sequence[bytes],
    resend_window: int = 0,
    wire: int = WIRE,
    now: datetime,
) -> BundleRecord:
    """Sign a draft and make it the stream's next bundle. ``wire`` is the newest that may go
    out.

    Raises HeldError while signatures to the threshold are missing (the ones made
    are kept), UsageError for an unknown draft, TrustError if what was signed would
    not be believed inside, MalformedPart if the signed documents outgrew the head.
    """
    with store.locks.named(f"pack-{stream}"), store.locks.shared():
        with store.ledger.read() as tx:
            record = tx.draft(stream, draft)
        if record is None:
            raise UsageError(f"there is no draft {draft[:80]!r}", where=stream)
        trusted = own_root(roots)
        prepared = _prepare(store, record, trusted.epoch, now)
        if prepared.manifest.wire > wire:
            raise UsageError(
                f"it was packed with wire {prepared.manifest.wire}, and zone.yaml says {wire} now",
                where=draft,
                remedy="reject it and pack again",
            )
        document = sign(prepared.raw, prepared.manifest.sequence, prepared.document)
        _check_signed(store, record, trusted, prepared, document)
        table = store.small(prepared.manifest.part_table.digest, MAX_TABLE)
        copies = Copies(prepared.raw, document, tuple(roots), table)
        rows = parse_parts(table, prepared.manifest.parity.parts)
        heads = HeadPlan(_number(record, "head"), _number(record, "stride"))
        outgoing = Outgoing(prepared.manifest, copies, rows, heads)
        _write_heads(store, Spool(store.files, spool, stream), draft, outgoing)
        return _commit(store, record, outgoing, resend_window, now)


def _prepare(store: Store, record: DraftRecord, epoch: int, now: datetime) -> _Prepared:
    """Give the draft its number, once; the numbers of others must not have moved."""
    manifest = Manifest.parse(str(record.data["manifest"]).encode("ascii"))
    with store.ledger.read() as tx:
        bundles = released(tx, record.stream, epoch)
        sequence, digest = tx.event_head()
    newest = next(iter(bundles), None)
    number = 1 if newest is None else newest.sequence + 1
    previous = None if newest is None else newest.manifest
    if _of_earlier_epoch(record, manifest, epoch, bundles):
        raise UsageError(
            "a new epoch began after this draft was packed",
            where=record.id,
            remedy="reject it and pack again",
        )
    done = record.data.get("prepared")
    if isinstance(done, dict):
        old = Manifest.parse(str(done["manifest"]).encode("ascii"))
        if (old.epoch, old.sequence, old.previous) == (epoch, number, previous):
            document = done.get("document")
            signed = None if document is None else str(document).encode("ascii")
            return _Prepared(old, old.encode(), signed)
    manifest = replace(
        manifest,
        epoch=epoch,
        sequence=number,
        previous=previous,
        created=now,
        events=EventHead(sequence, digest),
    )
    prepared = _Prepared(manifest, manifest.encode(), None)
    _remember(store, record, prepared)
    return prepared


def _of_earlier_epoch(
    record: DraftRecord, manifest: Manifest, epoch: int, bundles: list[BundleRecord]
) -> bool:
    """Whether it was packed before the epoch began, so that its base counts for nothing."""
    packed = record.data.get("epoch")
    if isinstance(packed, int):
        return packed != epoch and bool(manifest.base.rows)
    return bool(manifest.base.rows) and not with_content(bundles)


def _remember(store: Store, record: DraftRecord, prepared: _Prepared) -> None:
    document = None if prepared.document is None else prepared.document.decode("ascii")
    done = {"manifest": prepared.raw.decode("ascii"), "document": document}
    with store.ledger.write() as tx:
        tx.add_draft(record.stream, record.id, {**record.data, "prepared": done})


def _check_signed(
    store: Store, record: DraftRecord, trusted: TrustedRoot, prepared: _Prepared, document: bytes
) -> None:
    try:
        found = verify_release(trusted, document, prepared.raw)
    except Unsigned as error:
        if document != prepared.document:
            _remember(store, record, replace(prepared, document=document))
        raise HeldError(
            f"draft {record.id} is not released yet: {error.what}",
            where=record.stream,
            remedy="have another key holder release it, too",
        ) from error
    if found.sequence != prepared.manifest.sequence or found.role != "targets":
        raise ConfigError("the release document is for another bundle", where=record.stream)


def _write_heads(store: Store, place: Spool, draft: str, outgoing: Outgoing) -> None:
    digest = sha256_of(outgoing.copies.manifest)
    for row, name in zip(outgoing.rows, outgoing.names(), strict=True):
        path = place.draft_part(draft, row.part)
        if not path.exists():
            path = place.part(name)  # renamed before an earlier release was killed
        head = build_part_head(outgoing.manifest, digest, outgoing.copies, row, outgoing.heads)
        try:
            with store.files.reopen(path) as file:
                file.write_at(0, head)
                file.sync()
        except FileNotFoundError:
            raise StoreError(
                "a part of the draft is gone from the spool",
                where=str(path),
                remedy="reject the draft and pack again",
            ) from None
        store.files.rename(path, place.part(name))
    store.files.sync_dir(place.folder)


def _commit(
    store: Store, record: DraftRecord, outgoing: Outgoing, resend_window: int, now: datetime
) -> BundleRecord:
    kept = outgoing.keep(store)
    deltas = [Digest(str(digest)) for digest in _list(record, "deltas")]
    account = None
    if "changes" in record.data:  # not in a draft of an older Sluice
        told = Account(now, store.ledger.actor, lists_of_draft(record.data["changes"]))
        with store.blobs.batch() as batch:
            account = batch.put_bytes(told.encode())[0]
    with store.ledger.write() as tx:
        bundle = outgoing.record(tx, kept, deltas, packed=record.created, now=now, account=account)
        tx.drop_draft(record.stream, record.id)
        unpin_draft(tx.unpin, record.stream, record.id)
        note_series(tx, bundle, record.data.get("series"))
        let_go(tx, bundle, resend_window)
        relied_on(tx, outgoing.manifest)
    return bundle


def _number(record: DraftRecord, name: str) -> int:
    value = record.data[name]
    assert isinstance(value, int)
    return value


def _list(record: DraftRecord, name: str) -> list[object]:
    value = record.data[name]
    assert isinstance(value, list)
    return value
