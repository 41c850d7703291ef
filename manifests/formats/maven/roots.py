"""What is asked for: ``spec.options["roots"]``.

Each root is a path of the layout, coordinates (``GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION``;
without an extension the POM and what its packaging calls for), or an object with ``path`` and what
a listing promised of it: ``size``, ``url``, ``sha512``, ``sha256``, ``sha1``, ``md5``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from manifests.errors import BadPath, ConfigError
from manifests.formats.base import LeftOut, Spec
from manifests.formats.maven.layout import (
    CHECKSUMS,
    METADATA,
    Artifact,
    checksum_of,
    coordinates,
    locate,
    safe_path,
    shown,
)
from manifests.formats.maven.statement import is_checksum


@dataclass(frozen=True, slots=True)
class Root:
    """One file, or with an empty ``artifact.extension`` what belongs to coordinates."""

    path: str
    artifact: Artifact | None = None
    url: str = ""
    size: int | None = None
    digests: Mapping[str, str] = field(default_factory=dict)


def read(spec: Spec) -> Iterator[Root | LeftOut]:
    """All roots; what cannot be one is left out by name. Raises ConfigError."""
    listed = spec.options.get("roots", ())
    if isinstance(listed, str) or not isinstance(listed, Sequence):
        raise ConfigError("the roots of a Maven repository are not a list", where=spec.name)
    for each in listed:
        if isinstance(each, Mapping):
            name, promised = each.get("path"), each
        else:
            name, promised = each, {}
        if not isinstance(name, str):
            raise ConfigError("a root without a name", where=spec.name)
        try:
            root = _root(name, promised)
        except BadPath as error:
            yield LeftOut(shown(name), error.what)
            continue
        if root is not None:
            yield root


def _root(name: str, promised: Mapping[str, object]) -> Root | None:
    if "/" not in name and ":" in name:
        artifact = coordinates(name)
        return Root(artifact.path if artifact.extension else "", artifact)
    path = safe_path(name)
    if path.rpartition("/")[2] == METADATA or checksum_of(path) is not None:
        return None  # made here
    found, url, size = locate(path), promised.get("url"), promised.get("size")
    digests = {
        kind: value.lower()
        for kind in CHECKSUMS
        if isinstance(value := promised.get(kind), str) and is_checksum(kind, value.lower())
    }
    return Root(
        path,
        found,
        url if isinstance(url, str) else "",
        size if isinstance(size, int) and size >= 0 else None,
        digests,
    )


def known(artifact: Artifact) -> bool:
    """Whether the layout holds this artifact where it says; metadata and POMs may name anything."""
    try:
        return locate(safe_path(artifact.path)) == artifact
    except BadPath:
        return False
