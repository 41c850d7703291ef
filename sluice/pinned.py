"""The root of trust that a person pinned inside, as it lies on the disk."""

from __future__ import annotations

from pathlib import Path

from manifests.documents import RootDocument
from manifests.errors import ConfigError, ForeignRoot
from manifests.roots import read_pinned
from manifests.zone import InsideStream

_MAX_ROOT = 1 << 20


def root_in(path: Path, *, what: str, remedy: str) -> RootDocument:
    """The root document in a file.

    Raises ConfigError (``what``, and why; ``remedy``) if it cannot be read, and what
    `read_pinned` raises.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ROOT)
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}", where=str(path), remedy=remedy) from error
    return read_pinned(data, where=str(path))


def pinned_root(stream: InsideStream) -> RootDocument:
    """The pinned root document, which speaks for ``stream``.

    Raises ForeignRoot if it is another stream's, and what `root_in` raises.
    """
    root = root_in(
        stream.root,
        what="the pinned root of trust cannot be read",
        remedy="put the outside's exported root back there",
    )
    if root.stream != stream.name:
        raise ForeignRoot(
            f"the pinned root speaks for the stream {root.stream}",
            where=str(stream.root),
            remedy="name the stream in zone.yaml as the outside does, or pin another root",
        )
    return root
