"""Heartbeats: bundles without content that say what the inside should hold by now.

Signed by the role timestamp alone, so that no person is needed; such a document moves the
high-water mark inside and publishes nothing (docs/adr/0005-heartbeats-cannot-publish.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from manifests.bundle import (
    END,
    WIRE,
    Copies,
    EventHead,
    HeadPlan,
    Parity,
    PartRow,
    TextRef,
    encode_parts,
    head_room,
)
from manifests.digest import EMPTY, sha256_of
from manifests.roots import verify_release
from store.ledger import ReadTransaction, WriteTransaction
from store.records import BundleRecord
from store.store import Store
from transfer.outgoing import Outgoing, unpin
from transfer.plan import own_root, read_manifest, released, with_content
from transfer.recreate import build_part_head, letter_key
from transfer.spool import Spool

SignHeartbeat = Callable[[bytes, int], bytes]
"""``sign(manifest, sequence)``: its timestamp document."""

HEARTBEATS: Final = 10
"""Heartbeats that are remembered on each side; older ones say nothing any more."""
_DOCUMENT: Final = 16 << 10


def is_due(
    tx: ReadTransaction, stream: str, epoch: int, every: float | None, now: datetime
) -> bool:
    """Whether nothing was released for ``every`` seconds; never before the first bundle."""
    bundles = released(tx, stream, epoch)
    if every is None or not with_content(bundles):
        return False
    last = bundles[0].released
    return last is not None and (now - last).total_seconds() >= every


def beat(
    store: Store,
    stream: str,
    spool: Path,
    sign: SignHeartbeat,
    *,
    roots: Sequence[bytes],
    wire: int = WIRE,
    now: datetime,
) -> BundleRecord | None:
    """Release a heartbeat; it then waits in the spool like any bundle.

    None if there is nothing to speak of yet in this epoch, or while a draft that somebody
    signed already waits for others: it has the next number. Raises StoreBusy while the
    stream is packed, ConfigError without a timestamp key, Unsigned below its threshold.
    """
    with store.locks.named(f"pack-{stream}"), store.locks.shared():
        trusted = own_root(roots)
        with store.ledger.read() as tx:
            bundles = released(tx, stream, trusted.epoch)
            signed = any(_is_signed(draft.data.get("prepared")) for draft in tx.drafts(stream))
            events, head = tx.event_head()
        content = with_content(bundles)
        if signed or not content:
            return None
        state = read_manifest(store, content[0].manifest)
        manifest = replace(
            state,
            sequence=bundles[0].sequence + 1,
            previous=bundles[0].manifest,
            created=now,
            kind="heartbeat",
            base=state.state,
            part_table=TextRef(EMPTY, 0),
            index=TextRef(EMPTY, 0),
            blobs=0,
            stored=0,
            parity=Parity(1),
            orders=(),
            events=EventHead(events, head),
        ).in_wire(wire)
        size = len(manifest.encode()) + 64
        offset = head_room([size, _DOCUMENT, *map(len, roots), _DOCUMENT])
        row = PartRow(1, offset, 0, EMPTY)
        table = encode_parts([row])
        manifest = replace(manifest, part_table=TextRef(sha256_of(table), len(table)))
        raw = manifest.encode()
        document = sign(raw, manifest.sequence)
        verify_release(trusted, document, raw)
        copies = Copies(raw, document, tuple(roots), table, role="timestamp")
        outgoing = Outgoing(manifest, copies, [row], HeadPlan(offset, 1))
        _write(store, Spool(store.files, spool, stream), outgoing)
        kept = outgoing.keep(store)
        with store.ledger.write() as tx:
            bundle = outgoing.record(tx, kept, [], packed=now, now=now)
            forget_old(tx, stream)
    return bundle


def _is_signed(prepared: object) -> bool:
    return isinstance(prepared, dict) and prepared.get("document") is not None


def _write(store: Store, place: Spool, outgoing: Outgoing) -> None:
    [row], [name] = outgoing.rows, outgoing.names()
    digest = sha256_of(outgoing.copies.manifest)
    head = build_part_head(outgoing.manifest, digest, outgoing.copies, row, outgoing.heads)
    place.prepare()
    path = place.part(name)
    store.files.unlink(path)  # of a run that was killed before its commit
    with store.files.create(path) as file:
        file.write(head)
        file.write(END)
        file.sync()
    store.files.sync_dir(place.folder)


def forget_old(tx: WriteTransaction, stream: str) -> None:
    """Forget all but the newest heartbeats, on either side, once they are dealt with."""
    beats = [bundle for bundle in tx.bundles(stream) if bundle.kind == "heartbeat"]
    for bundle in beats[HEARTBEATS:]:
        if bundle.sent is not None or bundle.imported is not None:
            unpin(tx, bundle)
            tx.drop_meta(letter_key(bundle))
            tx.drop_bundle(stream, bundle.epoch, bundle.sequence)
