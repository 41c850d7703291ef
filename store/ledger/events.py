"""The audit log: append-only, and each event's digest covers the one before it.

The digest of an event is the SHA-256 of the previous event's digest (64 ASCII
characters; 64 zeros for the first) followed by the canonical JSON of its fields
``actor, detail, kind, repository, seq, stream, time``. The head, the last event's number
and digest, is kept beside the log, so that a log that was cut short does not verify
either; it also crosses in every bundle.

Old events may have left for archives (``store.eventlog``). What is here then begins at the
anchor: the number and the digest of the last event that left.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from sqlalchemy import delete, insert

from manifests import canonical
from manifests.digest import Digest, sha256_of
from manifests.errors import LedgerDamaged, StoreBusy
from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, Row, WriteBase, from_json, to_json
from store.records import Event

NO_EVENT = Digest("0" * 64)
_HEAD = "event_head"
_ARCHIVES = "event_archives"
_BLOCK = 1000
_REMEDY = (
    "someone or something changed the ledger: keep a copy, compare the event head with "
    "the one in the last bundle, and restore the ledger from a backup"
)


@dataclass(frozen=True, slots=True)
class EventArchive:
    """A blob with the events up to ``last``, whose digest is ``head``; see ``store.eventlog``."""

    last: int
    head: Digest
    blob: Digest


def linked(events: Iterable[Event], last: int, previous: Digest) -> Iterator[Event]:
    """Pass on events that follow event ``last`` with the digest ``previous``.

    Raises LedgerDamaged that names the first one that does not fit.
    """
    for event in events:
        where = f"event {event.seq}"
        if event.seq != last + 1:
            raise LedgerDamaged(f"event {last + 1} is missing", where=where, remedy=_REMEDY)
        if event.previous != previous:
            raise LedgerDamaged("does not follow the event before it", where=where, remedy=_REMEDY)
        if event.digest != _digest(event):
            raise LedgerDamaged("was changed after it was written", where=where, remedy=_REMEDY)
        yield event
        last, previous = event.seq, event.digest


class EventReads(ReadBase):
    """Reading the audit log."""

    def event_archives(self) -> list[EventArchive]:
        """The archives that hold what is no longer here, oldest first."""
        where = "the list of archived events"
        rows = from_json(self.get_meta(_ARCHIVES) or "[]", where)
        try:
            return [EventArchive(int(at), Digest(head), Digest(blob)) for at, head, blob in rows]
        except (TypeError, ValueError) as error:
            raise LedgerDamaged("not rows of three", where=where) from error

    def event_anchor(self) -> tuple[int, Digest]:
        """Number and digest of the last event that was archived; (0, 64 zeros) for none."""
        archives = self.event_archives()
        return (archives[-1].last, archives[-1].head) if archives else (0, NO_EVENT)

    def events(self, after: int = 0, limit: int = _BLOCK) -> list[Event]:
        """At most ``limit`` events with a number above ``after``, oldest first."""
        table = schema.events
        rows = self._all(table, table.c.seq > after, order=(table.c.seq,), limit=limit)
        return [_event(row) for row in rows]

    def last_events(self, limit: int = 20) -> list[Event]:
        """The newest ``limit`` events, oldest first."""
        table = schema.events
        rows = self._all(table, order=(table.c.seq.desc(),), limit=limit)
        return [_event(row) for row in reversed(rows)]

    def event_head(self) -> tuple[int, Digest]:
        """Number and digest of the last event; (0, 64 zeros) when there is none."""
        text = self.get_meta(_HEAD)
        if text is None:
            return 0, NO_EVENT
        seq, _, digest = text.partition(" ")
        if not seq.isdigit():
            raise LedgerDamaged("the event head cannot be read", remedy=_REMEDY)
        return int(seq), Digest(digest)

    def verify_events(self) -> int:
        """Recompute the chain from the anchor on; the number of the last event.

        Raises LedgerDamaged that names the first event that does not fit.
        """
        last, previous = self.event_anchor()
        for event in linked(self._every_event(), last, previous):
            last, previous = event.seq, event.digest
        if (last, previous) != self.event_head():
            raise LedgerDamaged(
                f"the log ends at event {last}, but its head is event {self.event_head()[0]}",
                where="events",
                remedy=_REMEDY,
            )
        return last

    def _every_event(self) -> Iterator[Event]:
        after = 0
        while block := self.events(after):
            yield from block
            after = block[-1].seq


class EventWrites(EventReads, WriteBase):
    """Writing the audit log."""

    def archived_events(self, first: int, archive: EventArchive) -> None:
        """Let the events from ``first`` go: ``archive`` holds them.

        Raises StoreBusy if they have gone already.
        """
        archives = self.event_archives()
        if first != (archives[-1].last if archives else 0) + 1:
            raise StoreBusy("events were archived meanwhile", remedy="call the command again")
        table = schema.events
        self._connection.execute(delete(table).where(table.c.seq <= archive.last))
        rows = [[each.last, each.head, each.blob] for each in [*archives, archive]]
        self.set_meta(_ARCHIVES, to_json(rows))

    def event(self, kind: str, stream: str = "", repository: str = "", **detail: object) -> Event:
        """Append an event; it is there if and only if the transaction commits.

        ``detail`` may hold text, integers, booleans, times, paths, lists and mappings.
        """
        seq, previous = self.event_head()
        blank = Event(
            seq=seq + 1,
            time=self.now(),
            kind=kind,
            actor=self._actor,
            stream=stream,
            repository=repository,
            detail={name: _plain(value) for name, value in detail.items()},
            previous=previous,
            digest=NO_EVENT,
        )
        digest = _digest(blank)
        self._connection.execute(
            insert(schema.events).values(
                seq=blank.seq,
                time=format_time(blank.time),
                kind=kind,
                actor=blank.actor,
                stream=stream,
                repository=repository,
                detail=canonical.dumps(blank.detail).decode("ascii"),
                previous=previous,
                digest=digest,
            )
        )
        self.set_meta(_HEAD, f"{blank.seq} {digest}")
        return Event(
            blank.seq,
            blank.time,
            kind,
            blank.actor,
            stream,
            repository,
            blank.detail,
            previous,
            digest,
        )


def _digest(event: Event) -> Digest:
    body = canonical.dumps(
        {
            "actor": event.actor,
            "detail": event.detail,
            "kind": event.kind,
            "repository": event.repository,
            "seq": event.seq,
            "stream": event.stream,
            "time": format_time(event.time),
        }
    )
    return sha256_of(event.previous.encode("ascii") + body)


def _event(row: Row) -> Event:
    where = f"event {row['seq']}"
    return Event(
        seq=row["seq"],
        time=parse_time(row["time"]),
        kind=row["kind"],
        actor=row["actor"],
        stream=row["stream"],
        repository=row["repository"],
        detail=from_json(row["detail"], where),
        previous=Digest(row["previous"]),
        digest=Digest(row["digest"]),
    )


def _plain(value: object) -> object:
    """``value`` as plain JSON. Bytes of a path that are not UTF-8 are shown escaped."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if value is None or isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, PurePath):
        return _plain(str(value))
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        items = sorted(value) if isinstance(value, set | frozenset) else value
        return [_plain(item) for item in items]
    raise TypeError(f"an event cannot hold {type(value).__name__}")
