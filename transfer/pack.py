"""Pack: the newest snapshots of a stream become a draft in the spool.

A draft is everything but its number and its signatures: payloads, part table,
index and a manifest without sequence, epoch, previous digest. Only one draft of
a stream exists at a time, because the base of the next one would be in doubt.
The payload is written once, behind the room that its head will need.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from manifests.bundle import (
    END,
    Index,
    IndexEntry,
    Layout,
    Location,
    Manifest,
    Parity,
    PartRow,
    TextRef,
    encode_parts,
)
from manifests.digest import EMPTY, Digest
from manifests.durable import DurableFile
from manifests.errors import BlobDamaged, BlobMissing, HeldError
from manifests.state import StateTable
from manifests.tree import diff
from manifests.zone import OutsideStream
from store.blobs import BlobBatch
from store.hashing import SideHash
from store.records import PinKind
from store.store import Store
from transfer.content import Content, gather, open_content
from transfer.payload import Payload, gathered
from transfer.plan import Base, choose_base, own_root
from transfer.room import Room, make_room
from transfer.spool import Spool

Progress = Callable[[int, int], None]
"""Told the bytes written so far and in all."""

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class PackPlan:
    """What `pack` would do. ``bytes`` bounds the size of all part files."""

    changed: bool
    kind: str
    blobs: int
    stored: int
    bytes: int
    state: StateTable
    base: StateTable


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft that waits for its release. ``bytes`` is the size of its part files."""

    id: str
    stream: str
    kind: str
    parts: int
    bytes: int
    blobs: int
    stored: int


def plan(
    store: Store,
    stream: OutsideStream,
    *,
    roots: Sequence[bytes],
    together: Sequence[Sequence[str]] = (),
    full: bool = False,
    now: datetime,
) -> PackPlan:
    """Say what `pack` would do; nothing is kept. Raises what `pack` raises."""
    with store.locks.shared():
        base = _base(store, stream, roots, full=full)
        with store.scratch("plan") as scratch, open_content(scratch) as content:
            gather(store, base, content, None)
            manifest = _provisional(stream, base, together, now)
            room = make_room(content, len(manifest.encode()), roots, stream.part_size)
            return PackPlan(
                changed=full or base.changed,
                kind=manifest.kind,
                blobs=content.count(),
                stored=content.stored_bytes(),
                bytes=room.total,
                state=base.state,
                base=base.table,
            )


def pack(
    store: Store,
    stream: OutsideStream,
    spool: Path,
    *,
    roots: Sequence[bytes],
    together: Sequence[Sequence[str]] = (),
    full: bool = False,
    now: datetime,
    progress: Progress | None = None,
) -> Draft | None:
    """Make a draft; None when nothing changed since the newest released bundle.

    ``roots`` is the stream's root chain, ``spool`` the folder of all spools. May
    be killed at any moment: the next call removes what is left.

    Raises HeldError while another draft waits, NoSpace, ConfigError (part_size),
    BlobMissing and BlobDamaged (a damaged blob never crosses), StoreBusy.
    """
    with store.locks.named(f"pack-{stream.name}"), store.locks.shared():
        place = Spool(store.files, spool, stream.name)
        _tidy(store, stream.name, place)
        base = _base(store, stream, roots, full=full)
        if not (full or base.changed):
            return None
        with (
            store.scratch("pack") as scratch,
            open_content(scratch) as content,
            store.blobs.batch() as batch,
        ):
            deltas = gather(store, base, content, batch)
            manifest = _provisional(stream, base, together, now)
            room = make_room(content, len(manifest.encode()), roots, stream.part_size)
            store.require_free(room.total, f"packing for {stream.name}")
            layout = Layout(stream.part_size, room.heads)
            index = _write_index(content, layout, room, batch)
            batch.flush()
            with Index.map(store.blobs.path(index.digest)) as entries:
                manifest = replace(
                    manifest,
                    index=index,
                    blobs=content.count(),
                    stored=content.stored_bytes(),
                    parity=Parity(layout.part),
                )
                id = f"draft-{secrets.token_hex(6)}"
                place.prepare()
                try:
                    table = _write_parts(
                        store, place, id, Payload(store, entries, index, verify=True),
                        room, layout.part, room.total, progress,
                    )  # fmt: skip
                except (BlobMissing, BlobDamaged) as error:
                    _name_paths(store, base, error)
                    raise
            digest, size = batch.put_bytes(encode_parts(table))
            manifest = replace(manifest, part_table=TextRef(digest, size))
        _keep(store, stream.name, id, manifest, deltas, room)
    return Draft(
        id,
        stream.name,
        manifest.kind,
        len(table),
        sum(row.offset + row.length + len(END) for row in table),
        manifest.blobs,
        manifest.stored,
    )


def reject(store: Store, stream: str, spool: Path, draft: str) -> bool:
    """Forget a draft; it leaves no hole in the sequence. Whether it was there."""
    with store.locks.named(f"pack-{stream}"):
        with store.ledger.write() as tx:
            found = tx.drop_draft(stream, draft)
            unpin_draft(tx.unpin, stream, draft)
            if found:
                tx.event("draft.rejected", stream, draft=draft)
        Spool(store.files, spool, stream).drop_draft(draft)
    return found


def draft_pins(stream: str, draft: str) -> tuple[str, str]:
    """The keys of a draft's pins: its blobs, and what its index lists."""
    return f"draft:{stream}:{draft}:blobs", f"draft:{stream}:{draft}:lists"


def unpin_draft(unpin: Callable[[str], bool], stream: str, draft: str) -> None:
    """Take a draft's pins back."""
    for key in draft_pins(stream, draft):
        unpin(key)


def _base(store: Store, stream: OutsideStream, roots: Sequence[bytes], *, full: bool) -> Base:
    with store.ledger.read() as tx:
        return choose_base(
            store,
            tx,
            stream.name,
            stream.repositories,
            epoch=own_root(roots).epoch,
            resend_window=stream.resend_window,
            full=full,
        )


def _tidy(store: Store, stream: str, place: Spool) -> None:
    """Refuse while a draft waits; remove what a killed pack left."""
    with store.ledger.read() as tx:
        drafts = tx.drafts(stream)
        parts = [
            part
            for bundle in tx.bundles(stream)
            for part in tx.parts(stream, bundle.epoch, bundle.sequence)
        ]
    if drafts:
        raise HeldError(
            f"draft {drafts[0].id} waits for its release",
            where=stream,
            remedy="release or reject it first",
        )
    # Only now: a release that was killed may have given a draft's parts their final names.
    place.sweep(parts)


def _provisional(
    stream: OutsideStream, base: Base, together: Sequence[Sequence[str]], now: datetime
) -> Manifest:
    names = {row.repository for row in base.state.rows}
    groups = [tuple(sorted(names & set(group))) for group in together]
    return Manifest(
        stream=stream.name,
        epoch=1,
        sequence=1,
        previous=None,
        created=now,
        kind="delta" if base.tables else "full",
        state=base.state,
        base=base.table,
        part_table=TextRef(EMPTY, 0),
        index=TextRef(EMPTY, 0),
        blobs=0,
        stored=0,
        parity=Parity(1),
        retain=base.retain,
        together=tuple(sorted(group for group in groups if len(group) > 1)),
    )


def _write_index(content: Content, layout: Layout, room: Room, batch: BlobBatch) -> TextRef:
    """Lay everything out and write the index; ``layout`` then stands at the end."""
    reserved = [fragment.at for fragment in layout.place(room.index)]
    writer = batch.writer()
    for blob in content:
        entry = IndexEntry(
            blob.digest,
            blob.size,
            blob.codec,
            blob.base,
            blob.stored,
            blob.stored_size,
            tuple(fragment.at for fragment in layout.place(blob.stored_size)),
        )
        writer.write(entry.line())
    digest, size = writer.finish()
    assert size <= room.index, "the index outgrew its room"
    locations, left = [], size
    for at in reserved:
        if left:
            length = min(left, at.length)
            locations.append(Location(at.part, at.offset, length))
            left -= length
    return TextRef(digest, size, tuple(locations))


def _write_parts(
    store: Store,
    place: Spool,
    draft: str,
    payload: Payload,
    room: Room,
    parts: int,
    total: int,
    progress: Progress | None,
) -> list[PartRow]:
    rows: list[PartRow] = []
    done = 0
    syncs: list[Future[None]] = []
    with ThreadPoolExecutor(1) as pool:
        try:
            for part in range(1, parts + 1):
                offset = room.heads.size(part)
                file = store.files.create(place.draft_part(draft, part))
                hasher = SideHash()
                length = 0
                try:
                    file.write(bytes(offset))
                    for block in gathered(payload.blocks(part)):
                        hasher.update(block)
                        file.write(block)
                        length += len(block)
                        if progress is not None:
                            progress(done + offset + length, total)
                    file.write(END)
                except BaseException:
                    file.close()
                    raise
                finally:
                    digest = hasher.digest()
                rows.append(PartRow(part, offset, length, digest))
                done += offset + length + len(END)
                syncs.append(pool.submit(_sync, file))
                # At most two files wait, so that memory and open files stay few.
                if len(syncs) > 1:
                    syncs.pop(0).result()
        finally:
            payload.close()
            for waiting in syncs:
                waiting.result()
    store.files.sync_dir(place.folder)
    return rows


def _sync(file: DurableFile) -> None:
    try:
        file.sync()
    finally:
        file.close()


def _keep(
    store: Store, stream: str, draft: str, manifest: Manifest, deltas: list[Digest], room: Room
) -> None:
    """Record the draft and pin what it needs; with this commit it exists."""
    blobs, lists = draft_pins(stream, draft)
    texts = [manifest.part_table.digest, manifest.index.digest, *deltas]
    trees = [row.tree for row in (*manifest.state.rows, *manifest.base.rows)]
    with store.ledger.write() as tx:
        tx.add_draft(
            stream,
            draft,
            {
                "deltas": [str(digest) for digest in deltas],
                "head": room.heads.full,
                "manifest": manifest.encode().decode("ascii"),
                "stride": room.heads.stride,
            },
        )
        tx.pin(blobs, sorted({*texts, *trees}), PinKind.BLOBS, "draft")
        tx.pin(lists, [manifest.index.digest], PinKind.LISTS, "draft")
        tx.event("draft.packed", stream, draft=draft, parts=manifest.parity.parts)


def _name_paths(store: Store, base: Base, error: BlobMissing | BlobDamaged) -> None:
    """Say which paths have the blob that cannot be sent."""
    found: list[str] = []
    total = 0
    for row in base.state.rows:
        before = base.table.row(row.repository)
        new = store.tree(row.tree)
        entries = (
            new.entries()
            if before is None
            else (c.after for c in diff(store.tree(before.tree), new) if c.after is not None)
        )
        for entry in entries:
            if entry.digest in (error.where, *error.what.split()):
                total += 1
                if len(found) < _SHOWN:
                    found.append(f"{row.repository}:{entry.path}")
    if found:
        more = f" and {total - len(found)} more" if total > len(found) else ""
        error.what = f"{error.what}; it is {', '.join(found)}{more}"
        error.args = (error.what,)
