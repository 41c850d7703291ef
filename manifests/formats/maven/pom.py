"""The little that must be known of a POM: its parent, its packaging, whether it is relocated.

POM reference, "Maven Coordinates", "Inheritance" and "Relocation". Nothing is resolved: what a
build needs beyond this, Maven itself asks for. Two habits of old POMs are read as Maven reads
them: named HTML entities without a document type, and encodings that expat does not know. A
document type or a declared entity is refused.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from html.entities import name2codepoint

from manifests.errors import FormatError, MalformedIndex
from manifests.formats import xmlstream
from manifests.formats.base import TreeView
from manifests.formats.bounded import read_small

MAX_BYTES = 4 << 20

_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,15});")
_OF_XML = frozenset((b"amp", b"lt", b"gt", b"quot", b"apos"))
_DECLARATION = re.compile(
    rb"""<\?xml[^>]*?\sencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["'][^>]*\?>"""
)
_KNOWN = frozenset(("utf-8", "utf-16", "iso8859-1", "ascii"))


@dataclass(frozen=True, slots=True)
class Pom:
    """Coordinates may be empty where the POM inherits them, and hold ``${...}``."""

    group: str = ""
    name: str = ""
    version: str = ""
    packaging: str = "jar"
    parent: tuple[str, str, str] | None = None
    relocated: bool = False
    broken: str = ""
    """Why it cannot be read to its end; then what is known is what comes before."""


class _Reading:
    deepest = 4

    def __init__(self) -> None:
        self.names: list[str] = []
        self.found: dict[str, str] = {}

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        self.names[depth - 1 :] = [name]
        if self.names[1:] == ["distributionManagement", "relocation"]:
            self.found["relocation"] = name

    def end(self, depth: int, name: str, text: str) -> None:
        where = self.names[1:depth]
        if len(where) == 1 or (len(where) == 2 and where[0] == "parent"):
            # Maven refuses an element that comes twice; the first one counts here.
            self.found.setdefault("/".join(where), text.strip())


def parse(data: bytes, where: str) -> Pom:
    """Read a POM. Raises ForbiddenXml, OversizedIndex, and MalformedIndex for what is no POM.

    Upstreams do have POMs that are not well-formed; Maven reports them to whoever uses them.
    """
    reading, broken = _Reading(), ""
    try:
        for _ in xmlstream.read([_readable(data, where)], reading, where):
            pass
    except MalformedIndex as error:
        if reading.names[:1] != ["project"]:
            raise
        broken = error.what
    if reading.names[:1] != ["project"]:
        raise MalformedIndex("not a POM: its outermost element is no project", where=where)
    found = reading.found
    keys = ("parent/groupId", "parent/artifactId", "parent/version")
    parent = tuple(found.get(key, "") for key in keys)
    return Pom(
        found.get("groupId", ""),
        found.get("artifactId", ""),
        found.get("version", ""),
        found.get("packaging", "") or "jar",
        (parent[0], parent[1], parent[2]) if any(parent) else None,
        "relocation" in found,
        broken,
    )


def read(view: TreeView, path: str) -> Pom:
    """The POM at ``path``. Raises KeyError and as ``parse``."""
    with view.open(path) as file:
        return parse(read_small(file, MAX_BYTES, path), path)


def try_read(view: TreeView, path: str) -> Pom | None:
    """The POM at ``path``; None if it is missing or cannot be read (``check`` tells why)."""
    if view.lookup(path) is None:
        return None
    try:
        return read(view, path)
    except FormatError:
        return None


def _readable(data: bytes, where: str) -> bytes:
    """Bytes that expat reads to the same text as Maven's parser."""
    data = data.lstrip()
    declared = _DECLARATION.match(data.removeprefix(codecs.BOM_UTF8))
    if declared is not None:
        try:
            codec = codecs.lookup(declared[1].decode())
            if codec.name not in _KNOWN:
                text, _ = codec.decode(data.removeprefix(codecs.BOM_UTF8)[declared.end() :])
                data = text.encode()
        except (LookupError, UnicodeError, TypeError, AttributeError) as error:
            raise MalformedIndex("not in the encoding that it declares", where=where) from error

    def plain(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        if found[1] in _OF_XML or name not in name2codepoint:
            return found[0]
        return b"&#%d;" % name2codepoint[name]

    return _ENTITY.sub(plain, data)
