"""What a yum client needs to use a repository, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from urllib.parse import quote

from manifests.formats.yum.repomd import REPOMD
from repo_server.settings import Settings
from repo_server.setup.base import Refusal, SetupFile
from repo_server.site import Live, Site

#: Seconds after which a client looks for a new publication.
METADATA_EXPIRE = 300


class YumSetup:
    """``NAME.repo`` and ``keys/NAME.asc`` for each repository."""

    format = "yum"

    def find(self, site: Site, name: str) -> SetupFile | None:
        settings = site.settings
        keys = name.startswith("keys/")
        ending = ".asc" if keys else ".repo"
        bare = name.removeprefix("keys/").removesuffix(ending)
        live = site.repositories.get(bare) if name.endswith(ending) else None
        if live is None or live.edition.publication.format != self.format:
            return None
        if keys:
            return SetupFile(
                "application/pgp-keys",
                lambda asked: (
                    key_file(settings, bare, live)
                    or Refusal(404, "No key of this repository is pinned or approved.")
                ),
            )
        return SetupFile(
            "text/plain; charset=utf-8",
            lambda asked: repo_file(settings, bare, live, asked.base).encode(),
        )

    def link(self, name: str) -> tuple[str, str]:
        return f"{name}.repo", ".repo"

    def section(self, site: Site, base: str) -> Iterator[str]:
        """The ``.repo`` files that clients may fetch, with the commands that do it."""
        yield "<h2>dnf and yum</h2>\n<p>As root:</p>\n<table>\n"
        for name in site.names("yum"):
            yield (
                f'<tr><td><a href="{quote(name)}.repo">{escape(name)}.repo</a></td>'
                f"<td><code>curl -o /etc/yum.repos.d/{escape(name)}.repo "
                f"{escape(base)}/setup/{quote(name)}.repo</code></td></tr>\n"
            )
        yield "</table>\n"


def key_file(settings: Settings, name: str, live: Live) -> bytes:
    """All keys that a client of the repository may trust, ASCII armored; b"" if none.

    Those pinned inside, those that a person approved, and our own if we made the indexes.
    """
    blocks = vendor_keys(settings, name, live)
    if settings.repository_key and _signed_here(live):
        blocks.append(settings.repository_key)
    unique = dict.fromkeys(block.strip() for block in blocks)
    return "".join(f"{block}\n" for block in unique).encode()


def vendor_keys(settings: Settings, name: str, live: Live) -> list[str]:
    """Keys of the upstream: pinned ones, then approved ones."""
    approved = [key.armored.decode("ascii", "replace") for key in live.keys]
    return [*settings.keys.get(name, ()), *approved]


def repo_file(settings: Settings, name: str, live: Live, base: str) -> str:
    """The ``.repo`` file. Raises BlobMissing.

    ``gpgcheck`` is on when a key of the upstream is known, ``repo_gpgcheck`` when
    repomd.xml has a signature and the key that made it is known.
    """
    vendor = bool(vendor_keys(settings, name, live))
    if _signed_here(live):
        signed = bool(settings.repository_key)
    else:
        signed = vendor and live.edition.view.lookup(f"{REPOMD}.asc") is not None
    lines = [
        f"[{name}]",
        f"name={name}",
        f"baseurl={base}/yum/{name}/",
        "enabled=1",
        f"gpgcheck={int(vendor)}",
        f"repo_gpgcheck={int(signed)}",
        f"metadata_expire={METADATA_EXPIRE}",
    ]
    if vendor or signed:
        lines.append(f"gpgkey={base}/setup/keys/{name}.asc")
    else:
        lines.insert(0, "# No key of this repository is pinned or approved inside, so a client")
        lines.insert(1, "# cannot check its signatures: pin one by `require:` in zone.yaml.")
    return "\n".join(lines) + "\n"


def _signed_here(live: Live) -> bool:
    overlay = live.edition.overlay
    return overlay is not None and overlay.lookup(f"{REPOMD}.asc") is not None
