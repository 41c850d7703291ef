"""repomd.xml: the list of a yum repository's indexes.

No formal specification exists; createrepo_c's ``repomd.xsd`` and what dnf and
yum read define it. A record of a type that nobody here knows is kept like any other.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from manifests.digest import CHECKSUM_LENGTHS
from manifests.errors import BadPath, MalformedIndex, OversizedIndex
from manifests.formats import xmlstream
from manifests.tree import MAX_SIZE, PRIVATE, check_path

REPOMD = "repodata/repomd.xml"
MAX_BYTES = 4 << 20
MAX_RECORDS = 1000

_FOREIGN = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*:)?//")
_HERE = re.compile(r"\A(?:\./)+")
_HEX = re.compile(r"[0-9a-f]+")
_NUMBER = re.compile(r"[0-9]{1,19}")


@dataclass(frozen=True, slots=True)
class Checksum:
    """``algorithm`` is a key of CHECKSUM_LENGTHS, ``hex`` lower case."""

    algorithm: str
    hex: str


@dataclass(frozen=True, slots=True)
class Location:
    """Where an index says that a file lies: ``href`` below ``base`` (``xml:base``)."""

    href: str
    base: str = ""

    @property
    def foreign(self) -> bool:
        """Whether it points to another host (or anywhere by a full URL)."""
        return bool(_FOREIGN.match(self.base) or _FOREIGN.match(self.href))

    def path(self, prefix: str) -> str:
        """The path in the tree; ``prefix`` is the repository's folder with its slash.

        Raises BadPath for what may not enter a tree, or is ours.
        """
        href = f"{self.base.rstrip('/')}/{self.href}" if self.base else self.href
        href = _HERE.sub("", href)
        if self.foreign:
            raise BadPath("a URL instead of a path", where=shown(href))
        path = check_path(prefix + href)
        if path.startswith(PRIVATE):
            raise BadPath(f"a path below {PRIVATE}", where=shown(path))
        return path


@dataclass(frozen=True, slots=True)
class Record:
    """One ``data`` element. Sizes are in bytes, None when not promised."""

    type: str
    location: Location
    checksum: Checksum
    size: int | None = None
    open_checksum: Checksum | None = None
    open_size: int | None = None


@dataclass(slots=True)
class Repomd:
    revision: str = ""
    records: list[Record] = field(default_factory=list)

    def record(self, *types: str) -> Record | None:
        """The first record of the first of ``types`` that there is."""
        for wanted in types:
            for record in self.records:
                if record.type == wanted:
                    return record
        return None


def shown(text: str) -> str:
    """``text`` from outside, fit for one line of a message."""
    return ascii(text[:200])[1:-1]


def checksum_of(algorithm: str, text: str, where: str) -> Checksum:
    """A checksum as yum writes it (``sha`` means SHA-1). Raises MalformedIndex."""
    name = algorithm.strip().lower()
    name = "sha1" if name == "sha" else name
    digits = text.strip().lower()
    length = CHECKSUM_LENGTHS.get(name)
    if length is None:
        raise MalformedIndex(f"unknown checksum type '{shown(algorithm)}'", where=where)
    if len(digits) != length or not _HEX.fullmatch(digits):
        raise MalformedIndex(f"not a {name} checksum: '{shown(text)}'", where=where)
    return Checksum(name, digits)


def number(text: str, where: str) -> int:
    """A size in bytes or a time in seconds. Raises MalformedIndex."""
    digits = text.strip()
    if not _NUMBER.fullmatch(digits) or int(digits) > MAX_SIZE:
        raise MalformedIndex(f"not a number: '{shown(text)}'", where=where)
    return int(digits)


class _Sink:
    deepest = 3

    def __init__(self, where: str) -> None:
        self.where = where
        self.repomd = Repomd()
        self._type = ""
        self._attributes: dict[str, str] = {}
        self._found: dict[str, tuple[dict[str, str], str]] = {}

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == 1 and name != "repomd":
            raise MalformedIndex(f"the root is <{shown(name)}>, not <repomd>", where=self.where)
        if depth == 2 and name == "data":
            self._type = attributes.get("type", "")
            self._found = {}
        self._attributes = attributes

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 3:
            self._found[name] = (self._attributes, text)
        elif depth == 2 and name == "revision":
            self.repomd.revision = text.strip()[:100]
        elif depth == 2 and name == "data":
            if len(self.repomd.records) >= MAX_RECORDS:
                raise OversizedIndex(f"more than {MAX_RECORDS} records", where=self.where)
            self.repomd.records.append(self._record())

    def _record(self) -> Record:
        where = f"{self.where} ({shown(self._type)})"
        href = self._found.get("location", ({}, ""))[0]
        if not self._type or not href.get("href") or "checksum" not in self._found:
            raise MalformedIndex("a record without type, location or checksum", where=where)
        size, open_size = self._found.get("size"), self._found.get("open-size")
        return Record(
            self._type,
            Location(href["href"], href.get("xml:base", "")),
            self._checksum("checksum", where),
            None if size is None else number(size[1], where),
            self._checksum("open-checksum", where) if "open-checksum" in self._found else None,
            None if open_size is None else number(open_size[1], where),
        )

    def _checksum(self, name: str, where: str) -> Checksum:
        attributes, text = self._found[name]
        return checksum_of(attributes.get("type", ""), text, where)


def parse(chunks: Iterable[bytes], where: str) -> Repomd:
    """Read repomd.xml. Raises FormatError; memory is bounded by MAX_RECORDS."""
    sink = _Sink(where)
    for _ in xmlstream.read(chunks, sink, where):
        pass
    return sink.repomd
