"""Where everything goes: a pure function of sizes, in the order of the payload."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from manifests.bundle.head import PLAIN_HEAD
from manifests.bundle.manifest import MAX_PARTS, Location
from manifests.bundle.tar import BLOCK, END, MAX_MEMBER, member_size
from manifests.errors import ConfigError

MIN_COPIES: Final = 8
_SMALL_HEAD: Final = 32
"""Every part carries copies if they take at most one part in so many of it."""
_FEW: Final = 64
"""A blob begins in a part that has room for this fraction of a part, or all of it."""


@dataclass(frozen=True, slots=True)
class HeadPlan:
    """Which parts carry copies: the first and every ``stride``-th after it."""

    full: int
    stride: int

    @classmethod
    def choose(cls, part_size: int, full: int, stored: int, parity: int = 0) -> HeadPlan:
        """For parts of ``part_size`` bytes, heads with copies of ``full`` bytes and
        at least ``stored`` bytes of payload.

        Raises ConfigError if such a head would fill more than half of a part.
        """
        if full * 2 > part_size:
            raise ConfigError(
                f"the signed metadata takes {full} bytes of each part of {part_size}",
                remedy=f"set part_size to at least {4 * full} bytes",
            )
        if full * _SMALL_HEAD <= part_size:
            return cls(full, 1)
        parts = stored // part_size
        return cls(full, max(1, parts // max(MIN_COPIES, parity + 2)))

    def carries(self, part: int) -> bool:
        return (part - 1) % self.stride == 0

    def size(self, part: int) -> int:
        """Bytes of the head of ``part``."""
        return self.full if self.carries(part) else PLAIN_HEAD


@dataclass(frozen=True, slots=True)
class Fragment:
    """``at.length`` bytes from ``start`` of a blob, as fragment ``number`` (from 0)."""

    at: Location
    start: int
    number: int

    def name(self, stored: str) -> str:
        """The name of its tar member."""
        return f"{stored}.{self.number}" if self.number else stored


class Layout:
    """Places blobs one after the other."""

    def __init__(self, part_size: int, heads: HeadPlan) -> None:
        self._part_size = part_size
        self._heads = heads
        self.part = 1
        """The part that is being filled."""
        self.used = 0
        """Bytes of its payload so far."""

    def _room(self) -> int:
        """Bytes that a member may still have in this part."""
        total = self._part_size - self._heads.size(self.part) - len(END)
        room = (total // BLOCK) * BLOCK - self.used - BLOCK
        return max(0, min(room, MAX_MEMBER))

    def place(self, size: int) -> Iterator[Fragment]:
        """Where the next blob of ``size`` bytes goes. Raises ConfigError: too many parts."""
        start = number = 0
        enough = min(size, self._part_size // _FEW)
        while True:
            room = self._room()
            if self.used and (room < enough if number == 0 else room == 0):
                self._next()
                continue
            length = min(size - start, room)
            yield Fragment(Location(self.part, self.used + BLOCK, length), start, number)
            self.used += member_size(length)
            start += length
            number += 1
            if start == size:
                return

    def _next(self) -> None:
        if self.part == MAX_PARTS:
            raise ConfigError(
                f"a bundle of more than {MAX_PARTS} parts", remedy="choose a larger part_size"
            )
        self.part += 1
        self.used = 0
