"""``/setup/``: what a yum client needs to use a repository, in one file."""

from __future__ import annotations

import re

from manifests.formats.yum.repomd import REPOMD
from repo_server.settings import Settings
from repo_server.site import Live

#: Seconds after which a client looks for a new publication.
METADATA_EXPIRE = 300
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::[0-9]{1,5})?"
)


def base_url(settings: Settings, host: str | None, local: tuple[str, int]) -> str:
    """Where the client reaches us: ``external_url``, or what it says itself.

    A Host header that is not plainly a host is not repeated; the address that the
    connection came to stands in for it.
    """
    if settings.serve.external_url is not None:
        return settings.serve.external_url
    if host is not None and len(host) < 262 and _HOST.fullmatch(host):
        return f"http://{host}"
    address, port = local
    return f"http://{f'[{address}]' if ':' in address else address}:{port}"


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
