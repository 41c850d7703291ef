"""Is a tree of images complete and consistent? Proved from the tree alone.

Every path is one of the layout, every file has the digest that its path names, every tag is one
of its image's manifests, and everything that a manifest or an index names is there with the size
that was stated. An index may be sparse: what the facts say was left out is advice.
"""

from __future__ import annotations

from collections.abc import Iterator

from manifests.errors import FormatError
from manifests.formats.base import Problem, Severity, TreeView
from manifests.formats.bounded import compression
from manifests.formats.oci import document, facts, media
from manifests.formats.oci.document import Descriptor, Document, Index
from manifests.formats.oci.layout import (
    FACTS,
    Folder,
    Place,
    blob_path,
    locate,
    manifest_path,
    split_digest,
)
from manifests.tree import PRIVATE, Entry

MAX_DEPTH = 4
"""Indexes within indexes."""
_HEAD = 16


def check(view: TreeView) -> Iterator[Problem]:
    """See ``Format.check``. Raises FormatError where the facts cannot be read."""
    known = facts.read(view)
    image = ""
    one: _Image | None = None
    for entry in view.entries():
        if entry.path.startswith(PRIVATE):
            continue
        place = locate(entry.path)
        if place is None or place.folder is Folder.REFERRERS:
            yield Problem(entry.path, "not a path of an image")
            continue
        if one is None or place.image != image:
            if one is not None:
                yield from one.finish()
            image = place.image
            one = _Image(view, image, known)
        yield from one.look(entry, place)
    if one is not None:
        yield from one.finish()
    for name in known.left_out:
        if not view.has_folder(name):
            yield Problem(FACTS, f"names an image that is not here: {name}", Severity.ADVICE)


class _Image:
    """One image's files. Folders come in the order of their names: blobs, manifests, tags."""

    def __init__(self, view: TreeView, image: str, known: facts.Facts) -> None:
        self._view = view
        self._image = image
        self._facts = known
        self._unnamed: set[str] = set()
        self._indexes: dict[str, list[str]] = {}
        self._kinds: dict[str, str] = {}
        """Media types of manifests, or what is wrong with them: many indexes may name the same."""

    def look(self, entry: Entry, place: Place) -> Iterator[Problem]:
        """One file."""
        if place.folder is Folder.TAGS:
            yield from self._tag(entry, place)
            return
        algorithm, digits = split_digest(place.reference)
        own = algorithm == "sha256"
        found = entry.digest if own else self._view.checksum(entry.path, algorithm)
        if found != digits:
            yield Problem(entry.path, "its bytes have another digest than its path")
        elif place.folder is Folder.MANIFESTS:
            yield from self._manifest(entry, place)
        else:
            self._unnamed.add(entry.path)

    def _tag(self, entry: Entry, place: Place) -> Iterator[Problem]:
        if self._view.lookup(manifest_path(self._image, f"sha256:{entry.digest}")) is not None:
            return
        digits = self._view.checksum(entry.path, "sha512")
        if self._view.lookup(manifest_path(self._image, f"sha512:{digits}")) is None:
            yield Problem(entry.path, "its manifest is not among those of the image")

    def _read(self, path: str) -> Document | FormatError:
        """A manifest, or what is wrong with it."""
        found: Document | FormatError
        try:
            with self._view.open(path) as file:
                found = document.read(file, path)
        except FormatError as error:
            found = error
        self._kinds[path] = found.what if isinstance(found, FormatError) else found.media_type
        return found

    def _manifest(self, entry: Entry, place: Place) -> Iterator[Problem]:
        found = self._read(entry.path)
        if isinstance(found, FormatError):
            yield Problem(entry.path, found.what)
            return
        if isinstance(found, Index):
            self._indexes[place.reference] = [row.digest for row in found.manifests]
            yield from self._children(entry.path, found)
            return
        for row in found.blobs:
            path = blob_path(self._image, row.digest)
            other = self._view.lookup(path)
            if other is None:
                yield Problem(entry.path, f"{row.digest}, which it names, is not here")
                continue
            self._unnamed.discard(path)
            yield from self._blob(entry.path, other, row)

    def _children(self, path: str, found: Index) -> Iterator[Problem]:
        absent, here = [], 0
        for row in {
            (row.digest, row.media_type, row.size): row for row in found.manifests
        }.values():
            other = self._view.lookup(manifest_path(self._image, row.digest))
            if other is not None:
                here += 1
                yield from self._child(path, other, row)
            elif not self._facts.is_left_out(self._image, row.digest):
                yield Problem(path, f"{row.digest}, which it names, is not here")
            else:
                absent.append(row)
        if absent and not here:
            yield Problem(path, "nothing that this index names is here")
        elif absent:
            names = sorted({str(row.platform) if row.platform else row.digest for row in absent})
            what = f"sparse: without {', '.join(names[:8])}" + (" ..." if len(names) > 8 else "")
            yield Problem(path, what, Severity.ADVICE)

    def _child(self, path: str, other: Entry, row: Descriptor) -> Iterator[Problem]:
        yield from self._size(path, other, row)
        if other.path not in self._kinds:
            self._read(other.path)
        kind = self._kinds[other.path]
        if kind != row.media_type:
            yield Problem(path, f"{row.digest} is {kind}, this index says {row.media_type}")

    def _blob(self, path: str, other: Entry, row: Descriptor) -> Iterator[Problem]:
        yield from self._size(path, other, row)
        promised = media.compression(row.media_type)
        if promised is None or other.size == 0:
            return
        with self._view.open(other.path) as file:
            found = compression(file.read(_HEAD))
        if found != promised:
            what = f"{row.digest} is {found}, its media type says {promised}"
            yield Problem(path, what, Severity.ADVICE)

    def _size(self, path: str, other: Entry, row: Descriptor) -> Iterator[Problem]:
        if other.size != row.size:
            yield Problem(
                path, f"{row.digest} has {other.size} bytes, this manifest says {row.size}"
            )

    def finish(self) -> Iterator[Problem]:
        """What is known only at the end of an image."""
        for path in sorted(self._unnamed):
            yield Problem(path, "no manifest names it", Severity.ADVICE)
        if self._deep():
            yield Problem(
                f"{self._image}/{Folder.MANIFESTS}", f"indexes nested more than {MAX_DEPTH} deep"
            )

    def _deep(self) -> bool:
        """Whether an index leads through too many others. Digests make a cycle impossible, but

        not a chain."""
        level = set(self._indexes)
        for _ in range(MAX_DEPTH):
            level = {row for each in level for row in self._indexes[each] if row in self._indexes}
            if not level:
                return False
        return True
