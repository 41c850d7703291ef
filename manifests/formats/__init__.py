"""One file per format; no sockets, no store writes."""

from __future__ import annotations

from manifests.errors import ConfigError
from manifests.formats.base import Format
from manifests.formats.files import FilesFormat
from manifests.formats.maven import MavenFormat
from manifests.formats.oci import OciFormat
from manifests.formats.yum import YumFormat

#: Every format that Sluice knows, by its name.
FORMATS: dict[str, Format] = {
    each.name: each for each in (FilesFormat(), MavenFormat(), OciFormat(), YumFormat())
}


def format_named(name: str) -> Format:
    """The format called ``name``; raises ConfigError with the known names."""
    try:
        return FORMATS[name]
    except KeyError:
        known = ", ".join(sorted(FORMATS))
        raise ConfigError(f"unknown format {name[:40]!r}", remedy=f"use one of: {known}") from None
