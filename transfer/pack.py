"""Pack: the newest snapshots of a stream become a draft in the spool.

A draft is everything but its number and its signatures: payloads, part table,
index and a manifest without sequence, epoch, previous digest. Only one draft of
a stream exists at a time, because the base of the next one would be in doubt.
The payload is written once, behind the room that its head will need.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
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
    TextRef,
    encode_parts,
)
from manifests.changelist import Listed
from manifests.digest import EMPTY, Digest
from manifests.errors import BlobDamaged, BlobMissing, HeldError
from manifests.state import StateTable
from manifests.tree import diff
from manifests.zone import OutsideStream
from store.blobs import BlobBatch
from store.records import PinKind
from store.store import Store
from transfer.changes import outside_lists
from transfer.content import Content, gather, open_content
from transfer.payload import Payload
from transfer.plan import Base, Wish, choose_base, own_root
from transfer.provenance import add_provenance
from transfer.room import Room, make_room
from transfer.series import Series
from transfer.spool import Spool
from transfer.writing import Progress, write_parts

_SHOWN: Final = 5


@dataclass(frozen=True, slots=True)
class PackPlan:
    """What `pack` would do, in how many bundles however large. ``bytes`` bounds the size of
    all part files."""

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
    more: bool = False
    """Further bundles of its series are to follow."""


def plan(
    store: Store,
    stream: OutsideStream,
    *,
    roots: Sequence[bytes],
    together: Sequence[Sequence[str]] = (),
    wish: Wish = Wish(),  # noqa: B008 - immutable
    now: datetime,
) -> PackPlan:
    """Say what `pack` would do; nothing is kept. Raises what `pack` raises."""
    with store.locks.shared():
        base = _base(store, stream, roots, wish)
        with store.scratch("plan") as scratch, open_content(scratch) as content:
            gather(store, base, content, None)
            manifest = _provisional(stream, base, together, now)
            if manifest.wire > 1:
                add_provenance(store, base, content, None)
            room = make_room(content, len(manifest.encode()), roots, stream.part_size)
            return PackPlan(
                changed=base.changed,
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
    wish: Wish = Wish(),  # noqa: B008 - immutable
    now: datetime,
    progress: Progress | None = None,
) -> Draft | None:
    """Make a draft; None when nothing changed since the newest released bundle.

    ``roots`` is the stream's root chain, ``spool`` the folder of all spools. What does
    not fit into the stream's ``max_bundle`` is left to the next call (``Draft.more``),
    but for a bundle of single repositories. May be killed at any moment: the next call
    removes what is left.

    Raises HeldError while another draft waits, NoSpace, ConfigError (part_size),
    BlobMissing and BlobDamaged (a damaged blob never crosses), StoreBusy, UsageError
    (``wish.since``).
    """
    with store.locks.named(f"pack-{stream.name}"), store.locks.shared():
        place = Spool(store.files, spool, stream.name)
        _tidy(store, stream.name, place)
        base = _base(store, stream, roots, wish)
        if not base.changed:
            return None
        with (
            store.scratch("pack") as scratch,
            open_content(scratch) as content,
            store.blobs.batch() as batch,
        ):
            deltas = gather(store, base, content, batch)
            manifest = _provisional(stream, base, together, now)
            if manifest.wire > 1:
                told = add_provenance(store, base, content, batch)
                manifest = replace(manifest, provenance=told)
            limit = None if wish.only else stream.max_bundle
            size = len(manifest.encode())
            least = 1 if manifest.provenance is None else 2
            room, more = _fit(content, limit, size, roots, stream.part_size, least)
            if more or base.series is not None:
                manifest = replace(manifest, retain=_floors(base))
            store.require_free(room.total, f"packing for {stream.name}")
            lists = outside_lists(store, stream.name, base, batch)
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
                    table = write_parts(
                        store, place, id, Payload(store, entries, index, verify=True),
                        room, layout.part, room.total, progress,
                    )  # fmt: skip
                except (BlobMissing, BlobDamaged) as error:
                    _name_paths(store, base, error)
                    raise
            digest, size = batch.put_bytes(encode_parts(table))
            manifest = replace(manifest, part_table=TextRef(digest, size))
        series = _series(base, manifest, wish, roots, more=more)
        epoch = own_root(roots).epoch
        _keep(store, manifest, id, epoch, deltas, room, series, lists)
    return Draft(
        id,
        stream.name,
        manifest.kind,
        len(table),
        sum(row.offset + row.length + len(END) for row in table),
        manifest.blobs,
        manifest.stored,
        more,
    )


def _fit(
    content: Content,
    limit: int | None,
    manifest: int,
    roots: Sequence[bytes],
    part_size: int,
    least: int,
) -> tuple[Room, bool]:
    """The room of what crosses now, at least ``least`` blobs, and whether something is left
    for further bundles."""
    room = make_room(content, manifest, roots, part_size)
    more = False
    while limit is not None and room.total > limit and content.count() > least:
        # Heads take room by the part: a few in any case, the others in proportion.
        fixed = min(4 * room.heads.full, limit // 2)
        budget = content.member_bytes() * (limit - fixed) // (room.total - fixed)
        if not content.limit(budget, least):
            break
        more = True
        room = make_room(content, manifest, roots, part_size)
    return room, more


def _floors(base: Base) -> dict[str, int]:
    """As long as a series lasts, the inside keeps what it began from."""
    began = base.held[-1] if base.held else StateTable(())
    serials = {row.repository: row.serial for row in began.rows}
    return {name: min(floor, serials.get(name, floor)) for name, floor in base.retain.items()}


def _series(
    base: Base, manifest: Manifest, wish: Wish, roots: Sequence[bytes], *, more: bool
) -> Series | None:
    """What the next `pack` goes on with, once this draft is released."""
    indexes = (manifest.index.digest,) if manifest.index.size else ()
    if base.series is not None and (more or wish.only):
        return Series(base.series.epoch, base.series.tables, (*base.series.indexes, *indexes))
    return Series(own_root(roots).epoch, base.tables, indexes) if more else None


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


def _base(store: Store, stream: OutsideStream, roots: Sequence[bytes], wish: Wish) -> Base:
    with store.ledger.read() as tx:
        return choose_base(
            store,
            tx,
            stream.name,
            stream.repositories,
            epoch=own_root(roots).epoch,
            resend_window=stream.resend_window,
            wish=wish,
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
    ).in_wire(stream.wire)


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


def _keep(
    store: Store,
    manifest: Manifest,
    draft: str,
    epoch: int,
    deltas: list[Digest],
    room: Room,
    series: Series | None,
    changes: Sequence[Listed],
) -> None:
    """Record the draft and pin what it needs; with this commit it exists."""
    stream = manifest.stream
    blobs, lists = draft_pins(stream, draft)
    texts = [
        *(one.digest for one in changes),
        manifest.part_table.digest,
        manifest.index.digest,
        *deltas,
    ]
    trees = [row.tree for row in (*manifest.state.rows, *manifest.base.rows)]
    with store.ledger.write() as tx:
        tx.add_draft(
            stream,
            draft,
            {
                "changes": [list(one) for one in changes],
                "deltas": [str(digest) for digest in deltas],
                "epoch": epoch,
                "head": room.heads.full,
                "manifest": manifest.encode().decode("ascii"),
                "series": series and series.to_json(),
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
