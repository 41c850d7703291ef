"""One file or folder per format; no sockets, no store writes."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from manifests.errors import ConfigError
from manifests.formats.base import Format

# Each is loaded when it is asked for: a confined child needs one, most commands need none.


def _files() -> Format:
    from manifests.formats.files import FilesFormat

    return FilesFormat()


def _maven() -> Format:
    from manifests.formats.maven.format import MavenFormat

    return MavenFormat()


def _oci() -> Format:
    from manifests.formats.oci.format import OciFormat

    return OciFormat()


def _yum() -> Format:
    from manifests.formats.yum.format import YumFormat

    return YumFormat()


#: Every format that Sluice knows, by its name.
FORMATS: dict[str, Callable[[], Format]] = {
    "files": _files,
    "maven": _maven,
    "oci": _oci,
    "yum": _yum,
}


@cache
def format_named(name: str) -> Format:
    """The format called ``name``, always the same; raises ConfigError with the known names."""
    if name not in FORMATS:
        known = ", ".join(sorted(FORMATS))
        raise ConfigError(f"unknown format {name[:40]!r}", remedy=f"use one of: {known}")
    return FORMATS[name]()
