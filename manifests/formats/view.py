"""How a format sees a tree: paths, and bytes only when it asks for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests.tree import Entry, Tree


class TreeView(Protocol):
    """A tree together with the bytes of its blobs."""

    @property
    def tree(self) -> Tree:
        """The tree alone, without an overlay; for what compares two of them."""

    def lookup(self, path: str) -> Entry | None: ...
    def entries(self, prefix: str = "") -> Iterator[Entry]: ...
    def children(self, folder: str) -> Iterator[tuple[str, Entry | None]]: ...
    def has_folder(self, folder: str) -> bool: ...
    def open(self, path: str | Entry) -> BinaryIO:
        """The bytes at ``path``, or of an entry that this view gave.

        Raises KeyError when the tree has no such path.
        """

    def local(self, path: str) -> Path:
        """A read-only local file with those bytes, for libraries that want a name."""

    def checksum(self, path: str, algorithm: str) -> str:
        """Hex checksum of the file at ``path``; SHA-256 comes from the tree itself."""

    def checksums(self, entries: Sequence[Entry], algorithm: str) -> list[str]:
        """The same of some hundreds of entries that this view gave: far less work than singly."""
