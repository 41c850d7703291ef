"""The little that must be known of a POM: its parent, its packaging, whether it is relocated.

POM reference, "Maven Coordinates", "Inheritance" and "Relocation". Nothing is resolved: what a
build needs beyond this, Maven itself asks for. Two habits of old POMs are read as Maven reads
them: named HTML entities without a document type, and encodings that expat does not know. A
document type or a declared entity is refused.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping
from dataclasses import dataclass
from html.entities import name2codepoint
from xml.etree import ElementTree

from manifests.errors import FormatError, MalformedIndex
from manifests.formats import xmlstream
from manifests.formats.base import TreeView
from manifests.formats.bounded import read_small
from manifests.tree import Entry

MAX_BYTES = 4 << 20
#: Up to this size a POM is read into a tree of elements: four times as fast.
_SMALL = 64 << 10

_ENTITY = re.compile(rb"&([A-Za-z][A-Za-z0-9]{1,15});")
_OF_XML = frozenset((b"amp", b"lt", b"gt", b"quot", b"apos"))
_DECLARATION = re.compile(
    rb"""<\?xml[^>]{0,200}?\sencoding\s{0,9}=\s{0,9}["']([A-Za-z0-9._-]{1,40})["'][^>]{0,200}\?>"""
)
#: A declaration that leaves no doubt of UTF-8.
_PLAIN = re.compile(
    rb"""<\?xml version=["']1\.0["'](?: encoding=["']utf-8["'])?(?: standalone="yes")? ?\?>""",
    re.IGNORECASE,
)
_RELOCATION = "distributionManagement/relocation"
_KEPT = frozenset(("groupId", "artifactId", "version", "packaging"))
_KNOWN = frozenset(("utf-8", "utf-16", "iso8859-1", "ascii"))
#: Python's own: no parser of XML knows them, and the first two take quadratic time.
_NONE_OF_XML = frozenset(
    ("punycode", "idna", "unicode-escape", "raw-unicode-escape", "undefined", "charmap")
)


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
        if self.names[1:] == _RELOCATION.split("/"):
            self.found[_RELOCATION] = name

    def end(self, depth: int, name: str, text: str) -> None:
        where = self.names[1:depth]
        if len(where) == 1 or (len(where) == 2 and where[0] == "parent"):
            # Maven refuses an element that comes twice; the first one counts here.
            self.found.setdefault("/".join(where), text.strip())


def parse(data: bytes, where: str) -> Pom:
    """Read a POM. Raises ForbiddenXml, OversizedIndex, and MalformedIndex for what is no POM.

    Upstreams do have POMs that are not well-formed; Maven reports them to whoever uses them.
    """
    data = _readable(data, where)
    found = _at_once(data) if len(data) <= _SMALL else None
    return found if found is not None else _step_by_step(data, where)


def _at_once(data: bytes) -> Pom | None:
    """A small POM without anything odd, read in one go; None leaves the verdict to a reader
    that keeps to limits and tells what is wrong."""
    if b"<!D" in data or b"\0" in data or data.startswith(codecs.BOM_UTF8):
        return None
    if data.startswith(b"<?xml") and _PLAIN.match(data) is None:
        return None
    try:
        root = ElementTree.fromstring(data)  # noqa: S314 - UTF-8 without a document type
    except (ElementTree.ParseError, ValueError, LookupError):
        return None
    if _local(root) != "project" or _deeper(root, xmlstream.MAX_DEPTH):
        return None
    found: dict[str, str] = {}
    for each in root:
        name = _local(each)
        if name in _KEPT:
            found.setdefault(name, _text(each))
        elif name == "parent":
            for part in each:
                found.setdefault(f"parent/{_local(part)}", _text(part))
        elif name == "distributionManagement" and any(_local(one) == "relocation" for one in each):
            found[_RELOCATION] = ""
    return _pom(found, "")


def _local(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _text(element: ElementTree.Element) -> str:
    """The text of an element without children, as ``xmlstream`` gives it."""
    return "" if len(element) else (element.text or "").strip()


def _deeper(root: ElementTree.Element, depth: int) -> bool:
    level = [root]
    for _ in range(depth):
        level = [child for each in level for child in each]
        if not level:
            return False
    return True


def _step_by_step(data: bytes, where: str) -> Pom:
    reading, broken = _Reading(), ""
    try:
        for _ in xmlstream.read([data], reading, where):
            pass
    except MalformedIndex as error:
        if reading.names[:1] != ["project"]:
            raise
        broken = error.what
    if reading.names[:1] != ["project"]:
        raise MalformedIndex("not a POM: its outermost element is no project", where=where)
    return _pom(reading.found, broken)


def _pom(found: Mapping[str, str], broken: str) -> Pom:
    keys = ("parent/groupId", "parent/artifactId", "parent/version")
    parent = tuple(found.get(key, "") for key in keys)
    return Pom(
        found.get("groupId", ""),
        found.get("artifactId", ""),
        found.get("version", ""),
        found.get("packaging", "") or "jar",
        (parent[0], parent[1], parent[2]) if any(parent) else None,
        _RELOCATION in found,
        broken,
    )


def read(view: TreeView, place: str | Entry) -> Pom:
    """The POM at a path, or of an entry of the view. Raises KeyError and as ``parse``."""
    path = place.path if isinstance(place, Entry) else place
    with view.open(place) as file:
        return parse(read_small(file, MAX_BYTES, path), path)


def try_read(view: TreeView, path: str) -> Pom | None:
    """The POM at ``path``; None if it is missing or cannot be read (``check`` tells why)."""
    entry = view.lookup(path)
    if entry is None:
        return None
    try:
        return read(view, entry)
    except FormatError:
        return None


def _readable(data: bytes, where: str) -> bytes:
    """Bytes that expat reads to the same text as Maven's parser."""
    data = data.lstrip()
    declared = _DECLARATION.match(data.removeprefix(codecs.BOM_UTF8))
    if declared is not None:
        try:
            codec = codecs.lookup(declared[1].decode())
            if codec.name in _NONE_OF_XML:
                raise LookupError(codec.name)
            if codec.name not in _KNOWN:
                # By the name: that refuses what is no encoding of text (zlib, a bomb).
                text = data.removeprefix(codecs.BOM_UTF8)[declared.end() :].decode(codec.name)
                data = text.encode()
        except (LookupError, UnicodeError) as error:
            raise MalformedIndex("not in the encoding that it declares", where=where) from error

    def plain(found: re.Match[bytes]) -> bytes:
        name = found[1].decode()
        if found[1] in _OF_XML or name not in name2codepoint:
            return found[0]
        return b"&#%d;" % name2codepoint[name]

    return _ENTITY.sub(plain, data)
