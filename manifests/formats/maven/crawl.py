"""Fetches roots with the upstream's checksums, file by file; what is wrong stays out by name.

A release never changes, so what the previous tree holds is asked of nobody. Of a SNAPSHOT the
metadata is read, and its newest build fetched. The first file of a version is probed for the
strongest checksum that the upstream has, its other files begin there. Nothing is resolved: the
roots are the closure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from urllib.parse import quote

from manifests.errors import BadPath, ConfigError, FormatError
from manifests.formats.base import Absent, LeftOut, Refused, Result, Spec, TreeView, Wanted
from manifests.formats.bounded import read_small
from manifests.formats.maven import metadata, pom, roots, statement
from manifests.formats.maven.check import Place, is_binary, looks_like_page, parent_of, place_of
from manifests.formats.maven.layout import (
    CHECKSUMS,
    METADATA,
    Artifact,
    is_snapshot,
    named,
    safe_path,
)
from manifests.formats.maven.roots import Root
from manifests.formats.maven.statement import Stated
from manifests.tree import PRIVATE

#: Checksum files and metadata are read and not kept; below here are their keys.
ASKED = PRIVATE + "maven/asked/"
#: Bytes of a file that no listing gave a size of.
MAX_FILE = 8 << 30
MAX_CHECKSUM_FILE = 4096
_KINDS = list(CHECKSUMS)
_SHA1 = _KINDS.index("sha1")
#: Packagings whose main file has another extension: Maven's own, and those of usual plugins.
_EXTENSIONS = {
    "pom": "", "maven-plugin": "jar", "ejb": "jar", "ejb3": "jar", "bundle": "jar",
    "eclipse-plugin": "jar", "maven-archetype": "jar", "hk2-jar": "jar", "jar": "jar",
}  # fmt: skip


@dataclass(slots=True, eq=False)
class _Version:
    """One version's folder."""

    folder: str
    files: list[Root] = field(default_factory=list)
    bare: bool = False
    """Whether its POM decides what else is wanted."""
    waiting: list[Root] = field(default_factory=list)
    """Until the first file's checksum is known."""
    probing: bool = False
    first: int = 0
    """Which kind of checksum to ask for first."""
    wanted: dict[str, None] = field(default_factory=dict)
    builds: dict[tuple[str, str], str] = field(default_factory=dict)
    """The newest build of each (extension, classifier) of a SNAPSHOT; ("", ""): of all others."""
    bad: str = ""
    """Why nothing of this version is taken."""


@dataclass(frozen=True, slots=True)
class _Note:
    """What a wanted file is for. ``kind``: an index into the checksum kinds; -1 for the file."""

    version: _Version
    root: Root
    kind: int = -1
    leads: bool = False


class MavenCrawl:
    """One run. Raises ConfigError for roots that are no list."""

    def __init__(self, spec: Spec, previous: TreeView | None) -> None:
        if "roots" not in spec.options:
            raise ConfigError(
                "no roots: nothing says what of this Maven repository is wanted",
                where=spec.name,
                remedy="name `artifacts`, or capture a build",
            )
        self._spec = spec
        self._previous = previous
        self._before = dict(statement.read(previous)) if previous is not None else {}
        self._stated: dict[str, Stated] = {}
        self._parents: dict[Place, Place] = {}

    def start(self) -> Iterator[Wanted | LeftOut]:
        versions: dict[str, _Version] = {}
        for root in roots.read(self._spec):
            if isinstance(root, LeftOut):
                yield root
                continue
            folder = root.artifact.folder if root.artifact else root.path.rpartition("/")[0]
            version = versions.setdefault(folder, _Version(folder))
            if root.artifact is not None and not root.artifact.extension:
                version.bare = True
                root = replace(root, artifact=replace(root.artifact, extension="pom"))
                assert root.artifact is not None
                root = replace(root, path=root.artifact.path)
            version.files.append(root)
        for version in versions.values():
            if is_snapshot(version.folder.rpartition("/")[2]) and version.files[0].artifact:
                yield self._metadata(version)
            else:
                yield from self._files(version, version.files)

    def feed(self, wanted: Wanted, result: Result) -> Iterator[Wanted | LeftOut]:
        note = wanted.note
        if isinstance(note, _Version):
            yield from self._builds(note, result)
        elif isinstance(note, _Note) and note.kind >= 0:
            yield from self._probed(note, result)
        elif isinstance(note, _Note):
            yield from self._came(note, result)

    def facts(self) -> Iterable[tuple[str, bytes]]:
        """The upstream's checksums of what was kept."""
        return statement.write(self._stated)

    # --- SNAPSHOTs

    def _metadata(self, version: _Version) -> Wanted:
        path = f"{version.folder}/{METADATA}"
        return Wanted(
            ASKED + path,
            quote(path),
            limit=metadata.MAX_BYTES,
            required=False,
            parse=True,
            keep=False,
            volatile=True,
            alone=True,
            note=version,
        )

    def _builds(self, version: _Version, result: Result) -> Iterator[Wanted | LeftOut]:
        """The newest build of each root, and builds that were asked for by their time."""
        if isinstance(result, Refused):
            yield from self._refuse(version, f"{METADATA}: {result.what}")
            return
        if not isinstance(result, Absent):
            try:
                with result.body.open() as file:
                    data = read_small(file, metadata.MAX_BYTES, version.folder)
                version.builds = _newest(metadata.read(data, version.folder))
            except FormatError as error:
                yield from self._refuse(version, f"{METADATA}: {error.what}")
                return
        yield from self._files(version, list(_current(version)))

    # --- checksums

    def _files(self, version: _Version, files: Iterable[Root]) -> Iterator[Wanted | LeftOut]:
        """Ask for files, or first for their checksums."""
        for root in files:
            if version.bad:
                yield LeftOut(root.path, version.bad)
                continue
            if root.path in version.wanted:
                continue
            version.wanted[root.path] = None
            changing = _changes(root)
            entry = None
            if self._previous is not None and not changing:
                entry = self._previous.lookup(root.path)
            if root.digests:
                kind = next(kind for kind in CHECKSUMS if kind in root.digests)
                yield self._file(version, root, (kind, root.digests[kind]))
            elif entry is not None:
                if root.path in self._before:
                    self._stated[root.path] = self._before[root.path]
                known = replace(root, digests={"sha256": entry.digest}, size=entry.size)
                yield self._file(version, known, None)
            elif version.probing:
                version.waiting.append(root)
            else:
                leads = version.first == 0
                version.probing = leads
                yield from self._probe(_Note(version, root, version.first, leads))

    def _probe(self, note: _Note) -> Iterator[Wanted | LeftOut]:
        path = f"{note.root.path}.{_KINDS[note.kind]}"
        try:
            safe_path(path)
            safe_path("x" * len(ASKED) + path)
        except BadPath as error:
            yield LeftOut(note.root.path, error.what)
            yield from self._settle(note, _SHA1)
            return
        yield Wanted(
            ASKED + path,
            quote(path),
            limit=MAX_CHECKSUM_FILE,
            required=False,
            parse=True,
            keep=False,
            volatile=_changes(note.root),
            alone=True,
            note=note,
        )

    def _probed(self, note: _Note, result: Result) -> Iterator[Wanted | LeftOut]:
        if isinstance(result, Refused) and result.silent:
            yield self._out(note.root.path, f"its checksum: {result.what}")
            yield from self._settle(note, _SHA1)
            return
        value = None
        if not isinstance(result, Absent | Refused):
            with result.body.open() as file:
                data = read_small(file, MAX_CHECKSUM_FILE, note.root.path)
            value = statement.parse_checksum(data, _KINDS[note.kind])
        if value is not None:
            yield self._file(note.version, note.root, (_KINDS[note.kind], value))
            yield from self._settle(note, note.kind)
        elif note.kind + 1 < len(_KINDS):
            yield from self._probe(replace(note, kind=note.kind + 1))
        else:
            yield self._file(note.version, note.root, None)
            yield from self._settle(note, _SHA1)

    def _settle(self, note: _Note, kind: int) -> Iterator[Wanted | LeftOut]:
        """The first file knows its checksum: the others begin with that kind."""
        version = note.version
        if not note.leads:
            return
        version.first, version.probing = max(1, min(kind, _SHA1)), False
        waiting, version.waiting = version.waiting, []
        for root in waiting:
            yield from self._probe(_Note(version, root, min(kind, _SHA1)))

    def _file(self, version: _Version, root: Root, stated: Stated | None) -> Wanted:
        digests = dict(root.digests)
        if stated is not None:
            digests.setdefault(*stated)
            self._stated[root.path] = stated
        is_pom = _is_pom(root)
        return Wanted(
            root.path,
            root.url or quote(root.path),
            digests=digests,
            size=root.size,
            limit=pom.MAX_BYTES if is_pom else MAX_FILE,
            required=False,
            parse=True,
            late=not (is_pom and version.bare),
            volatile=_changes(root) and not digests,
            alone=True,
            note=_Note(version, root),
        )

    # --- files

    def _came(self, note: _Note, result: Result) -> Iterator[Wanted | LeftOut]:
        version, root = note.version, note.root
        if isinstance(result, Absent):
            yield self._out(root.path, f"the upstream does not have it (status {result.status})")
        elif isinstance(result, Refused) and _is_pom(root):
            yield from self._refuse(version, result.what)
        elif isinstance(result, Refused):
            yield self._out(root.path, result.what)
        elif version.bad:
            yield self._out(root.path, version.bad)
        elif root.artifact is None:
            return
        elif _is_pom(root):
            with result.body.open() as file:
                data = read_small(file, pom.MAX_BYTES, root.path)
            yield from self._pom(note, root.artifact, data)
        else:
            with result.body.open() as file:
                head = file.read(64)
            if is_binary(root.artifact) and looks_like_page(head):
                yield self._out(root.path, "a web page instead of the file")

    def _pom(self, note: _Note, artifact: Artifact, data: bytes) -> Iterator[Wanted | LeftOut]:
        try:
            found = pom.parse(data, note.root.path)
        except FormatError as error:
            yield from self._refuse(note.version, error.what)
            return
        if found.broken and note.root.path not in self._stated:
            yield from self._refuse(note.version, found.broken)
            return
        place, parent = place_of(artifact), parent_of(found)
        if parent is not None:
            self._parents[place] = parent
            if self._own_ancestor(place):
                yield from self._refuse(note.version, "its POM is its own ancestor by its parents")
                return
        if note.version.bare:
            note.version.bare = False
            files = self._belonging(note.version, artifact, found.packaging)
            yield from self._files(note.version, list(files))

    def _own_ancestor(self, place: Place) -> bool:
        """Whether the parents lead back to ``place``, also by way of the previous tree."""
        seen = {place}
        at = self._parents.get(place)
        while at is not None and at not in seen:
            seen.add(at)
            following = self._parents.get(at)
            if following is None and self._previous is not None and not is_snapshot(at[2]):
                path = Artifact(*at, "pom").path
                read = pom.try_read(self._previous, path)
                following = parent_of(read) if read is not None else None
            at = following
        return at == place

    def _belonging(self, version: _Version, artifact: Artifact, packaging: str) -> Iterator[Root]:
        """What coordinates without an extension stand for, besides the POM."""
        extension = _EXTENSIONS.get(packaging, packaging)
        if not extension:
            return
        sides = [kind for kind in ("sources", "javadoc") if self._spec.options.get(kind) is True]
        for kind, classifier in [(extension, ""), *(("jar", side) for side in sides)]:
            build = _build(version, kind, classifier) or artifact.build
            file = replace(artifact, extension=kind, classifier=classifier, build=build)
            if roots.known(file):
                yield Root(file.path, file)

    def _refuse(self, version: _Version, what: str) -> Iterator[LeftOut]:
        """Keep a whole version out, also what came before and what is still to come."""
        version.bad = what
        for path in version.wanted or [root.path for root in version.files]:
            yield self._out(path, what)

    def _out(self, path: str, what: str) -> LeftOut:
        self._stated.pop(path, None)
        return LeftOut(path, f"{named(path)}: {what}")


def _is_pom(root: Root) -> bool:
    artifact = root.artifact
    return artifact is not None and artifact.extension == "pom" and not artifact.classifier


def _build(version: _Version, extension: str, classifier: str) -> str:
    builds = version.builds
    return builds.get((extension, classifier)) or builds.get(("", ""), "")


def _current(version: _Version) -> Iterator[Root]:
    """A SNAPSHOT's newest builds, and those that were asked for by their time or by a listing."""
    for root in version.files:
        artifact = root.artifact
        build = "" if artifact is None else _build(version, artifact.extension, artifact.classifier)
        if artifact is None or not build or root.digests:
            yield root
            continue
        current = replace(artifact, build=build)
        if roots.known(current):
            yield Root(current.path, current)
        if artifact.moment:
            yield root


def _changes(root: Root) -> bool:
    """Whether the same path may get other bytes: a literal SNAPSHOT, or no artifact at all."""
    artifact = root.artifact
    return artifact is None or (artifact.snapshot and artifact.moment is None)


def _newest(found: metadata.Metadata) -> dict[tuple[str, str], str]:
    """The build of each (extension, classifier); under ("", "") that of old metadata for all."""
    newest = {(each.extension, each.classifier): each.value for each in found.builds}
    if not newest and found.moment is not None:
        base = found.version.removesuffix("SNAPSHOT")
        newest["", ""] = f"{base}{found.moment[0]}-{found.moment[1]}"
    return newest
