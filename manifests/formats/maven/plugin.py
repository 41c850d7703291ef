"""The goal prefix of a Maven plugin, read from its JAR.

``META-INF/maven/plugin.xml`` (plugin descriptor, ``goalPrefix``) is taken out of the ZIP
(APPNOTE 6.3, sections 4.3.7, 4.3.12, 4.3.16) without reading more than its directory and that
member: Python's own reader would load a directory of any size.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from manifests.errors import MalformedIndex, OversizedIndex
from manifests.formats import xmlstream
from manifests.formats.bounded import BLOCK

MEMBER = b"META-INF/maven/plugin.xml"
_MAX_DIRECTORY = 16 << 20
_MAX_DESCRIPTOR = 16 << 20
_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_PREFIX = re.compile(r"[A-Za-z0-9_.+-]{1,100}")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A line of group-level metadata."""

    name: str
    prefix: str
    artifact: str


def describe(jar: BinaryIO, artifact: str, where: str) -> Plugin | None:
    """What the JAR says of itself; None if it holds no plugin.

    Raises MalformedIndex, OversizedIndex, ForbiddenXml.
    """
    member = _member(jar, where)
    if member is None:
        return None
    reading = _Reading()
    for _ in xmlstream.read(member, reading, where):
        if "goalPrefix" in reading.found and "name" in reading.found:
            break
    prefix = reading.found.get("goalPrefix") or usual_prefix(artifact)
    if not _PREFIX.fullmatch(prefix):
        raise MalformedIndex("a goal prefix that no command line can name", where=where)
    return Plugin(reading.found.get("name", "")[:200] or artifact, prefix, artifact)


def usual_prefix(artifact: str) -> str:
    """The prefix that Maven takes from the artifact's name when a plugin gives none."""
    if artifact == "maven-plugin-plugin":
        return "plugin"
    return re.sub(r"-?plugin-?", "", re.sub(r"-?maven-?", "", artifact)) or artifact


class _Reading:
    deepest = 2

    def __init__(self) -> None:
        self.found: dict[str, str] = {}

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        return

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 2:
            self.found.setdefault(name, text.strip())


def _member(jar: BinaryIO, where: str) -> Iterator[bytes] | None:
    """The bytes of the descriptor in blocks."""
    size = jar.seek(0, io.SEEK_END)
    tail_at = max(0, size - 65_557)
    jar.seek(tail_at)
    tail = jar.read(65_557)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise MalformedIndex("not a ZIP archive", where=where)
    *_, length, offset, _ = _END.unpack_from(tail, at)
    start = tail_at + at - length
    if length > _MAX_DIRECTORY:
        raise OversizedIndex("a ZIP directory of more than 16 MiB", where=where)
    if start < offset:
        raise MalformedIndex("a ZIP directory that does not fit its archive", where=where)
    # Bytes before the archive (a start script) move everything by as much.
    shift = start - offset
    jar.seek(start)
    directory = jar.read(length)
    at = 0
    while at + _ENTRY.size <= len(directory):
        (magic, _, _, _, method, _, _, _, packed, _, named, extra, comment, _, _, _, local) = (
            _ENTRY.unpack_from(directory, at)
        )
        if magic != b"PK\x01\x02":
            raise MalformedIndex("a damaged ZIP directory", where=where)
        name_at = at + _ENTRY.size
        if directory[name_at : name_at + named] == MEMBER:
            return _inflated(jar, shift + local, method, packed, where)
        at = name_at + named + extra + comment
    return None


def _inflated(jar: BinaryIO, at: int, method: int, packed: int, where: str) -> Iterator[bytes]:
    jar.seek(at)
    head = jar.read(_LOCAL.size)
    if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04") or method not in (0, 8):
        raise MalformedIndex("a ZIP member that cannot be read", where=where)
    *_, named, extra = _LOCAL.unpack(head)
    jar.seek(named + extra, io.SEEK_CUR)
    given = 0
    inflater = zlib.decompressobj(-zlib.MAX_WBITS) if method == 8 else None
    while packed > 0:
        data = jar.read(min(packed, BLOCK))
        if not data:
            raise MalformedIndex("a truncated ZIP member", where=where)
        packed -= len(data)
        while data:
            if inflater is None:
                out, data = data, b""
            else:
                try:
                    out = inflater.decompress(data, BLOCK)
                except zlib.error as error:
                    raise MalformedIndex(f"a damaged ZIP member ({error})", where=where) from error
                data = inflater.unconsumed_tail
            given += len(out)
            if given > _MAX_DESCRIPTOR:
                raise OversizedIndex("a plugin descriptor of more than 16 MiB", where=where)
            yield out
    if inflater is not None:
        yield inflater.flush()  # the rest of one match at most
