"""What an item of a tree is, in the words of its format: for people who read what changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, NamedTuple, Protocol

from manifests.tree import PRIVATE

Opener = Callable[[], BinaryIO | None]
"""Opens the bytes of an item; gives None if they are not here."""


class Described(NamedTuple):
    """``what`` names an item as people of its format do: NEVRA, coordinates, IMAGE:TAG, else
    its path. ``kind`` says what that is; ``version`` is empty where nothing has one."""

    kind: str
    what: str
    name: str
    version: str = ""


class Describer(Protocol):
    """Tells people what an item is."""

    def describe(self, path: str, opener: Opener) -> Described:
        """What is at ``path``. Never raises for what is in the bytes."""


class Describing:
    """Every file is a file, until a format knows better."""

    def describe(self, path: str, opener: Opener) -> Described:
        return plain(path)


def plain(path: str, kind: str = "file") -> Described:
    """An item that has no other name than its path."""
    return Described("facts" if path.startswith(PRIVATE) else kind, path, path)
