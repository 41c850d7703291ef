"""What the set-up files of all formats share: where we are reached, and the shape of a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import parse_qs

from repo_server.settings import Settings
from repo_server.site import Site

_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.?|\[[0-9A-Fa-f:.]{2,45}\])"
    r"(?::[0-9]{1,5})?"
)
_WORDS = 64


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client said. ``base`` is where it reaches us, without a slash at the end."""

    base: str
    query: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no such file now: an HTTP status and one line for a person."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class SetupFile:
    """A file below ``/setup/``. ``make`` may read trees, and may raise BlobMissing."""

    content_type: str
    make: Callable[[Asked], bytes | Refusal]


class SetupFiles(Protocol):
    """What one format offers below ``/setup/``."""

    @property
    def format(self) -> str: ...

    def find(self, site: Site, name: str) -> SetupFile | None:
        """The file at ``/setup/NAME``, if it is one of ours."""

    def link(self, name: str) -> tuple[str, str]:
        """Path below ``/setup/`` and label of what sets up the repository ``name``."""

    def section(self, site: Site, base: str) -> Iterator[str]:
        """HTML for ``/setup/``; asked only when a repository of the format is served."""


def asked(base: str, query: str) -> Asked | None:
    """What a client said by the raw ``query``; None for one that cannot be read."""
    try:
        words = parse_qs(query, keep_blank_values=True, errors="strict", max_num_fields=_WORDS)
    except ValueError:
        return None
    return Asked(base, words)


def base_url(settings: Settings, host: str | None, local: tuple[str, int]) -> str:
    """Where the client reaches us: ``external_url``, or what it says itself.

    A Host header that is not plainly a host is not repeated; the address that the
    connection came to stands in for it.
    """
    if settings.serve.external_url is not None:
        return settings.serve.external_url
    if host is not None and len(host) < 262 and _HOST.fullmatch(host):
        return f"{settings.scheme}://{host}"
    address, port = local
    return f"{settings.scheme}://{f'[{address}]' if ':' in address else address}:{port}"
