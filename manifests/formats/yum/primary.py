"""primary.xml and prestodelta.xml: the packages of a yum repository, streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from manifests.errors import MalformedIndex
from manifests.formats import xmlstream
from manifests.formats.yum.repomd import Checksum, Location, checksum_of, number, shown
from manifests.formats.yum.version import Evr


@dataclass(frozen=True, slots=True)
class Package:
    """A package (or delta package) as an index promises it. ``size`` is in bytes."""

    name: str
    arch: str
    evr: Evr
    location: Location
    checksum: Checksum
    size: int | None
    build_time: int = 0

    @property
    def nevra(self) -> str:
        """``name-epoch:version-release.arch``, the epoch always written."""
        epoch, version, release = self.evr
        return f"{self.name}-{epoch or 0}:{version}-{release}.{self.arch}"


#: The only elements that are remembered, so that a package cannot grow without bound.
_PARTS = frozenset(("name", "arch", "version", "checksum", "time", "size", "location"))
_DELTA_PARTS = frozenset(("filename", "size", "checksum"))


def _evr(epoch: str | None, version: str, release: str, where: str) -> Evr:
    return Evr(str(number(epoch or "0", where)), version, release)


class _Primary:
    deepest = 3

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Package] = []
        self._open: dict[str, str] = {}
        self._parts: dict[str, tuple[dict[str, str], str]] = {}

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == 3:
            self._open = attributes
        elif depth == 2:
            self._parts = {}
        elif name != "metadata":
            raise MalformedIndex(f"the root is <{shown(name)}>, not <metadata>", where=self.where)

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 3 and name in _PARTS:
            self._parts[name] = (self._open, text)
        elif depth == 2 and name == "package":
            self.found.append(self._package())

    def _package(self) -> Package:
        parts = self._parts
        name = parts["name"][1].strip() if "name" in parts else ""
        where = f"{self.where} (package '{shown(name)}')"
        try:
            href, checksum = parts["location"][0], parts["checksum"]
            version, arch = parts["version"][0], parts["arch"][1].strip()
            size = parts["size"][0].get("package")
            location = Location(href["href"], href.get("xml:base", ""))
        except KeyError as error:
            raise MalformedIndex(f"a package without {error}", where=where) from error
        return Package(
            name,
            arch,
            _evr(version.get("epoch"), version.get("ver", ""), version.get("rel", ""), where),
            location,
            checksum_of(checksum[0].get("type", ""), checksum[1], where),
            None if size is None else number(size, where),
            number(parts["time"][0].get("build") or "0", where) if "time" in parts else 0,
        )


class _Deltas:
    """prestodelta.xml: newpackage > delta > filename, size, checksum."""

    deepest = 4

    def __init__(self, where: str) -> None:
        self.where = where
        self.found: list[Package] = []
        self._new: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._parts: dict[str, tuple[dict[str, str], str]] = {}

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        if depth == 2:
            self._new = attributes
        elif depth == 3:
            self._parts = {}
        elif depth == 4:
            self._open = attributes
        elif name not in ("prestodelta", "deltainfo"):
            raise MalformedIndex(f"the root is <{shown(name)}>", where=self.where)

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 4 and name in _DELTA_PARTS:
            self._parts[name] = (self._open, text)
        elif depth == 3 and name == "delta":
            new = self._new
            where = f"{self.where} (delta of '{shown(new.get('name', ''))}')"
            if "filename" not in self._parts or "checksum" not in self._parts:
                raise MalformedIndex("a delta without filename or checksum", where=where)
            checksum, size = self._parts["checksum"], self._parts.get("size")
            evr = _evr(new.get("epoch"), new.get("version", ""), new.get("release", ""), where)
            self.found.append(
                Package(
                    new.get("name", ""),
                    new.get("arch", ""),
                    evr,
                    Location(self._parts["filename"][1].strip()),
                    checksum_of(checksum[0].get("type", ""), checksum[1], where),
                    None if size is None else number(size[1], where),
                )
            )


def _stream(chunks: Iterable[bytes], sink: _Primary | _Deltas) -> Iterator[Package]:
    for _ in xmlstream.read(chunks, sink, sink.where):
        yield from sink.found
        sink.found.clear()


def packages(chunks: Iterable[bytes], where: str) -> Iterator[Package]:
    """The packages of primary.xml (decompressed). Raises FormatError; memory is flat."""
    return _stream(chunks, _Primary(where))


def deltas(chunks: Iterable[bytes], where: str) -> Iterator[Package]:
    """The delta packages of prestodelta.xml (decompressed). Raises FormatError."""
    return _stream(chunks, _Deltas(where))
