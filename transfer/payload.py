"""The payload of a part: a function of index and blobs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from manifests.bundle import BLOCK, Index, IndexEntry, Location, TextRef, member_header, padding
from manifests.bundle.head import PAD
from manifests.digest import Digest
from manifests.errors import BlobDamaged
from store.hashing import SideHash
from store.store import Store

_READ: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class _Member:
    """One fragment of the stored blob ``stored`` of ``size`` bytes."""

    stored: Digest
    size: int
    number: int
    count: int
    at: Location


class Payload:
    """Gives the payloads of all parts, in order, block by block.

    With ``verify`` each blob's digest is checked on the way; all parts must then
    be asked for in order. Raises BlobMissing and BlobDamaged (where: the digest).
    """

    def __init__(self, store: Store, index: Index, ref: TextRef, *, verify: bool = False) -> None:
        self._store = store
        self._index = index
        self._ref = ref
        self._verify = verify
        self._hash: SideHash | None = None
        self._open: tuple[Digest, BinaryIO] | None = None

    def close(self) -> None:
        """Release the file that is open and the thread that hashes."""
        if self._open is not None:
            self._open[1].close()
            self._open = None
        if self._hash is not None:
            self._hash.digest()
            self._hash = None

    def blocks(self, part: int) -> Iterator[bytes]:
        """The payload of ``part``."""
        position = 0
        for member in self._members(part):
            yield from _pad(member.at.offset - BLOCK - position)
            name = f"{member.stored}.{member.number}" if member.number else str(member.stored)
            yield member_header(name, member.at.length)
            yield from self._bytes(member)
            rest = padding(member.at.length)
            if rest:
                yield bytes(rest)
            position = member.at.offset + member.at.length + rest

    def _members(self, part: int) -> Iterator[_Member]:
        index = self._ref
        yield from _fragments(index.digest, index.size, index.locations, part)
        for entry in self._index.of_part(part):
            yield from _entry_fragments(entry, part)

    def _bytes(self, member: _Member) -> Iterator[bytes]:
        file = self._file(member)
        left = member.at.length
        while left:
            block = file.read(min(left, _READ))
            if not block:
                raise _damaged(member.stored, "it is too short")
            if self._hash is not None:
                self._hash.update(block)
            left -= len(block)
            yield block
        if member.number == member.count - 1:
            self._finish(member, file)

    def _file(self, member: _Member) -> BinaryIO:
        """The blob, at the start of the fragment."""
        if self._open is not None and self._open[0] == member.stored and member.number:
            return self._open[1]
        self.close()
        file = self._store.blobs.open(member.stored)
        self._open = (member.stored, file)
        if member.number:
            file.seek(self._start(member))
        elif self._verify:
            self._hash = SideHash()
        return file

    def _start(self, member: _Member) -> int:
        """How many bytes lie in the fragments before this one."""
        if member.stored == self._ref.digest and member.size == self._ref.size:
            locations = self._ref.locations
        else:
            entries = self._index.of_part(member.at.part)
            locations = next(e.locations for e in entries if e.stored == member.stored)
        return sum(at.length for at in locations[: member.number])

    def _finish(self, member: _Member, file: BinaryIO) -> None:
        if self._hash is not None:
            longer = file.read(1)
            found, self._hash = self._hash.digest(), None
            if longer or found != member.stored:
                raise _damaged(member.stored, "its bytes have another digest")
        self.close()


def _entry_fragments(entry: IndexEntry, part: int) -> Iterator[_Member]:
    return _fragments(entry.stored, entry.stored_size, entry.locations, part)


def _fragments(
    stored: Digest, size: int, locations: tuple[Location, ...], part: int
) -> Iterator[_Member]:
    for number, at in enumerate(locations):
        if at.part == part:
            yield _Member(stored, size, number, len(locations), at)


def _pad(room: int) -> Iterator[bytes]:
    """A member of zeros that fills ``room`` bytes."""
    if room:
        yield member_header(PAD, room - BLOCK)
        room -= BLOCK
    while room:
        yield bytes(min(room, _READ))
        room -= min(room, _READ)


def _damaged(digest: Digest, why: str) -> BlobDamaged:
    return BlobDamaged(
        why,
        where=digest,
        remedy="run `sluice verify --repair`, then `sluice sync` fetches it again",
    )


def gathered(blocks: Iterator[bytes], size: int = 1 << 18) -> Iterator[bytes]:
    """Small blocks gathered; large ones pass as they are."""
    waiting = bytearray()
    for block in blocks:
        if len(block) >= size:
            if waiting:
                yield bytes(waiting)
                waiting.clear()
            yield block
            continue
        waiting += block
        if len(waiting) >= size:
            yield bytes(waiting)
            waiting.clear()
    if waiting:
        yield bytes(waiting)
