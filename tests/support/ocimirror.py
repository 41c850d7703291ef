"""What tests of mirroring images share: a repository's settings, and its tree as images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manifests.formats.oci.layout import Folder, Place, locate
from manifests.formats.oci.rules import Asked, ImageRule, rule_of
from manifests.zone.model import Connection, Oci, Repository, Upstream
from store.store import Store
from tests.clients.syncing import Mirror

FAST = Connection(retries=1, timeout=20.0)


def images(
    url: str, *rules: ImageRule | str, connection: Connection = FAST, auth_file: Path | None = None,
    max_removals: float = 1.0, **asked: Any,
) -> Repository:  # fmt: skip
    """A repository of images named ``platform``."""
    return Repository(
        name="platform",
        format="oci",
        upstream=Upstream(urls=(url.rstrip("/") + "/",)),
        connection=connection,
        max_removals=max_removals,
        oci=Oci(
            asked=Asked(
                images=tuple(rule_of(r) if isinstance(r, str) else r for r in rules), **asked
            ),
            auth_file=auth_file,
        ),
    )


class ImageMirror(Mirror):
    """Syncs images into one store."""

    def __init__(self, store: Store, repo: Repository) -> None:
        super().__init__(store, repo)

    def places(self) -> list[Place]:
        """All that the newest snapshot has, but for private files."""
        return [place for path in self.paths() if (place := locate(path)) is not None]

    def tags(self) -> dict[str, str]:
        """``IMAGE:TAG`` to its manifest's digest."""
        digests = self.paths()
        return {
            f"{place.image}:{place.reference}": f"sha256:{digests[place.path]}"
            for place in self.places()
            if place.folder is Folder.TAGS
        }

    def blobs(self) -> set[str]:
        """Digests of all configs and layers."""
        return {p.reference for p in self.places() if p.folder is Folder.BLOBS}
