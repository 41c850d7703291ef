"""How much room heads and index will need, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from manifests.bundle import HeadPlan, head_room
from manifests.bundle.index import LOCATION
from manifests.bundle.parts import MAX_ROW
from manifests.bundle.tar import END, member_size
from transfer.content import Content

_RELEASE_ROOM: Final = 16 << 10
"""Bytes kept for the release document; one signature takes about 200."""


@dataclass(frozen=True, slots=True)
class Room:
    """Sizes that are known before anything is written; all in bytes."""

    index: int
    """Reserved for the index; what it leaves free is padded."""
    heads: HeadPlan
    total: int
    """At most so much do all part files take."""


def make_room(content: Content, manifest_size: int, roots: Sequence[bytes], part_size: int) -> Room:
    """Reserve room for index and heads. Raises ConfigError: ``part_size`` is too small."""
    members = content.member_bytes()
    # The layout wastes at most a 64th of a part; heads take at most half of one.
    most_parts = 2 * (members + content.line_bytes()) // (part_size - part_size // 32) + 4
    pieces = content.stored_bytes() // (4 << 30) + most_parts
    lines = content.line_bytes() + content.count() * LOCATION
    index = lines + pieces * (LOCATION + 1)
    locations = 64 * (index // (part_size // 2) + 2)
    full = head_room(
        [
            manifest_size + locations + 1024,
            _RELEASE_ROOM,
            *map(len, roots),
            # A root that is rotated between pack and release still fits.
            2 * max(map(len, roots)),
            most_parts * MAX_ROW,
        ]
    )
    payload = members + member_size(index)
    heads = HeadPlan.choose(part_size, full, payload)
    return Room(index, heads, payload + most_parts * (full + len(END)))
