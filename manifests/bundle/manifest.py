"""The manifest: the small signed text that says what a bundle is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from manifests import canonical
from manifests.canonical import Record
from manifests.digest import Digest, is_digest, sha256_of
from manifests.errors import MalformedManifest, WrongVersion
from manifests.state import MAX_SERIAL, StateRow, StateTable, format_time, is_name
from manifests.version import VERSION, WRITER

WIRE: Final = 2
"""The newest wire, which is written unless a stream asks for an older one."""
WIRES: Final = (1, WIRE)
"""The wires that are read and written here."""
MAX_MANIFEST: Final = 1_000_000
"""Bytes of a manifest."""
MAX_PARTS: Final = 99_999
MAX_NUMBER: Final = 2**53 - 1
KINDS: Final = ("full", "delta", "heartbeat")

_WORD = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_WRITER = re.compile(r"[A-Za-z][A-Za-z0-9 .+~_-]{0,63}")


def wire_of(value: object, where: str) -> int:
    """The wire of a manifest or a record PART; raises WrongVersion for an unknown one.

    ``writer`` (from wire 2 on) says which program to install; later wires keep that field.
    """
    found = value.get("wire") if isinstance(value, dict) else WIRE
    if type(found) is int and found in WIRES:
        return found
    named = value.get("writer") if isinstance(value, dict) else None
    program = named if isinstance(named, str) and _WRITER.fullmatch(named) else ""
    raise WrongVersion(
        f"wire version {str(found)[:20]}{program and f', written by {program}'};"
        f" this is Sluice {VERSION}, which reads {' and '.join(map(str, WIRES))}",
        where=where,
        remedy=f"install {program or 'the version of Sluice that the outside runs'} here, or a"
        " newer one: the parts wait and are imported then; or outside: `wire:"
        f" {WIRE}` for this stream, then `pack --full`",
    )


@dataclass(frozen=True, slots=True)
class Location:
    """``length`` bytes at ``offset`` in the payload of part number ``part`` (from 1)."""

    part: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class TextRef:
    """A text of ``size`` bytes; ``locations`` only if it lies in payloads."""

    digest: Digest
    size: int
    locations: tuple[Location, ...] = ()


@dataclass(frozen=True, slots=True)
class Parity:
    """How lost parts are made again: ``data`` parts are followed by ``parity`` parts."""

    data: int
    parity: int = 0
    algorithm: str = "none"

    @property
    def parts(self) -> int:
        return self.data + self.parity


@dataclass(frozen=True, slots=True)
class EventHead:
    """The newest event of the outside's audit log."""

    sequence: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one bundle is.

    - ``previous``: digest of the manifest before it, None for sequence 1.
    - ``created``: UTC. ``kind``: ``full`` (base is empty), ``delta``, ``heartbeat``.
    - ``state``: the complete state table. ``base``: the snapshots whose blobs the
      inside is assumed to hold. An inside that holds the base, or any state that
      was released between it and this bundle, becomes complete by this bundle.
    - ``retain``: by repository, the lowest serial that a later bundle may use as
      base; the inside keeps it and everything newer.
    - ``together``: groups of repositories that publish at once or not at all.
    - ``orders``: signed documents (text); none in version 1.
    - ``events``: head of the outside's audit log.
    - ``part_table`` and ``index``: digest and size; the index also its locations.
    - ``blobs`` and ``stored``: the number of index lines, and their stored bytes.
    - ``provenance``: a blob of this bundle that says where its snapshots came from
      (`manifests.provenance`); None in wire 1. ``writer``: the program; "" in wire 1.
    """

    stream: str
    epoch: int
    sequence: int
    previous: Digest | None
    created: datetime
    kind: str
    state: StateTable
    base: StateTable
    part_table: TextRef
    index: TextRef
    blobs: int
    stored: int
    parity: Parity
    events: EventHead | None = None
    retain: Mapping[str, int] = field(default_factory=dict)
    together: tuple[tuple[str, ...], ...] = ()
    orders: tuple[str, ...] = ()
    wire: int = WIRE
    provenance: TextRef | None = None
    writer: str = WRITER

    def in_wire(self, wire: int) -> Manifest:
        """The same, not written yet, in another wire and by this program."""
        writer = WRITER if wire > 1 else ""
        return replace(self, wire=wire, writer=writer, provenance=None)

    def encode(self) -> bytes:
        """Canonical bytes. Raises MalformedManifest above `MAX_MANIFEST`."""
        provenance = self.provenance and {
            "digest": self.provenance.digest,
            "size": self.provenance.size,
        }
        later = {} if self.wire == 1 else {"provenance": provenance, "writer": self.writer}
        data = canonical.dumps(
            {
                "base": _rows(self.base),
                "blobs": self.blobs,
                "created": format_time(self.created),
                "epoch": self.epoch,
                "events": self.events
                and {"digest": self.events.digest, "sequence": self.events.sequence},
                "index": {
                    "digest": self.index.digest,
                    "locations": [[at.part, at.offset, at.length] for at in self.index.locations],
                    "size": self.index.size,
                },
                "kind": self.kind,
                "orders": self.orders,
                "parity": {
                    "algorithm": self.parity.algorithm,
                    "data": self.parity.data,
                    "parity": self.parity.parity,
                },
                "part_table": {"digest": self.part_table.digest, "size": self.part_table.size},
                "previous": self.previous,
                "retain": dict(self.retain),
                "sequence": self.sequence,
                "state": _rows(self.state),
                "stored": self.stored,
                "stream": self.stream,
                "together": self.together,
                "wire": self.wire,
            }
            | later
        )
        if len(data) > MAX_MANIFEST:
            raise MalformedManifest(
                f"the manifest would have {len(data)} bytes, at most {MAX_MANIFEST} are allowed",
                where=self.stream,
                remedy="split the repositories over more streams, or choose larger parts",
            )
        return data

    @property
    def digest(self) -> Digest:
        return sha256_of(self.encode())

    @classmethod
    def parse(cls, data: bytes, *, where: str = "manifest") -> Manifest:
        """Read what `encode` writes.

        Raises MalformedManifest, NotCanonical, and WrongVersion for another wire.
        """
        value = canonical.loads(data, cap=MAX_MANIFEST, where=where)
        wire = wire_of(value, where)
        record = Record(value, where=where, required=_FIELDS if wire == 1 else _FIELDS_2)
        stream = record.text("stream", most=64)
        if not is_name(stream):
            record.fail(f"not a stream name: {stream!r}")
        kind = record.text("kind", most=16)
        if kind not in KINDS:
            record.fail(f"not a kind of bundle: {kind!r}")
        state = _table(record, "state")
        base = _table(record, "base")
        if kind == "full" and base.rows:
            record.fail("a full bundle has no base")
        sequence = record.number("sequence", least=1)
        previous = None if record.value["previous"] is None else record.digest("previous")
        if (previous is None) != (sequence == 1):
            record.fail("only sequence 1 has no previous manifest")
        parity = _parity(record)
        table = record.record("part_table", required=("digest", "size"))
        return cls(
            stream=stream,
            epoch=record.number("epoch", least=1),
            sequence=sequence,
            previous=previous,
            created=record.time("created"),
            kind=kind,
            state=state,
            base=base,
            part_table=TextRef(table.digest("digest"), table.number("size")),
            index=_index(record, parity),
            blobs=record.number("blobs"),
            stored=record.number("stored"),
            parity=parity,
            events=_events(record),
            retain=_retain(record),
            together=_together(record),
            orders=_orders(record),
            wire=wire,
            provenance=_provenance(record) if wire > 1 else None,
            writer=record.text("writer", most=64, pattern=_WRITER) if wire > 1 else "",
        )


_FIELDS = (
    "base",
    "blobs",
    "created",
    "epoch",
    "events",
    "index",
    "kind",
    "orders",
    "parity",
    "part_table",
    "previous",
    "retain",
    "sequence",
    "state",
    "stored",
    "stream",
    "together",
    "wire",
)
_FIELDS_2 = (*_FIELDS, "provenance", "writer")


def _rows(table: StateTable) -> list[list[str | int]]:
    return [
        [row.repository, row.format, row.serial, str(row.tree), row.tree_size] for row in table.rows
    ]


def _number(record: Record, value: object, what: str, least: int = 0) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_NUMBER:
        record.fail(f"{what} must be an integer from {least}")
    return value


def _table(record: Record, name: str) -> StateTable:
    rows = []
    for item in record.items(name, most=10_000):
        if not isinstance(item, list) or len(item) != 5:
            record.fail(f"{name}: a row that has not five fields")
        repository, format_name, serial, tree, size = item
        if not isinstance(repository, str) or not isinstance(format_name, str):
            record.fail(f"{name}: repository and format must be text")
        if not isinstance(tree, str) or not is_digest(tree):
            record.fail(f"{name}: a tree must be a digest")
        row = (_number(record, serial, "serial", 1), _number(record, size, "tree size"))
        rows.append(StateRow(repository, format_name, row[0], Digest(tree), row[1]))
    return StateTable(tuple(rows))


def _parity(record: Record) -> Parity:
    entry = record.record("parity", required=("algorithm", "data", "parity"))
    parity = Parity(
        entry.number("data", least=1, most=MAX_PARTS),
        entry.number("parity", most=MAX_PARTS),
        entry.text("algorithm", pattern=_WORD),
    )
    if (parity.algorithm == "none") != (parity.parity == 0):
        entry.fail("parity parts and no algorithm, or the reverse")
    return parity


def _index(record: Record, parity: Parity) -> TextRef:
    entry = record.record("index", required=("digest", "locations", "size"))
    locations = []
    for item in entry.items("locations", most=MAX_PARTS):
        if not isinstance(item, list) or len(item) != 3:
            entry.fail("a location that has not three fields")
        part, offset, length = (_number(entry, number, "a location") for number in item)
        if not 1 <= part <= parity.data:
            entry.fail(f"a location in part {part} of {parity.data}")
        locations.append(Location(part, offset, length))
    size = entry.number("size")
    if sum(at.length for at in locations) != size:
        entry.fail("the locations do not add up to the size")
    return TextRef(entry.digest("digest"), size, tuple(locations))


def _events(record: Record) -> EventHead | None:
    if record.value["events"] is None:
        return None
    entry = record.record("events", required=("digest", "sequence"))
    return EventHead(entry.number("sequence"), entry.digest("digest"))


def _provenance(record: Record) -> TextRef | None:
    if record.value["provenance"] is None:
        return None
    entry = record.record("provenance", required=("digest", "size"))
    return TextRef(entry.digest("digest"), entry.number("size"))


def _retain(record: Record) -> dict[str, int]:
    floors = record.mapping("retain", most=10_000)
    for name, serial in floors.items():
        if not is_name(name):
            record.fail(f"retain: not a repository name: {name[:80]!r}")
        if _number(record, serial, "retain", 1) > MAX_SERIAL:
            record.fail("retain: a serial out of range")
    return {name: int(str(serial)) for name, serial in floors.items()}


def _together(record: Record) -> tuple[tuple[str, ...], ...]:
    groups = []
    for item in record.items("together", most=1000):
        if not isinstance(item, list) or not all(
            isinstance(name, str) and is_name(name) for name in item
        ):
            record.fail("together: a group that is not a list of repositories")
        groups.append(tuple(str(name) for name in item))
    return tuple(groups)


def _orders(record: Record) -> tuple[str, ...]:
    orders = record.items("orders", most=1000)
    if not all(isinstance(order, str) for order in orders):
        record.fail("orders: an order that is not text")
    return tuple(str(order) for order in orders)
