"""Reading a yum upstream over HTTP: repomd.xml, its indexes, their packages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, unquote

from manifests import jsontext
from manifests.errors import ConfigError, MalformedIndex
from manifests.formats import autoindex
from manifests.formats.base import (
    FACTS,
    Absent,
    Body,
    Refused,
    Result,
    Spec,
    Wanted,
)
from manifests.formats.bounded import CAP, inflate, read_small
from manifests.formats.files import MAX_DEPTH, listing
from manifests.formats.yum import primary, repomd, treeinfo
from manifests.formats.yum.layout import DERIVED_FACTS, RAW, UPSTREAM_REPOMD, carried_on
from manifests.formats.yum.repomd import REPOMD, Checksum, Location, Record
from manifests.formats.yum.select import Selection, modular
from manifests.tree import PRIVATE, check_path

_SMALL = 1 << 20
#: Folders of an installer tree whose files no index names one by one.
_INSTALLER = ("EFI/", "images/", "isolinux/")
_TYPE = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True)
class _Note:
    """What a wanted file is to the crawl. ``prefix`` is the repository's folder."""

    kind: str
    prefix: str = ""
    record: Record | None = None


class YumCrawl:
    """One run over an upstream; ``derived`` when the spec chooses among the packages."""

    def __init__(self, spec: Spec) -> None:
        if spec.filtered and spec.metadata == "verbatim":
            raise ConfigError(
                "filters and verbatim metadata exclude each other",
                where=spec.name,
                remedy="remove include, exclude, arches and newest, or `metadata: verbatim`",
            )
        self._spec = spec
        self._derived = spec.filtered or spec.metadata == "derived"
        self._selection = Selection(spec)
        self._listed = 0

    # --- what is asked for first

    def start(self) -> Iterable[Wanted]:
        yield from self._repository("", required=True)
        for name in treeinfo.NAMES:
            yield _small(name, treeinfo.MAX_BYTES, _Note("treeinfo"))
        yield _small("extra_files.json", _SMALL, _Note("extra"))
        for name in (".discinfo", "media.repo"):
            yield _small(name, _SMALL)
        for path in self._extra():
            yield Wanted(path, volatile=True)

    def _extra(self) -> list[str]:
        """``extra`` of the repository in zone.yaml: paths that no index names, such as keys."""
        extra = self._spec.options.get("extra", ())
        if not isinstance(extra, list | tuple) or not all(isinstance(each, str) for each in extra):
            raise ConfigError("`extra` is not a list of paths", where=self._spec.name)
        return [check_path(str(path)) for path in extra]

    def _repository(self, prefix: str, *, required: bool) -> Iterator[Wanted]:
        path = UPSTREAM_REPOMD if self._derived else prefix + REPOMD
        for suffix, limit in (("", repomd.MAX_BYTES), (".asc", _SMALL), (".key", _SMALL)):
            yield Wanted(
                path + suffix,
                url=quote(prefix + REPOMD + suffix),
                limit=limit,
                required=required and not suffix,
                parse=not suffix,
                volatile=True,
                confirm=suffix != ".key",
                note=_Note("repomd" if not suffix else "", prefix),
            )

    # --- what follows from what came

    def feed(self, wanted: Wanted, result: Result) -> Iterable[Wanted]:
        if isinstance(result, Absent | Refused) or not isinstance(wanted.note, _Note):
            return ()
        note, body = wanted.note, result.body
        if note.kind == "repomd":
            return self._indexes(note.prefix, body, wanted.path)
        if note.kind == "modules":
            with body.open() as file:
                self._selection.modular = modular(file, wanted.path)
            return [self._primary(note)]
        if note.kind == "primary":
            return self._packages(note, body, wanted.path)
        if note.kind == "deltas":
            return self._deltas(note, body, wanted.path)
        if note.kind == "treeinfo":
            return self._installer(body, wanted.path)
        if note.kind == "extra":
            return self._extra_files(body, wanted.path)
        if note.kind == "listing":
            return self._folder(note.prefix, body)
        return ()

    def _indexes(self, prefix: str, body: Body, where: str) -> Iterator[Wanted]:
        with body.open() as file:
            found = repomd.parse([read_small(file, repomd.MAX_BYTES, where)], where)
        main = found.record("primary")
        if main is None:
            raise MalformedIndex("no record of the type primary", where=where)
        if self._derived:
            yield from self._raw(prefix, found, main)
            return
        for record in found.records:
            kind = {"primary": "primary", "prestodelta": "deltas", "deltainfo": "deltas"}.get(
                record.type, ""
            )
            yield _index(record, prefix, _Note(kind, prefix, record))

    def _raw(self, prefix: str, found: repomd.Repomd, main: Record) -> Iterator[Wanted]:
        """The indexes of a repository whose metadata will be derived."""
        first = _Note("primary", prefix, main)
        waits = False
        for record in found.records:
            if not carried_on(record.type) or not _TYPE.fullmatch(record.type):
                continue
            path = check_path(f"{RAW}{record.type}/{record.location.href.rpartition('/')[2]}")
            # Which packages `newest` keeps depends on the modules, so they come first.
            first_modules = record.type == "modules" and self._selection.newest and not waits
            waits = waits or bool(first_modules)
            note = _Note("modules", prefix, main) if first_modules else _Note("")
            yield _index(record, prefix, note, path=path)
        if not waits:
            yield self._primary(first)

    def _primary(self, note: _Note) -> Wanted:
        assert note.record is not None
        again = _Note("primary", note.prefix, note.record)
        return _index(note.record, note.prefix, again, path=RAW + "primary.xml", keep=False)

    def _packages(self, note: _Note, body: Body, where: str) -> Iterator[Wanted]:
        oldest = None
        if self._selection.newest:
            oldest = self._selection.newest_of(_stream(note, body, where))
        for package in _stream(note, body, where):
            if not self._selection.keeps(package, oldest):
                continue
            if package.location.foreign:
                if self._derived:
                    yield _beside(note.prefix, package)
                continue  # check names it
            yield _file(note.prefix, package.location, package.checksum, package.size)

    def _deltas(self, note: _Note, body: Body, where: str) -> Iterator[Wanted]:
        size = note.record.open_size if note.record else None
        with body.open() as file:
            for delta in primary.deltas(inflate(file, where=where, promised=size), where):
                if not delta.location.foreign:
                    yield _file(note.prefix, delta.location, delta.checksum, delta.size)

    def _installer(self, body: Body, where: str) -> Iterator[Wanted]:
        with body.open() as file:
            found = treeinfo.parse(read_small(file, treeinfo.MAX_BYTES, where), where)
        for path, checksum in found.files.items():
            if path.endswith(REPOMD):
                continue  # it has its own signature, and treeinfo often an old checksum
            yield Wanted(
                path,
                digests={checksum.algorithm: checksum.hex} if checksum else {},
                required=checksum is not None,
                volatile=checksum is None,
            )
        if not self._derived:
            for folder in found.repositories:
                if folder:
                    yield from self._repository(folder, required=False)
        for folder in _INSTALLER:
            yield listing(folder, required=False, note=_Note("listing", folder))

    def _folder(self, folder: str, body: Body) -> Iterator[Wanted]:
        with body.open() as file:
            page = read_small(file, autoindex.MAX_BYTES, folder)
        for name, reference in autoindex.names(page):
            self._listed += 1
            if self._listed > 10_000 or folder.count("/") > MAX_DEPTH:
                raise MalformedIndex("too many files in an installer tree", where=folder)
            if name.endswith("/"):
                yield listing(folder + name, required=False, note=_Note("listing", folder + name))
            else:
                url = quote(folder) + reference
                yield Wanted(check_path(folder + name), url=url, required=False, volatile=True)

    def _extra_files(self, body: Body, where: str) -> Iterator[Wanted]:
        """extra_files.json of Fedora and its kin: licences and keys with checksums."""
        with body.open() as file:
            data = read_small(file, _SMALL, where)
        try:
            listed = jsontext.loads(data)
        except ValueError:
            return  # nobody promised this file; some servers answer with a page instead
        try:
            rows = listed["data"]
            pairs = [(row["file"], dict(row["checksums"]), row.get("size")) for row in rows]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise MalformedIndex("not a list of files", where=where) from error
        for name, checksums, size in pairs:
            found = [
                repomd.checksum_of(str(algorithm), str(digits), where)
                for algorithm, digits in checksums.items()
            ]
            yield Wanted(
                Location(str(name)).path(""),
                digests={each.algorithm: each.hex for each in found},
                size=repomd.number(str(size), where) if size is not None else None,
                required=False,
            )

    def facts(self) -> Iterable[tuple[str, bytes]]:
        return [(FACTS, DERIVED_FACTS)] if self._derived else []


def _small(path: str, limit: int, note: _Note | None = None) -> Wanted:
    return Wanted(
        path, limit=limit, required=False, parse=note is not None, volatile=True, note=note
    )


def _index(
    record: Record, prefix: str, note: _Note, *, path: str = "", keep: bool = True
) -> Wanted:
    """A record's file; ``path`` when it is kept elsewhere than the upstream has it."""
    own, url = _place(prefix, record.location)
    return Wanted(
        path or own,
        url=url or (quote(own) if path else ""),
        digests={record.checksum.algorithm: record.checksum.hex},
        size=record.size,
        limit=None if record.size is not None else CAP,
        parse=bool(note.kind),
        keep=keep,
        note=note,
    )


def _file(prefix: str, location: Location, checksum: Checksum, size: int | None) -> Wanted:
    path, url = _place(prefix, location)
    return Wanted(path, url=url, digests={checksum.algorithm: checksum.hex}, size=size)


def _beside(prefix: str, package: primary.Package) -> Wanted:
    """A package that the index puts at a full URL, asked of this upstream all the same.

    That URL is most often the upstream's own public address, and the checksum decides.
    No other host is ever asked because an index names it.
    """
    here = Location(package.location.href)
    if here.foreign:
        raise MalformedIndex("a package on another host", where=package.nevra)
    return _file(prefix, here, package.checksum, package.size)


def _place(prefix: str, location: Location) -> tuple[str, str]:
    """(path, url): clients send an escaped location as it is, and servers decode it."""
    path = location.path(prefix)
    plain = unquote(path)
    if plain == path:
        return path, ""
    if plain.startswith(PRIVATE):
        raise MalformedIndex("a path that is ours", where=repomd.shown(path))
    return check_path(plain), path


def _stream(note: _Note, body: Body, where: str) -> Iterator[primary.Package]:
    size = note.record.open_size if note.record else None
    with body.open() as file:
        yield from primary.packages(inflate(file, where=where, promised=size), where)
