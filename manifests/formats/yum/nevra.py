"""Name, epoch, version, release and architecture of an RPM package, from its main header.

The layout is rpm's "RPM V4 Package format", section "Header structure": index entries of
four numbers (tag, type, offset, count), then the data. Only five tags are read, each a
short text or a number, so that a file of any size costs a few kilobytes.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO, NamedTuple

_LEAD = b"\xed\xab\xee\xdb"
_HEADER = b"\x8e\xad\xe8\x01"
_MAX_ENTRIES = 4096
_MAX_DATA = 256 << 20
_MAX_TEXT = 256
_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE = 1000, 1001, 1002, 1003, 1022, 1044
_TEXT, _INT32 = 6, 4
_FILE = re.compile(r"(?P<name>.+)-(?P<version>[^-]+)-(?P<release>[^-]+)\.(?P<arch>[^.-]+)\.rpm")


class Nevra(NamedTuple):
    """``epoch`` is empty if the package has none."""

    name: str
    epoch: str
    version: str
    release: str
    arch: str

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.arch}"

    @property
    def evr(self) -> str:
        """``[EPOCH:]VERSION-RELEASE``."""
        return f"{self.epoch}{self.epoch and ':'}{self.version}-{self.release}"


def of_file(file: BinaryIO) -> Nevra | None:
    """From a package; None for what has no such header."""
    if file.read(96)[:4] != _LEAD:
        return None
    signature = _frame(file.read(16))
    if signature is None:
        return None
    end = 96 + 16 + signature[0] * 16 + signature[1]
    start = end + -end % 8
    file.seek(start)
    main = _frame(file.read(16))
    if main is None:
        return None
    count, length = main
    data = start + 16 + count * 16
    found: dict[int, str] = {}
    index = file.read(count * 16)
    for entry in range(len(index) // 16):
        tag, kind, offset, items = struct.unpack_from(">IIII", index, entry * 16)
        if tag in (_NAME, _VERSION, _RELEASE, _EPOCH, _ARCH, _SOURCE) and offset < length:
            file.seek(data + offset)
            if kind == _TEXT:
                found[tag] = file.read(_MAX_TEXT).partition(b"\0")[0].decode("utf-8", "replace")
            elif kind == _INT32 and items == 1:
                found[tag] = str(int.from_bytes(file.read(4), "big"))
    if not all(found.get(tag) for tag in (_NAME, _VERSION, _RELEASE)):
        return None
    arch = found.get(_ARCH, "noarch") if _SOURCE in found else "src"
    epoch = found.get(_EPOCH, "")
    return Nevra(found[_NAME], epoch, found[_VERSION], found[_RELEASE], arch)


def of_name(path: str) -> Nevra | None:
    """From the name of a file, which tells no epoch."""
    match = _FILE.fullmatch(path.rpartition("/")[2])
    if match is None:
        return None
    return Nevra(match["name"], "", match["version"], match["release"], match["arch"])


def _frame(head: bytes) -> tuple[int, int] | None:
    """Entries and bytes of data of the header that begins so."""
    if len(head) < 16 or head[:4] != _HEADER:
        return None
    entries, length = struct.unpack(">II", head[8:])
    return (entries, length) if entries <= _MAX_ENTRIES and length <= _MAX_DATA else None
