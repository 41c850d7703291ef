"""The index: what each blob in the payloads becomes, and where its bytes lie.

The text is read in place, like a tree: lines stand in the order of the payload,
so the lines of one part are found by bisection.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from manifests.bundle.manifest import Location
from manifests.bundle.parts import PartRow
from manifests.digest import Digest
from manifests.errors import MalformedManifest

RAW: Final = "raw"
TREE_DELTA: Final = "tree-delta"
CODECS: Final = (RAW, TREE_DELTA)
LOCATION: Final = 5 + 1 + 13 + 1 + 10
"""Bytes of a location in a line."""
MAX_LINE: Final = 4 << 20
"""Bytes of a line: a blob may lie in as many parts as there can be."""

_NUMBER = rb"(?:0|[1-9][0-9]{0,15})"
_LINE = re.compile(
    rb"([0-9a-f]{64})\t(" + _NUMBER + rb")\t([a-z0-9][a-z0-9_-]{0,31})\t([0-9a-f]{64}|-)\t"
    rb"([0-9a-f]{64})\t(" + _NUMBER + rb")\t"
    rb"([0-9]{5}:[0-9]{13}:[0-9]{10}(?:,[0-9]{5}:[0-9]{13}:[0-9]{10})*)\n"
)


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """One blob of a bundle. Sizes are bytes; ``base`` is None where the codec needs none."""

    digest: Digest
    size: int
    codec: str
    base: Digest | None
    stored: Digest
    stored_size: int
    locations: tuple[Location, ...]

    def line(self) -> bytes:
        places = ",".join(
            f"{at.part:05d}:{at.offset:013d}:{at.length:010d}" for at in self.locations
        )
        return (
            f"{self.digest}\t{self.size}\t{self.codec}\t{self.base or '-'}\t"
            f"{self.stored}\t{self.stored_size}\t{places}\n"
        ).encode("ascii")


def parse_line(line: bytes) -> IndexEntry:
    """Read one line (with its LF); raises MalformedManifest."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise MalformedManifest("not a line of an index", where=repr(line[:80]))
    locations = tuple(_location(text) for text in match[7].split(b","))
    entry = IndexEntry(
        Digest(match[1].decode()),
        int(match[2]),
        match[3].decode(),
        None if match[4] == b"-" else Digest(match[4].decode()),
        Digest(match[5].decode()),
        int(match[6]),
        locations,
    )
    if sum(at.length for at in locations) != entry.stored_size:
        raise MalformedManifest("locations that do not add up", where=entry.digest)
    if entry.codec == RAW and (
        entry.base is not None or entry.stored != entry.digest or entry.stored_size != entry.size
    ):
        raise MalformedManifest("a raw blob that is stored as another", where=entry.digest)
    if entry.codec == TREE_DELTA and entry.base is None:
        raise MalformedManifest("a tree delta without a base", where=entry.digest)
    if entry.line() != line:
        raise MalformedManifest("not the canonical line of an index", where=entry.digest)
    return entry


def _location(text: bytes) -> Location:
    return Location(int(text[:5]), int(text[6:19]), int(text[20:]))


def check_index(chunks: Iterable[bytes], parts: Sequence[PartRow]) -> Iterator[IndexEntry]:
    """Validate an index that came in, and yield its entries in order.

    Locations must lie in the payloads of ``parts`` (data parts only), in
    ascending order and without overlap. Raises MalformedManifest.
    """
    part, end = 1, 0
    for line in _lines(chunks):
        entry = parse_line(line)
        for at in entry.locations:
            if not 1 <= at.part <= len(parts):
                raise MalformedManifest(f"a location in part {at.part}", where=entry.digest)
            if at.part < part or (at.part == part and at.offset < end):
                raise MalformedManifest("locations out of order", where=entry.digest)
            part, end = at.part, at.offset + at.length
            if end > parts[part - 1].length:
                raise MalformedManifest("a location outside its payload", where=entry.digest)
        yield entry


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        rest += chunk
        *whole, rest = rest.split(b"\n")
        for line in whole:
            yield line + b"\n"
        if len(rest) > MAX_LINE:
            raise MalformedManifest("a line that is too long", where="index")
    if rest:
        raise MalformedManifest("the last line has no end", where="index")


class Index:
    """An index that `check_index` has validated, read in place. Close it after use."""

    def __init__(self, text: bytes | mmap.mmap) -> None:
        self._text = text

    @classmethod
    def map(cls, path: Path) -> Self:
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return cls(b"")
            return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))

    def close(self) -> None:
        if isinstance(self._text, mmap.mmap):
            self._text.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def entries(self) -> Iterator[IndexEntry]:
        """All entries, in the order of the payload."""
        return self._from(0)

    def encoded(self) -> Iterator[IndexEntry]:
        """The entries with another codec than `RAW`; they name a base."""
        for line in _lines(self._blocks()):
            if b"\traw\t-\t" not in line:
                yield parse_line(line)

    def _blocks(self) -> Iterator[bytes]:
        for start in range(0, len(self._text), 1 << 20):
            yield self._text[start : start + (1 << 20)]

    def of_part(self, part: int) -> Iterator[IndexEntry]:
        """The entries that have bytes in ``part``, in order."""
        start = self._first_in(part)
        before = self._before(start)
        if before is not None and any(at.part == part for at in before.locations):
            yield before
        for entry in self._from(start):
            if entry.locations[0].part != part:
                return
            yield entry

    def _from(self, start: int) -> Iterator[IndexEntry]:
        text, end = self._text, len(self._text)
        while start < end:
            stop = text.find(b"\n", start) + 1
            yield parse_line(text[start:stop])
            start = stop

    def _before(self, start: int) -> IndexEntry | None:
        if start == 0:
            return None
        return parse_line(self._text[self._text.rfind(b"\n", 0, start - 1) + 1 : start])

    def _first_in(self, part: int) -> int:
        """The offset of the first line whose blob begins in ``part`` or after it."""
        text = self._text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high) // 2
            start = text.rfind(b"\n", low, middle) + 1 or low
            end = text.find(b"\n", middle) + 1
            if parse_line(text[start:end]).locations[0].part < part:
                low = end
            else:
                high = start
        return low
