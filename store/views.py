"""A tree and its overlay seen as one, with the bytes of their blobs.

This module imports no database, so that a confined child starts fast.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, TypeVar

from manifests.digest import Digest
from manifests.tree import Entry, Tree
from store.blobs import BlobStore

_T = TypeVar("_T")


class StoredView:
    """Implements ``manifests.formats.base.TreeView``; the overlay lies over the tree.

    Nothing is loaded: look-ups bisect both trees, listings merge them. Private paths
    (``.sluice/``) are visible; hiding them from clients is the answer's duty.
    """

    def __init__(
        self,
        tree: Tree,
        overlay: Tree | None,
        blobs: BlobStore,
        checksums: Callable[[Sequence[Digest], str], list[str]],
    ) -> None:
        self._tree = tree
        self._overlay = overlay
        self._blobs = blobs
        self._checksums = checksums

    @property
    def tree(self) -> Tree:
        """The tree without its overlay."""
        return self._tree

    def lookup(self, path: str) -> Entry | None:
        """The entry at exactly ``path``, or None."""
        if self._overlay is not None:
            found = self._overlay.lookup(path)
            if found is not None:
                return found
        return self._tree.lookup(path)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All entries whose path starts with ``prefix``, in order."""
        under = self._tree.entries(prefix)
        return under if self._overlay is None else laid_over(under, self._overlay.entries(prefix))

    def children(self, folder: str) -> Iterator[tuple[str, Entry | None]]:
        """The names directly below ``folder``: (name, entry), entry None for a folder."""
        under = self._tree.children(folder)
        if self._overlay is None:
            return under
        return _merged(under, self._overlay.children(folder), _child_key)

    def has_folder(self, folder: str) -> bool:
        """Whether any path lies below ``folder``."""
        over = self._overlay is not None and self._overlay.has_folder(folder)
        return over or self._tree.has_folder(folder)

    def open(self, path: str | Entry) -> BinaryIO:
        """The bytes at ``path``, or of an entry of this view; raises KeyError, BlobMissing."""
        entry = path if isinstance(path, Entry) else self._entry(path)
        return self._blobs.open(entry.digest)

    def local(self, path: str) -> Path:
        """A read-only local file with those bytes; raises KeyError, BlobMissing."""
        return self._blobs.path(self._entry(path).digest)

    def checksum(self, path: str, algorithm: str) -> str:
        """Hex checksum of the file at ``path``; raises KeyError, BlobMissing, ValueError."""
        entry = self._entry(path)
        return self.checksums([entry], algorithm)[0]

    def checksums(self, entries: Sequence[Entry], algorithm: str) -> list[str]:
        """The same for many entries of this view at once; raises BlobMissing, ValueError."""
        digests = [entry.digest for entry in entries]
        return list(digests) if algorithm == "sha256" else self._checksums(digests, algorithm)

    def _entry(self, path: str) -> Entry:
        entry = self.lookup(path)
        if entry is None:
            raise KeyError(path)
        return entry


def laid_over(under: Iterable[Entry], over: Iterable[Entry]) -> Iterator[Entry]:
    """Merge two sorted streams of entries; where both have a path, ``over`` wins."""
    return _merged(under, over, lambda entry: entry.path.encode())


def _merged(under: Iterable[_T], over: Iterable[_T], key: Callable[[_T], bytes]) -> Iterator[_T]:
    # heapq.merge is stable: of equal keys, the one from ``over`` comes first.
    for _, same in groupby(heapq.merge(over, under, key=key), key):
        yield next(same)


def _child_key(child: tuple[str, Entry | None]) -> bytes:
    """Children stand where their line, or their folder's first line, stands in the tree."""
    name, entry = child
    return name.encode() + (b"/" if entry is None else b"\t")
