"""The head of a part: what it claims to be, and copies of the signed metadata.

Reading is lenient where the head may be damaged (the payload can still be used)
and strict in sizes: nothing is read before its size was checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO, Final

from manifests import canonical
from manifests.bundle.manifest import MAX_MANIFEST, MAX_NUMBER, MAX_PARTS, WIRE, wire_of
from manifests.bundle.parts import MAX_TABLE
from manifests.bundle.tar import BLOCK, member_header, member_size, padding, parse_header
from manifests.canonical import Record
from manifests.caps import MAX_CHAIN, MAX_CHAIN_BYTES, MAX_DOCUMENT
from manifests.digest import Digest
from manifests.errors import MalformedPart, SluiceError
from manifests.state import is_name

PART: Final = "PART"
MANIFEST: Final = "manifest.json"
RELEASES: Final = ("targets.json", "timestamp.json")
TABLE: Final = "parts.tsv"
PAD: Final = "PAD"
ALIGN: Final = 4096
"""Heads are multiples of this many bytes, so that payloads begin on a page."""
PLAIN_HEAD: Final = ALIGN
"""The size of a head without copies."""
MAX_RECORD: Final = 1024
_MAX_HEAD: Final = 64 << 20
_SKIP: Final = 64 << 10
"""Bytes without any header of ours after which a file is foreign."""

_ROOT = re.compile(r"root/([1-9][0-9]{0,3})\.root\.json")
_FIELDS = ("epoch", "length", "manifest", "offset", "part", "parts", "sequence", "stream", "wire")


@dataclass(frozen=True, slots=True)
class PartRecord:
    """What a file claims to be. A hint; authority is the signed manifest."""

    stream: str
    epoch: int
    sequence: int
    part: int
    parts: int
    offset: int
    length: int
    manifest: Digest
    wire: int = WIRE

    def encode(self) -> bytes:
        return canonical.dumps({name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def parse(cls, data: bytes) -> PartRecord:
        """Raises MalformedManifest, NotCanonical, WrongVersion."""
        value = canonical.loads(data, cap=MAX_RECORD, where=PART)
        wire = wire_of(value, PART)
        record = Record(value, where=PART, required=_FIELDS)
        stream = record.text("stream", most=64)
        if not is_name(stream):
            record.fail("not a stream name")
        parts = record.number("parts", least=1, most=MAX_PARTS)
        offset = record.number("offset", least=BLOCK)
        return cls(
            stream=stream,
            epoch=record.number("epoch", least=1),
            sequence=record.number("sequence", least=1),
            part=record.number("part", least=1, most=parts),
            parts=parts,
            offset=offset,
            length=record.number("length", most=MAX_NUMBER - offset),
            manifest=record.digest("manifest"),
            wire=wire,
        )


@dataclass(frozen=True, slots=True)
class Copies:
    """The signed metadata of a bundle, as bytes. ``release`` is of role ``role``."""

    manifest: bytes
    release: bytes
    roots: tuple[bytes, ...]
    table: bytes
    role: str = "targets"

    def members(self) -> Iterator[tuple[str, bytes]]:
        """Names and bytes in the order of the head."""
        yield MANIFEST, self.manifest
        yield f"{self.role}.json", self.release
        for number, root in enumerate(self.roots, 1):
            yield f"root/{number}.root.json", root
        yield TABLE, self.table


@dataclass(frozen=True, slots=True)
class Head:
    """What could be read of a head; ``problem`` says why not all of it."""

    record: PartRecord | None
    copies: Copies | None
    problem: SluiceError | None = None


def head_room(sizes: Sequence[int]) -> int:
    """The size of a head that carries copies of these sizes."""
    used = member_size(MAX_RECORD) + sum(map(member_size, sizes))
    return -(-used // ALIGN) * ALIGN


def build_head(record: PartRecord, copies: Copies | None) -> bytes:
    """The head of ``record.offset`` bytes. Raises MalformedPart if it does not fit."""
    members = [(PART, record.encode()), *(copies.members() if copies else ())]
    head = bytearray()
    for name, data in members:
        head += member_header(name, len(data)) + data + bytes(padding(len(data)))
    rest = record.offset - len(head)
    if rest < 0:
        raise MalformedPart(
            f"the signed documents need {-rest} bytes more than were reserved",
            where=f"part {record.part}",
            remedy="reject the draft and pack again",
        )
    if rest:
        head += member_header(PAD, rest - BLOCK) + bytes(rest - BLOCK)
    return bytes(head)


def read_head(file: BinaryIO, *, copies: bool = True) -> Head | None:
    """Read the head at the start of ``file``; None if nothing in it looks like a part.

    ``copies`` False reads only the record, if that is whole.
    """
    record: PartRecord | None = None
    problem: SluiceError | None = None
    found: dict[str, bytes] = {}
    for name, data in _members(file):
        if name == PART:
            try:
                record = PartRecord.parse(data)
            except SluiceError as error:
                problem = error
            if record is not None and not copies:
                return Head(record, None)
        else:
            found.setdefault(name, data)
    if record is None and problem is None:
        if not found:
            return None
        problem = MalformedPart("the record PART is damaged")
    read = _copies(found)
    if found and read is None and problem is None:
        problem = MalformedPart("the signed metadata in its head is damaged")
    return Head(record, read, problem)


def _copies(found: dict[str, bytes]) -> Copies | None:
    role = next((name for name in RELEASES if name in found), None)
    roots: list[bytes] = []
    while (root := found.get(f"root/{len(roots) + 1}.root.json")) is not None:
        roots.append(root)
    if role is None or MANIFEST not in found or TABLE not in found:
        return None
    return Copies(
        found[MANIFEST], found[role], tuple(roots), found[TABLE], role.removesuffix(".json")
    )


def _members(file: BinaryIO) -> Iterator[tuple[str, bytes]]:
    """The head's members; blocks that are none are passed over, up to a limit."""
    position = skipped = roots = 0
    while position < _MAX_HEAD and skipped <= _SKIP:
        file.seek(position)
        header = parse_header(file.read(BLOCK))
        if header is None:
            if file.read(1) == b"":
                return
            position += BLOCK
            skipped += BLOCK
            continue
        name, size = header
        cap = _cap(name)
        if cap is None:
            return
        if size <= cap:
            data = file.read(size)
            roots += len(data) if name.startswith("root/") else 0
            if len(data) == size and roots <= MAX_CHAIN_BYTES:
                yield name, data
        position += member_size(size)


def _cap(name: str) -> int | None:
    """How large a member of this name may be; None for what ends a head."""
    if name in RELEASES:
        return MAX_DOCUMENT
    match = _ROOT.fullmatch(name)
    if match is not None:
        return MAX_DOCUMENT if int(match[1]) <= MAX_CHAIN else 0
    return {PART: MAX_RECORD, MANIFEST: MAX_MANIFEST, TABLE: MAX_TABLE}.get(name)
