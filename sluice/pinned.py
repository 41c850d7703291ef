"""The root of trust that a person pinned inside, as it lies on the disk."""

from __future__ import annotations

from pathlib import Path

from manifests.documents import RootDocument
from manifests.errors import ConfigError, TrustError, WireError
from manifests.roots import read_pinned
from manifests.zone import InsideStream

_MAX_ROOT = 1 << 20


def root_in(path: Path, *, what: str, remedy: str) -> RootDocument:
    """The root document in a file.

    Raises ConfigError if it cannot be read (``what``, and why; ``remedy``) or is none: whoever
    named it named another file.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_ROOT)
    except OSError as error:
        raise ConfigError(f"{what}: {error.strerror}", where=str(path), remedy=remedy) from error
    try:
        return read_pinned(data, where=str(path))
    except (TrustError, WireError) as error:
        raise ConfigError(error.what, where=error.where, remedy=error.remedy) from error


def pinned_root(stream: InsideStream) -> RootDocument:
    """The pinned root document, which speaks for ``stream``.

    Raises ConfigError if it is another stream's, and what `root_in` raises.
    """
    root = root_in(
        stream.root,
        what="the pinned root of trust cannot be read",
        remedy="put the outside's exported root back there",
    )
    if root.stream != stream.name:
        raise ConfigError(
            f"the pinned root speaks for the stream {root.stream}",
            where=str(stream.root),
            remedy="name the stream in zone.yaml as the outside does, or pin another root",
        )
    return root
