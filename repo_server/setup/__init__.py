"""``/setup/``: what clients need to use us, one module for each format that has such files."""

from __future__ import annotations

from repo_server.setup.base import Asked, Refusal, SetupFile, SetupFiles, asked, base_url
from repo_server.setup.maven import MavenSetup
from repo_server.setup.oci import OciSetup
from repo_server.setup.yum import YumSetup
from repo_server.site import Site

__all__ = ["ALL", "Asked", "Refusal", "SetupFile", "asked", "base_url", "find"]

#: What each format offers; a new one adds its module and stands here.
ALL: dict[str, SetupFiles] = {each.format: each for each in (MavenSetup(), OciSetup(), YumSetup())}


def find(site: Site, name: str) -> SetupFile | None:
    """The file at ``/setup/NAME``."""
    for each in ALL.values():
        found = each.find(site, name)
        if found is not None:
            return found
    return None
