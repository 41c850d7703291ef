"""Whether a file begins like an RPM package (format version 3 and 4).

The layout is rpm's "RPM V4 Package format": a lead of 96 bytes, a signature
header padded to 8 bytes, then the main header. Only their frames are read.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from manifests.errors import MalformedIndex

_LEAD = b"\xed\xab\xee\xdb"
_HEADER = b"\x8e\xad\xe8\x01"
_MAX_ENTRIES = 0xFFFF
_MAX_DATA = 256 << 20


def verify_header(file: BinaryIO, size: int, where: str) -> None:
    """Raises MalformedIndex when ``file`` (of ``size`` bytes) has no complete RPM headers."""
    if file.read(96)[:4] != _LEAD:
        raise MalformedIndex("not an RPM package", where=where)
    end = _frame(file, 96, where)
    start = end + -end % 8
    file.seek(start)
    if _frame(file, start, where) > size:
        raise MalformedIndex("an RPM package that ends inside its header", where=where)


def _frame(file: BinaryIO, start: int, where: str) -> int:
    """The offset where the header that begins at ``start`` ends."""
    head = file.read(16)
    if len(head) < 16 or head[:4] != _HEADER:
        raise MalformedIndex("an RPM package without a header", where=where)
    entries, data = struct.unpack(">II", head[8:])
    if entries > _MAX_ENTRIES or data > _MAX_DATA:
        raise MalformedIndex("an RPM header out of bounds", where=where)
    return start + 16 + int(entries) * 16 + int(data)
