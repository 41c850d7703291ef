"""The few bytes of tar that the wire uses (POSIX.1-1988 ustar, regular files only)."""

from __future__ import annotations

import re
from typing import Final

BLOCK: Final = 512
"""Headers have this size, members are padded to it; in bytes."""
END: Final = bytes(2 * BLOCK)
"""What ends an archive."""
MAX_MEMBER: Final = 1 << 32
"""Bytes of one member. Eleven octal digits hold twice as much; 4 GiB leaves room."""

_SIZE = re.compile(rb"[0-7]{11}\0")
_MAGIC = b"ustar\x0000"


def member_header(name: str, size: int) -> bytes:
    """The header of a member of ``size`` bytes; ``name`` is ASCII of at most 99."""
    raw = name.encode("ascii")
    if not 0 < len(raw) < 100 or not 0 <= size <= MAX_MEMBER:
        raise ValueError(f"not a member of a part: {name!r}, {size} bytes")
    before = (
        raw.ljust(100, b"\0")
        + b"0000644\0"
        + b"0000000\0" * 2
        + b"%011o\0" % size
        + b"00000000000\0"
    )
    after = b"0" + bytes(100) + _MAGIC + bytes(BLOCK - 265)
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def padding(size: int) -> int:
    """How many zeros follow a member of ``size`` bytes."""
    return -size % BLOCK


def member_size(size: int) -> int:
    """The room that a member of ``size`` bytes takes, with header and padding."""
    return BLOCK + size + padding(size)


def parse_header(block: bytes) -> tuple[str, int] | None:
    """Name and size of a member, or None for anything that `member_header` does not write."""
    if len(block) != BLOCK or not _SIZE.fullmatch(block, 124, 136):
        return None
    name = block[:100].rstrip(b"\0")
    if not name or not name.isascii() or b"\0" in name:
        return None
    size = int(block[124:135], 8)
    if size > MAX_MEMBER or len(name) > 99 or member_header(name.decode(), size) != block:
        return None
    return name.decode(), size
