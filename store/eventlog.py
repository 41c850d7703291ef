"""The audit log from its first event on: archives first, then what the ledger holds.

Old events leave the ledger in blocks. Each block becomes a blob, gzip (RFC 1952) of the
lines that ``events export`` writes; a pin keeps the blobs from ``gc``, backups copy them,
``verify`` reads them, and the ledger remembers number and digest of each one's last event.
So the chain can still be checked from the first event to the head, and nothing is lost:
a ledger without its archives does not verify.

A line is canonical JSON (``manifests.canonical``): ``actor``, ``detail``, ``digest``,
``kind``, ``previous``, ``repository``, ``seq``, ``stream``, ``time``. ``digest`` is the
SHA-256 of ``previous`` (hex, of the line before; 64 zeros in the first) followed by the line
without ``digest``, ``previous`` and its line end.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from datetime import datetime

from manifests import canonical
from manifests.digest import Digest
from manifests.errors import LedgerDamaged, SluiceError
from manifests.state import format_time, parse_time
from store.ledger import ReadTransaction
from store.ledger.events import NO_EVENT, EventArchive, linked
from store.records import Event
from store.store import Store

BLOCK = 5000
"""Events in an archive."""
_PIN = "events"
_LONGEST_LINE = 64 << 20
_UNREADABLE = (
    SluiceError, ValueError, TypeError, KeyError, RecursionError, EOFError, OSError, zlib.error
)  # fmt: skip
"""What reading an archive may raise: of the store, of gzip, of JSON, of its fields."""


def line_of(event: Event) -> bytes:
    """One event as a line."""
    fields = {
        "actor": event.actor,
        "detail": event.detail,
        "digest": event.digest,
        "kind": event.kind,
        "previous": event.previous,
        "repository": event.repository,
        "seq": event.seq,
        "stream": event.stream,
        "time": format_time(event.time),
    }
    return canonical.dumps(fields) + b"\n"


def archive_events(store: Store, before: datetime, *, block: int = BLOCK) -> int:
    """Move whole blocks of events from before ``before`` into archives; how many events.

    What does not fill a block stays. Raises LedgerDamaged (nothing of a block that does
    not fit leaves the ledger), NoSpace, StoreBusy.
    """
    moved = 0
    with store.locks.named("events"), store.locks.shared():
        while True:
            with store.ledger.read() as tx:
                last, head = tx.event_anchor()
                events = tx.events(after=last, limit=block)
                archives = tx.event_archives()
            if len(events) < block or events[-1].time >= before:
                return moved
            lines = b"".join(line_of(event) for event in linked(events, last, head))
            with store.blobs.batch() as batch:
                blob, _ = batch.put_bytes(gzip.compress(lines, mtime=0))
            archive = EventArchive(events[-1].seq, events[-1].digest, blob)
            with store.ledger.write() as tx:
                tx.archived_events(events[0].seq, archive)
                tx.pin(_PIN, [*(each.blob for each in archives), blob], note="archived events")
                tx.event("events.archived", first=events[0].seq, last=archive.last, blob=blob)
            moved += len(events)


def verify_log(store: Store, tx: ReadTransaction) -> int:
    """Check the whole chain, archives included; the number of the last event.

    Raises LedgerDamaged that names the first event, or the archive, that does not fit.
    """
    for _ in _archived(store, tx):
        pass
    return tx.verify_events()


def every_event(store: Store, tx: ReadTransaction) -> Iterator[Event]:
    """All events from the first on. Raises LedgerDamaged as soon as an archive does not fit."""
    yield from _archived(store, tx)
    after, _ = tx.event_anchor()
    while block := tx.events(after):
        yield from block
        after = block[-1].seq


def _archived(store: Store, tx: ReadTransaction) -> Iterator[Event]:
    last, head = 0, NO_EVENT
    for archive in tx.event_archives():
        where = f"archived events {last + 1} to {archive.last}"
        try:
            for event in linked(_read(store, archive.blob), last, head):
                yield event
                last, head = event.seq, event.digest
        except _UNREADABLE as e:
            raise LedgerDamaged(
                f"blob {archive.blob} cannot be read: {e}",
                where=where,
                remedy="put this blob back from a backup: it is a part of the audit log",
            ) from e
        if (last, head) != (archive.last, archive.head):
            raise LedgerDamaged(
                f"ends with event {last}",
                where=where,
                remedy="keep a copy, and restore ledger and blobs from a backup",
            )


def _read(store: Store, blob: Digest) -> Iterator[Event]:
    store.blobs.verify(blob)
    with store.blobs.open(blob) as raw, gzip.GzipFile(fileobj=raw) as lines:
        while line := lines.readline(_LONGEST_LINE):
            fields = json.loads(line)
            for name in ("previous", "digest"):
                fields[name] = Digest(fields[name])
            yield Event(**{**fields, "time": parse_time(fields["time"])})
