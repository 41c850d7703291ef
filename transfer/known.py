"""The bundles that an inside knows: authentic manifests, and which parts are done."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import cached_property, partial

from manifests.bundle import Copies, Manifest, PartRow, parse_parts
from manifests.bundle.parts import MAX_TABLE
from manifests.digest import Digest
from store.ledger import ReadTransaction, WriteTransaction
from store.records import BundleRecord, PartRecord, PinKind
from store.store import Store
from transfer.plan import read_manifest


class PartState(StrEnum):
    """How far an inside has come with a part."""

    MISSING = "missing"
    WAITING = "waiting"
    """Here, but a blob in it goes on in a part that is not."""
    DONE = "done"


@dataclass(eq=False)
class Known:
    """One authentic bundle of an inside. Its manifest is read when it is first asked for,
    since of all that ever came only few matter."""

    stream: str
    epoch: int
    sequence: int
    previous: Digest | None
    kind: str
    digest: Digest
    """Of its manifest."""
    parts: int
    read: Callable[[], Manifest] = field(repr=False)
    rows: tuple[PartRow, ...] = ()
    """Only while it is open."""
    done: set[int] = field(default_factory=set)
    """Parts of which nothing more is needed."""
    here: set[int] = field(default_factory=set)
    """Parts that lie there and wait for others; known only while they are looked at."""
    indexed: bool = False
    """Its index is here, checked and pinned."""
    imported: bool = False
    """Nothing more is needed of any part."""
    pinned: bool = True
    """Its blobs are kept although perhaps no snapshot names them."""

    @classmethod
    def of(cls, manifest: Manifest, digest: Digest, rows: tuple[PartRow, ...]) -> Known:
        """A bundle that has just come."""
        return cls(
            manifest.stream,
            manifest.epoch,
            manifest.sequence,
            manifest.previous,
            manifest.kind,
            digest,
            len(rows),
            lambda: manifest,
            rows,
        )

    @cached_property
    def manifest(self) -> Manifest:
        """Raises BlobMissing, MalformedManifest."""
        return self.read()

    @property
    def name(self) -> str:
        return f"{self.epoch}/{self.sequence}"

    @property
    def order(self) -> tuple[int, int]:
        """Epoch and sequence."""
        return self.epoch, self.sequence

    @property
    def heartbeat(self) -> bool:
        return self.kind == "heartbeat"

    @property
    def claims(self) -> dict[int, Digest]:
        """Which manifest stands at which sequence, by this one."""
        claims = {self.sequence: self.digest}
        return claims if self.previous is None else claims | {self.sequence - 1: self.previous}

    @property
    def key(self) -> str:
        """The beginning of its pins and holds."""
        return f"in:{self.stream}:{self.epoch}:{self.sequence}"

    def pins(self) -> tuple[str, str]:
        """The keys of its pins: its documents, and what its index lists."""
        return f"{self.key}:documents", f"{self.key}:lists"

    def row(self, part: int) -> PartRow:
        return self.rows[part - 1]

    def lost_parts(self) -> list[int]:
        """What has to come again: neither done nor here."""
        return [part for part in self.missing_parts() if part not in self.here]

    def missing_parts(self) -> list[int]:
        return [row.part for row in self.rows if row.part not in self.done]


def load_known(store: Store, tx: ReadTransaction, stream: str) -> dict[Digest, Known]:
    """All bundles of a stream by manifest digest; part tables only of open ones."""
    found = {}
    pinned = {pin.key for pin in tx.pins(f"in:{stream}:")}
    for record in tx.bundles(stream):
        known = Known(
            stream,
            record.epoch,
            record.sequence,
            Digest(record.previous) if record.previous else None,
            record.kind,
            record.manifest,
            record.parts,
            partial(read_manifest, store, record.manifest),
            imported=record.imported is not None,
        )
        if not known.imported:
            table = store.small(known.manifest.part_table.digest, MAX_TABLE)
            known.rows = parse_parts(table, record.parts)
            known.done = {
                part.index
                for part in tx.parts(stream, record.epoch, record.sequence)
                if part.state == PartState.DONE
            }
        documents, lists = known.pins()
        known.indexed = lists in pinned
        known.pinned = known.indexed or documents in pinned
        found[record.manifest] = known
    return found


def keep_documents(store: Store, copies: Copies) -> list[Digest]:
    """Keep the signed metadata as blobs, in the order of the head."""
    with store.blobs.batch() as batch:
        return [batch.put_bytes(data)[0] for _, data in copies.members()]


def record_bundle(
    tx: WriteTransaction, known: Known, documents: list[Digest], now: datetime
) -> None:
    """Remember an authentic bundle and pin its documents."""
    manifest = known.manifest
    tx.add_bundle(
        BundleRecord(
            stream=manifest.stream,
            epoch=manifest.epoch,
            sequence=manifest.sequence,
            kind=manifest.kind,
            manifest=known.digest,
            previous=manifest.previous or "",
            state=manifest.state.digest,
            index=manifest.index.digest,
            created=manifest.created,
            size=sum(row.offset + row.length for row in known.rows),
            parts=len(known.rows),
            base=[
                [row.repository, row.format, row.serial, row.tree, row.tree_size]
                for row in manifest.base.rows
            ],
            retain=manifest.retain,
            received=now,
        )
    )
    for row in known.rows:
        set_part(tx, known, row, PartState.MISSING)
    tx.pin(known.pins()[0], sorted(set(documents)), PinKind.BLOBS, "received bundle")


def set_part(tx: WriteTransaction, known: Known, row: PartRow, state: PartState) -> None:
    """Remember how far an inside has come with a part."""
    tx.set_part(
        PartRecord(
            known.stream, known.epoch, known.sequence, row.part, "", row.length, row.digest, state
        )
    )


def note_waiting(store: Store, bundles: Iterable[Known]) -> None:
    """Remember which parts of open bundles lie there, so that others can say what is missing."""
    changed: list[tuple[Known, PartRow, PartState]] = []
    with store.ledger.read() as tx:
        for known in bundles:
            if known.imported:
                continue
            parts = tx.parts(known.stream, known.epoch, known.sequence)
            before = {part.index: part.state for part in parts}
            for row in known.rows:
                state = PartState.WAITING if row.part in known.here else PartState.MISSING
                state = PartState.DONE if row.part in known.done else state
                if before.get(row.part) != state:
                    changed.append((known, row, state))
    if changed:
        with store.ledger.write() as tx:
            for known, row, state in changed:
                set_part(tx, known, row, state)
