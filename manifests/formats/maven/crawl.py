"""Fetches roots with the upstream's checksums, file by file; what is wrong stays out by name.

A release never changes, so what the previous tree holds is asked of nobody. Of a SNAPSHOT the
metadata is read, and its newest build fetched. The first file of a version is probed for the
strongest checksum that the upstream has, its other files begin there; what has none is asked for
twice. Nothing is resolved: the roots are the closure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from urllib.parse import quote

from manifests.errors import BadPath, ConfigError, FormatError
from manifests.formats.base import Absent, Found, LeftOut, Refused, Result, Spec, TreeView, Wanted
from manifests.formats.bounded import read_small
from manifests.formats.maven import metadata, pom, roots, statement
from manifests.formats.maven.check import Place, is_binary, looks_like_page, parent_of, place_of
from manifests.formats.maven.folders import Folder, Note, changes, is_pom, newest
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
        folders: dict[str, Folder] = {}
        for root in roots.read(self._spec):
            if isinstance(root, LeftOut):
                yield root
                continue
            path = root.artifact.folder if root.artifact else root.path.rpartition("/")[0]
            folder = folders.setdefault(path, Folder(path))
            if root.artifact is not None and not root.artifact.extension:
                folder.bare = True
                root = replace(root, artifact=replace(root.artifact, extension="pom"))
                assert root.artifact is not None
                root = replace(root, path=root.artifact.path)
            folder.files.append(root)
        for folder in folders.values():
            if is_snapshot(folder.path.rpartition("/")[2]) and folder.files[0].artifact:
                yield self._metadata(folder)
            else:
                yield from self._files(folder, folder.files)

    def feed(self, wanted: Wanted, result: Result) -> Iterator[Wanted | LeftOut]:
        note = wanted.note
        if isinstance(note, Folder):
            yield from self._builds(note, result)
        elif isinstance(note, Note) and note.kind >= 0:
            yield from self._probed(note, result)
        elif isinstance(note, Note) and note.seen is not None:
            yield from self._again(note, result)
        elif isinstance(note, Note):
            yield from self._came(note, result)

    def facts(self) -> Iterable[tuple[str, bytes]]:
        """The upstream's checksums of what was kept."""
        return statement.write(self._stated)

    # --- SNAPSHOTs

    def _metadata(self, folder: Folder) -> Wanted:
        path = f"{folder.path}/{METADATA}"
        return Wanted(
            ASKED + path,
            quote(path),
            limit=metadata.MAX_BYTES,
            required=False,
            parse=True,
            keep=False,
            volatile=True,
            alone=True,
            note=folder,
        )

    def _builds(self, folder: Folder, result: Result) -> Iterator[Wanted | LeftOut]:
        """The newest build of each root, and builds that were asked for by their time."""
        if isinstance(result, Refused):
            yield from self._unknown(folder, result.what)
            return
        if not isinstance(result, Absent):
            try:
                with result.body.open() as file:
                    data = read_small(file, metadata.MAX_BYTES, folder.path)
                folder.builds = newest(metadata.read(data, folder.path))
            except FormatError as error:
                yield from self._unknown(folder, error.what)
                return
        yield from self._files(folder, list(folder.current()))

    def _unknown(self, folder: Folder, what: str) -> Iterator[Wanted | LeftOut]:
        """Nobody can tell which builds there are: those that are here stay."""
        here = list(folder.here(self._previous))
        for path in dict.fromkeys(root.path for root in folder.files):
            if path not in {root.path for root in here}:
                yield LeftOut(path, f"{folder.name}: {METADATA}: {what}")
        if here:
            yield LeftOut(f"{folder.path}/{METADATA}", f"{folder.name}: {METADATA}: {what}")
        yield from self._files(folder, here)

    # --- checksums

    def _files(self, folder: Folder, files: Iterable[Root]) -> Iterator[Wanted | LeftOut]:
        """Ask for files, or first for their checksums."""
        for root in files:
            if root.path in folder.wanted:
                continue
            folder.wanted[root.path] = root
            if why := folder.why(root):
                yield from self._out(folder, root, why)
                continue
            entry = None
            if self._previous is not None and not changes(root):
                entry = self._previous.lookup(root.path)
            if root.digests:
                kind = next(kind for kind in CHECKSUMS if kind in root.digests)
                yield self._file(folder, root, (kind, root.digests[kind]))
            elif entry is not None:
                if root.path in self._before:
                    self._stated[root.path] = self._before[root.path]
                known = replace(root, digests={"sha256": entry.digest}, size=entry.size)
                yield self._file(folder, known, None)
            elif folder.probing:
                folder.waiting.append(root)
            else:
                leads = folder.first == 0
                folder.probing = leads
                yield from self._probe(Note(folder, root, folder.first, leads))

    def _probe(self, note: Note) -> Iterator[Wanted | LeftOut]:
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
            volatile=changes(note.root),
            alone=True,
            note=note,
        )

    def _probed(self, note: Note, result: Result) -> Iterator[Wanted | LeftOut]:
        if isinstance(result, Refused) and result.silent:
            yield from self._out(note.folder, note.root, f"its checksum: {result.what}")
            yield from self._settle(note, _SHA1)
            return
        value = None
        if not isinstance(result, Absent | Refused):
            with result.body.open() as file:
                data = read_small(file, MAX_CHECKSUM_FILE, note.root.path)
            value = statement.parse_checksum(data, _KINDS[note.kind])
        if value is not None:
            yield self._file(note.folder, note.root, (_KINDS[note.kind], value))
            yield from self._settle(note, note.kind)
        elif note.kind + 1 < len(_KINDS):
            yield from self._probe(replace(note, kind=note.kind + 1))
        else:
            yield self._file(note.folder, note.root, None)
            yield from self._settle(note, _SHA1)

    def _settle(self, note: Note, kind: int) -> Iterator[Wanted | LeftOut]:
        """The first file knows its checksum: the others begin with that kind."""
        folder = note.folder
        if not note.leads:
            return
        folder.first, folder.probing = max(1, min(kind, _SHA1)), False
        waiting, folder.waiting = folder.waiting, []
        for root in waiting:
            yield from self._probe(Note(folder, root, min(kind, _SHA1)))

    def _file(self, folder: Folder, root: Root, stated: Stated | None) -> Wanted:
        digests = dict(root.digests)
        if stated is not None:
            digests.setdefault(*stated)
            self._stated[root.path] = stated
        leads = folder.bare and is_pom(root)
        return Wanted(
            root.path,
            root.url or quote(root.path),
            digests=digests,
            size=root.size,
            limit=_limit(root),
            required=False,
            parse=True,
            late=not leads,
            volatile=changes(root) and not digests,
            alone=True,
            note=Note(folder, root),
        )

    # --- files

    def _came(self, note: Note, result: Result) -> Iterator[Wanted | LeftOut]:
        folder, root = note.folder, note.root
        if isinstance(result, Absent):
            what = f"the upstream does not have it (status {result.status})"
            yield from self._out(folder, root, what, gone=True)
        elif isinstance(result, Refused) and is_pom(root):
            yield from self._refuse(folder, root, result.what)
        elif isinstance(result, Refused):
            yield from self._out(folder, root, result.what)
        elif why := folder.why(root):
            yield from self._out(folder, root, why)
        elif root.artifact is not None and is_pom(root):
            with result.body.open() as file:
                data = read_small(file, pom.MAX_BYTES, root.path)
            yield from self._pom(note, root.artifact, data)
        elif root.artifact is not None:
            with result.body.open() as file:
                head = file.read(64)
            if is_binary(root.artifact) and looks_like_page(head):
                yield from self._out(folder, root, "a web page instead of the file")
        if isinstance(result, Found) and not root.digests and root.path not in self._stated:
            yield from self._once_more(note, result)

    def _once_more(self, note: Note, result: Found) -> Iterator[Wanted]:
        """Nobody vouches for it, so it must at least be the same when it is asked for again."""
        root = note.root
        if note.folder.left(root):
            return
        yield Wanted(
            f"{ASKED}{root.path}.again",
            root.url or quote(root.path),
            limit=_limit(root),
            required=False,
            parse=True,
            keep=False,
            alone=True,
            note=replace(note, seen=result.body.digest),
        )

    def _again(self, note: Note, result: Result) -> Iterator[Wanted | LeftOut]:
        if isinstance(result, Absent | Refused) or result.body.digest != note.seen:
            what = "other bytes came when it was asked for again"
            if is_pom(note.root):
                yield from self._refuse(note.folder, note.root, what)
            else:
                yield from self._out(note.folder, note.root, what)

    def _pom(self, note: Note, artifact: Artifact, data: bytes) -> Iterator[Wanted | LeftOut]:
        try:
            found = pom.parse(data, note.root.path)
        except FormatError as error:
            yield from self._refuse(note.folder, note.root, error.what)
            return
        if found.broken and note.root.path not in self._stated:
            yield from self._refuse(note.folder, note.root, found.broken)
            return
        place, parent = place_of(artifact), parent_of(found)
        if parent is not None:
            self._parents[place] = parent
            if self._own_ancestor(place):
                what = "its POM is its own ancestor by its parents"
                yield from self._refuse(note.folder, note.root, what)
                return
        if note.folder.bare:
            note.folder.bare = False
            files = self._belonging(note.folder, artifact, found.packaging)
            yield from self._files(note.folder, list(files))

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

    def _belonging(self, folder: Folder, artifact: Artifact, packaging: str) -> Iterator[Root]:
        """What coordinates without an extension stand for, besides the POM."""
        extension = _EXTENSIONS.get(packaging, packaging)
        if not extension:
            return
        sides = [kind for kind in ("sources", "javadoc") if self._spec.options.get(kind) is True]
        for kind, classifier in [(extension, ""), *(("jar", side) for side in sides)]:
            build = folder.build(kind, classifier) or artifact.build
            file = replace(artifact, extension=kind, classifier=classifier, build=build)
            if roots.known(file):
                yield Root(file.path, file)

    def _refuse(self, folder: Folder, bad: Root, what: str) -> Iterator[Wanted | LeftOut]:
        """Keep a whole build out, also what came before and what is still to come.

        ``bad`` is its POM; a release has one build.
        """
        assert bad.artifact is not None
        folder.bad[bad.artifact.build] = what
        for root in list(folder.wanted.values()):
            if folder.why(root):
                yield from self._out(folder, root, what)

    def _out(
        self, folder: Folder, root: Root, what: str, *, gone: bool = False
    ) -> Iterator[Wanted | LeftOut]:
        """Keep a file out. Of a SNAPSHOT stays what the previous tree has in its place:

        the same path, unless it is ``gone`` upstream, or an older build.
        """
        known = None if self._previous is None else self._previous.lookup(root.path)
        earlier = known is not None and changes(root) and not gone
        self._stated.pop(root.path, None)
        if earlier and root.path in self._before:
            self._stated[root.path] = self._before[root.path]
        folder.out.add(root.path)
        yield LeftOut(root.path, f"{named(root.path)}: {what}", earlier)
        yield from self._files(folder, folder.older(self._previous, root))


def _limit(root: Root) -> int:
    return pom.MAX_BYTES if is_pom(root) else MAX_FILE
