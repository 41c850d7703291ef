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

from manifests.bundle import (
    END,
    Copies,
    EventHead,
    HeadPlan,
    Index,
    Manifest,
    PartName,
    PartRecord,
    PartRow,
    build_head,
    parse_parts,
)
from manifests.bundle.parts import MAX_TABLE
from manifests.canonical import dumps, loads
from manifests.digest import Digest, sha256_of
from manifests.documents import MAX_DOCUMENT
from manifests.errors import (
    BlobDamaged,
    ConfigError,
    HeldError,
    StoreError,
    Unsigned,
    UsageError,
)
from manifests.roots import MAX_CHAIN, TrustedRoot, verify_release
from store.hashing import SideHash
from store.ledger import WriteTransaction
from store.records import BundleRecord, DraftRecord, PinKind
from store.records import PartRecord as PartFile
from store.store import Store
from transfer.pack import unpin_draft
from transfer.payload import Payload, gathered
from transfer.plan import own_root, read_manifest, released
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
    now: datetime,
) -> BundleRecord:
    """Sign a draft and make it the stream's next bundle.

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
        document = sign(prepared.raw, prepared.manifest.sequence, prepared.document)
        _check_signed(store, record, trusted, prepared, document)
        table = store.small(prepared.manifest.part_table.digest, MAX_TABLE)
        copies = Copies(prepared.raw, document, tuple(roots), table)
        rows = parse_parts(table, prepared.manifest.parity.parts)
        heads = HeadPlan(_number(record, "head"), _number(record, "stride"))
        place = Spool(store.files, spool, stream)
        _write_heads(store, place, draft, prepared.manifest, copies, rows, heads)
        return _commit(store, record, prepared.manifest, copies, rows, heads, resend_window, now)


def _prepare(store: Store, record: DraftRecord, epoch: int, now: datetime) -> _Prepared:
    """Give the draft its number, once; the numbers of others must not have moved."""
    manifest = Manifest.parse(str(record.data["manifest"]).encode("ascii"))
    with store.ledger.read() as tx:
        newest = next(iter(released(tx, record.stream, epoch)), None)
        sequence, digest = tx.event_head()
    number = 1 if newest is None else newest.sequence + 1
    previous = None if newest is None else newest.manifest
    if manifest.base.rows and newest is None:
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


def _write_heads(
    store: Store,
    place: Spool,
    draft: str,
    manifest: Manifest,
    copies: Copies,
    rows: Sequence[PartRow],
    heads: HeadPlan,
) -> None:
    names = _names(manifest)
    digest = sha256_of(copies.manifest)
    for row, name in zip(rows, names, strict=True):
        path = place.draft_part(draft, row.part)
        if not path.exists():
            path = place.part(name)  # renamed before an earlier release was killed
        head = build_part_head(manifest, digest, copies, row, heads)
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


def build_part_head(
    manifest: Manifest, digest: Digest, copies: Copies, row: PartRow, heads: HeadPlan
) -> bytes:
    """The head of one part."""
    record = PartRecord(
        manifest.stream,
        manifest.epoch,
        manifest.sequence,
        row.part,
        manifest.parity.parts,
        row.offset,
        row.length,
        digest,
    )
    return build_head(record, copies if heads.carries(row.part) else None)


def _names(manifest: Manifest) -> list[PartName]:
    count = manifest.parity.parts
    return [
        PartName(manifest.stream, manifest.epoch, manifest.sequence, part, count)
        for part in range(1, count + 1)
    ]


def _commit(
    store: Store,
    record: DraftRecord,
    manifest: Manifest,
    copies: Copies,
    rows: Sequence[PartRow],
    heads: HeadPlan,
    resend_window: int,
    now: datetime,
) -> BundleRecord:
    with store.blobs.batch() as batch:
        kept = [batch.put_bytes(data)[0] for _, data in copies.members()]
        state = batch.put_bytes(manifest.state.text())[0]
        ceremony = dumps(
            {
                "head": heads.full,
                "release": kept[1],
                "roots": kept[2:-1],
                "stride": heads.stride,
            }
        )
        letter = batch.put_bytes(ceremony)[0]
    bundle = BundleRecord(
        stream=manifest.stream,
        epoch=manifest.epoch,
        sequence=manifest.sequence,
        kind=manifest.kind,
        manifest=sha256_of(copies.manifest),
        previous=manifest.previous or "",
        state=state,
        index=manifest.index.digest,
        created=manifest.created,
        size=sum(row.offset + row.length + len(END) for row in rows),
        parts=len(rows),
        base=[list(_base_row) for _base_row in _plain(manifest)],
        retain=manifest.retain,
        packed=record.created,
        released=now,
    )
    trees = [row.tree for row in (*manifest.state.rows, *manifest.base.rows)]
    deltas = [Digest(str(digest)) for digest in _list(record, "deltas")]
    with store.ledger.write() as tx:
        tx.add_bundle(bundle)
        for row, name in zip(rows, _names(manifest), strict=True):
            size = row.offset + row.length + len(END)
            tx.set_part(
                PartFile(
                    bundle.stream, bundle.epoch, bundle.sequence, row.part, str(name), size,
                    row.digest, "released",
                )
            )  # fmt: skip
        key = _key(bundle)
        tx.set_meta(letter_key(bundle), letter)
        tx.pin(
            f"{key}:blobs", sorted({*kept, state, letter, *trees, *deltas}), PinKind.BLOBS, "resend"
        )
        tx.pin(f"{key}:lists", [manifest.index.digest], PinKind.LISTS, "resend")
        tx.drop_draft(record.stream, record.id)
        unpin_draft(tx.unpin, record.stream, record.id)
        _let_go(tx, bundle, resend_window)
        tx.event(
            "bundle.released",
            bundle.stream,
            epoch=bundle.epoch,
            sequence=bundle.sequence,
            manifest=bundle.manifest,
            parts=bundle.parts,
            size=bundle.size,
        )
    return bundle


def letter_key(bundle: BundleRecord) -> str:
    """Where the ledger keeps which signed documents belong to a bundle (at most 64 bytes)."""
    return f"release:{bundle.manifest[:40]}"


def _key(bundle: BundleRecord) -> str:
    return f"bundle:{bundle.stream}:{bundle.epoch}:{bundle.sequence}"


def _plain(manifest: Manifest) -> list[tuple[str, str, int, str, int]]:
    return [
        (row.repository, row.format, row.serial, row.tree, row.tree_size)
        for row in manifest.base.rows
    ]


def _let_go(tx: WriteTransaction, newest: BundleRecord, resend_window: int) -> None:
    """Unpin the bundles that left the resend window."""
    for number, old in enumerate(tx.bundles(newest.stream)):
        if old.released is not None and (number > resend_window or old.epoch < newest.epoch):
            tx.unpin(f"{_key(old)}:blobs")
            tx.unpin(f"{_key(old)}:lists")


def _number(record: DraftRecord, name: str) -> int:
    value = record.data[name]
    assert isinstance(value, int)
    return value


def _list(record: DraftRecord, name: str) -> list[object]:
    value = record.data[name]
    assert isinstance(value, list)
    return value


def recreate(store: Store, bundle: BundleRecord, part: int, target: Path) -> None:
    """Write one part of a released bundle again, byte for byte, as the new file ``target``.

    Works as long as the bundle is inside the resend window. Raises BlobMissing,
    BlobDamaged (the payload is not what was signed), FileExistsError.
    """
    with store.locks.shared():
        with store.ledger.read() as tx:
            letter = tx.get_meta(letter_key(bundle))
        if letter is None:
            raise StoreError("the signed documents of this bundle are gone", where=_key(bundle))
        value = loads(store.small(Digest(letter), 1 << 20), cap=1 << 20)
        assert isinstance(value, dict)
        manifest = read_manifest(store, bundle.manifest)
        table = store.small(manifest.part_table.digest, MAX_TABLE)
        roots = value["roots"]
        assert isinstance(roots, list)
        assert len(roots) <= MAX_CHAIN
        copies = Copies(
            manifest.encode(),
            store.small(Digest(str(value["release"])), MAX_DOCUMENT),
            tuple(store.small(Digest(str(root)), MAX_DOCUMENT) for root in roots),
            table,
        )
        row = parse_parts(table, manifest.parity.parts)[part - 1]
        full, stride = value["head"], value["stride"]
        assert isinstance(full, int)
        assert isinstance(stride, int)
        head = build_part_head(manifest, bundle.manifest, copies, row, HeadPlan(full, stride))
        index = Index.map(store.blobs.path(manifest.index.digest))
        hasher = SideHash()
        with index, store.files.create(target) as file:
            payload = Payload(store, index, manifest.index)
            try:
                file.write(head)
                for block in gathered(payload.blocks(part)):
                    hasher.update(block)
                    file.write(block)
            finally:
                payload.close()
                found = hasher.digest()
            if found != row.digest:
                store.files.unlink(target)
                raise BlobDamaged("the payload is not what was signed", where=str(target))
            file.write(END)
            file.sync()
        store.files.sync_dir(target.parent)
