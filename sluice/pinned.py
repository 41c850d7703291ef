"""The root of trust that a person pinned inside, as it lies on the disk."""

from __future__ import annotations

from manifests.errors import ConfigError, ForeignRoot
from manifests.roots import read_pinned
from manifests.zone import InsideStream

_MAX_ROOT = 1 << 20


def pinned_root(stream: InsideStream) -> bytes:
    """The pinned root document, which reads and speaks for ``stream``.

    Raises ConfigError if the file cannot be read, ForeignRoot if it is another stream's, and
    what `read_pinned` raises.
    """
    try:
        with stream.root.open("rb") as file:
            data = file.read(_MAX_ROOT)
    except OSError as error:
        raise ConfigError(
            f"the pinned root of trust cannot be read: {error.strerror}",
            where=str(stream.root),
            remedy="put the outside's exported root back there",
        ) from error
    root = read_pinned(data, where=str(stream.root))
    if root.stream != stream.name:
        raise ForeignRoot(
            f"the pinned root speaks for the stream {root.stream}",
            where=str(stream.root),
            remedy="name the stream in zone.yaml as the outside does, or pin another root",
        )
    return data
