"""Crossings: bundles, their parts, drafts, the trust state, and arrivals seen before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TypeVar

from sqlalchemy import delete, select, update

from manifests.digest import Digest
from manifests.errors import StoreError
from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import (
    ReadBase,
    Row,
    WriteBase,
    from_json,
    optional_time,
    read_time,
    to_json,
)
from store.records import BundleRecord, DraftRecord, PartRecord, Seen

_Item = TypeVar("_Item")
_TIMES = frozenset({"packed", "released", "sent", "received", "imported"})


class BundleReads(ReadBase):
    """Reading crossings."""

    def bundle(self, stream: str, epoch: int, sequence: int) -> BundleRecord | None:
        """One bundle, or None."""
        table = schema.bundles
        row = self._one(
            table,
            table.c.stream == stream,
            table.c.epoch == epoch,
            table.c.sequence == sequence,
        )
        return None if row is None else _bundle(row)

    def bundles(self, stream: str | None = None, limit: int = 0) -> list[BundleRecord]:
        """Bundles, newest first; ``limit`` 0 gives all."""
        table = schema.bundles
        where = [] if stream is None else [table.c.stream == stream]
        order = (table.c.epoch.desc(), table.c.sequence.desc(), table.c.stream)
        return [_bundle(row) for row in self._all(table, *where, order=order, limit=limit)]

    def parts(self, stream: str, epoch: int, sequence: int) -> list[PartRecord]:
        """The parts of a bundle by index."""
        table = schema.parts
        rows = self._all(
            table,
            table.c.stream == stream,
            table.c.epoch == epoch,
            table.c.sequence == sequence,
            order=(table.c.index,),
        )
        return [PartRecord(**{**row, "digest": Digest(row["digest"])}) for row in rows]

    def draft(self, stream: str, id: str) -> DraftRecord | None:
        """One draft, or None."""
        table = schema.drafts
        row = self._one(table, table.c.stream == stream, table.c.id == id)
        return None if row is None else _draft(row)

    def drafts(self, stream: str | None = None) -> list[DraftRecord]:
        """Drafts, oldest first."""
        table = schema.drafts
        where = [] if stream is None else [table.c.stream == stream]
        order = (table.c.created, table.c.stream, table.c.id)
        return [_draft(row) for row in self._all(table, *where, order=order)]

    def trust_state(self, stream: str) -> bytes | None:
        """The acceptance rules' own state of a stream, as they wrote it."""
        row = self._one(schema.trust, schema.trust.c.stream == stream)
        return None if row is None else bytes(row["state"])

    def seen(self, stream: str, identity: str) -> str | None:
        """The verdict on an arrival that was seen before, or None."""
        table = schema.seen
        row = self._one(
            table, table.c.stream == stream, table.c.identity_digest == self._key(identity)
        )
        return None if row is None else str(row["verdict"])

    def seen_among(self, stream: str, identities: Iterable[str]) -> dict[str, str]:
        """The verdicts on those arrivals that were seen before, by identity."""
        table, found = schema.seen, {}
        asked = {str(self._key(identity)): identity for identity in identities}
        for keys in _chunks(list(asked)):
            query = select(table.c.identity_digest, table.c.verdict).where(
                table.c.stream == stream, table.c.identity_digest.in_(keys)
            )
            for row in self._connection.execute(query):
                found[asked[row.identity_digest]] = str(row.verdict)
        return found

    def all_seen(self, stream: str) -> list[Seen]:
        """All that was seen on a stream, oldest first."""
        table = schema.seen
        rows = self._all(table, table.c.stream == stream, order=(table.c.at, table.c.name))
        return [
            Seen(
                row["stream"],
                row["identity"],
                row["name"],
                row["verdict"],
                parse_time(row["at"]),
            )
            for row in rows
        ]


class BundleWrites(BundleReads, WriteBase):
    """Writing crossings."""

    def add_bundle(self, bundle: BundleRecord) -> None:
        """Add a bundle. Raises StoreError when its number is taken by another manifest."""
        key = {"stream": bundle.stream, "epoch": bundle.epoch, "sequence": bundle.sequence}
        old = self.bundle(**key)  # type: ignore[arg-type]
        if old is not None and old.manifest != bundle.manifest:
            raise StoreError(
                f"bundle {bundle.sequence} exists already with another manifest",
                where=bundle.stream,
            )
        self._put(
            schema.bundles,
            key,
            {
                "kind": bundle.kind,
                "manifest": bundle.manifest,
                "previous": bundle.previous,
                "state": bundle.state,
                "index": bundle.index,
                "created": format_time(bundle.created),
                "size": bundle.size,
                "parts": bundle.parts,
                "base": to_json(list(bundle.base)),
                "retain": to_json(dict(bundle.retain)),
                **{name: optional_time(getattr(bundle, name)) for name in _TIMES},
            },
        )

    def update_bundle(
        self, stream: str, epoch: int, sequence: int, **times: datetime | None
    ) -> None:
        """Set some of packed, released, sent, received, imported.

        Raises StoreError when there is no such bundle.
        """
        unknown = sorted(set(times) - _TIMES)
        if unknown:
            raise TypeError(f"a bundle has no time {unknown[0]!r}")
        table = schema.bundles
        query = (
            update(table)
            .where(
                table.c.stream == stream,
                table.c.epoch == epoch,
                table.c.sequence == sequence,
            )
            .values({name: optional_time(moment) for name, moment in times.items()})
        )
        if self._connection.execute(query).rowcount != 1:
            raise StoreError(f"there is no bundle {sequence}", where=stream)

    def drop_bundle(self, stream: str, epoch: int, sequence: int) -> bool:
        """Forget a bundle and its parts; whether it was there."""
        key = {"stream": stream, "epoch": epoch, "sequence": sequence}
        self._drop(schema.parts, key)
        return self._drop(schema.bundles, key)

    def set_part(self, part: PartRecord) -> None:
        """Add or replace a part."""
        self._put(
            schema.parts,
            {
                "stream": part.stream,
                "epoch": part.epoch,
                "sequence": part.sequence,
                "index": part.index,
            },
            {"name": part.name, "size": part.size, "digest": part.digest, "state": part.state},
        )

    def add_draft(self, stream: str, id: str, data: Mapping[str, object]) -> DraftRecord:
        """Add or replace a draft."""
        draft = DraftRecord(stream, id, self.now(), dict(data))
        self._put(
            schema.drafts,
            {"stream": stream, "id": id},
            {"created": format_time(draft.created), "data": to_json(draft.data)},
        )
        return draft

    def drop_draft(self, stream: str, id: str) -> bool:
        """Forget a draft; whether it was there."""
        return self._drop(schema.drafts, {"stream": stream, "id": id})

    def set_trust_state(self, stream: str, state: bytes) -> None:
        """Set the acceptance rules' state of a stream."""
        self._put(schema.trust, {"stream": stream}, {"state": state})

    def mark_all_seen(
        self, stream: str, arrivals: Iterable[tuple[str, str, str]], at: datetime
    ) -> None:
        """Remember what became of many arrivals: identity, name, verdict of each."""
        rows = [
            {
                "stream": stream,
                "identity_digest": self._key(identity),
                "identity": self._printable(identity),
                "name": self._printable(name),
                "verdict": verdict,
                "at": format_time(at),
            }
            for identity, name, verdict in arrivals
        ]
        self._put_all(schema.seen, ("stream", "identity_digest"), rows)

    def mark_seen(self, stream: str, identity: str, name: str, verdict: str, at: datetime) -> None:
        """Remember what became of an arrival."""
        self._put(
            schema.seen,
            {"stream": stream, "identity_digest": self._key(identity)},
            {
                "identity": self._printable(identity),
                "name": self._printable(name),
                "verdict": verdict,
                "at": format_time(at),
            },
        )

    def forget_seen(self, stream: str, older_than: datetime) -> int:
        """Forget arrivals that were seen before ``older_than``; how many."""
        table = schema.seen
        query = delete(table).where(table.c.stream == stream, table.c.at < format_time(older_than))
        return self._connection.execute(query).rowcount


def _chunks(items: list[_Item]) -> Iterator[list[_Item]]:
    """A few hundred at a time: databases limit the parameters of a query."""
    for start in range(0, len(items), 500):
        yield items[start : start + 500]


def _bundle(row: Row) -> BundleRecord:
    where = f"bundle {row['sequence']} of {row['stream']}"
    return BundleRecord(
        stream=row["stream"],
        epoch=row["epoch"],
        sequence=row["sequence"],
        kind=row["kind"],
        manifest=Digest(row["manifest"]),
        previous=row["previous"],
        state=Digest(row["state"]),
        index=None if row["index"] is None else Digest(row["index"]),
        created=parse_time(row["created"]),
        size=row["size"],
        parts=row["parts"],
        base=from_json(row["base"], where),
        retain=from_json(row["retain"], where),
        packed=read_time(row["packed"]),
        released=read_time(row["released"]),
        sent=read_time(row["sent"]),
        received=read_time(row["received"]),
        imported=read_time(row["imported"]),
    )


def _draft(row: Row) -> DraftRecord:
    return DraftRecord(
        stream=row["stream"],
        id=row["id"],
        created=parse_time(row["created"]),
        data=from_json(row["data"], f"draft {row['id']}"),
    )
