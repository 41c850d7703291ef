"""What belongs to an image in a tree that is here: followed from its manifests."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from manifests.errors import FormatError
from manifests.formats.base import TreeView
from manifests.formats.oci import document
from manifests.formats.oci.document import Document, Index
from manifests.formats.oci.layout import (
    Folder,
    attached_tags,
    blob_path,
    locate,
    manifest_path,
    tag_path,
)
from manifests.tree import Entry


class ImageTree:
    """One image of a tree that was checked before."""

    def __init__(self, view: TreeView, image: str) -> None:
        self._view = view
        self._image = image
        self._documents: dict[str, Document | None] = {}
        self._referrers: dict[str, list[str]] | None = None

    def tags(self) -> list[str]:
        """All tags."""
        prefix = f"{self._image}/{Folder.TAGS}/"
        return [entry.path[len(prefix) :] for entry in self._view.entries(prefix)]

    def entry(self, path: str) -> Entry | None:
        """The entry at a path."""
        return self._view.lookup(path)

    def belongings(self, path: str) -> dict[str, Entry]:
        """Everything that the tag or manifest at ``path`` needs, referrers included.

        Empty if there is nothing at ``path``.
        """
        found: dict[str, Entry] = {}
        waiting = [path]
        while waiting:
            path = waiting.pop()
            entry = self._view.lookup(path)
            if entry is None or path in found:
                continue
            found[path] = entry
            place = locate(path)
            if place is None or place.folder is Folder.BLOBS:
                continue
            if place.folder is Folder.TAGS:
                waiting.append(manifest_path(self._image, f"sha256:{entry.digest}"))
                continue
            waiting.extend(self._named(path))
            waiting.extend(self.referrers(place.reference))
        return found

    def referrers(self, digest: str) -> Iterable[str]:
        """Paths of what refers to ``digest``, by its subject or by the tag scheme."""
        if self._referrers is None:
            self._referrers = defaultdict(list)
            for entry in self._view.entries(f"{self._image}/{Folder.MANIFESTS}/"):
                found = self._read(entry.path)
                if found is not None and found.subject is not None:
                    self._referrers[found.subject.digest].append(entry.path)
        yield from self._referrers.get(digest, ())
        for tag in attached_tags(digest):
            yield tag_path(self._image, tag)

    def _named(self, path: str) -> Iterable[str]:
        found = self._read(path)
        if isinstance(found, Index):
            return [manifest_path(self._image, row.digest) for row in found.manifests]
        if found is None:
            return ()
        return [blob_path(self._image, row.digest) for row in found.blobs]

    def _read(self, path: str) -> Document | None:
        if path not in self._documents:
            try:
                with self._view.open(path) as file:
                    self._documents[path] = document.read(file, path)
            except FormatError:
                self._documents[path] = None
        return self._documents[path]
