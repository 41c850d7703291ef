"""The one gate: nothing of a repository leaves the server unless it says so."""

from __future__ import annotations

from typing import Protocol

from manifests.digest import Digest


class Gate(Protocol):
    """Asked before every body, index and listing, also when the answer is remembered."""

    def allow(self, principal: str, repository: str, path: str, digest: Digest | None) -> bool:
        """Whether ``principal`` (empty: anybody) may have this.

        ``path`` is relative to the repository; a listing has its folder and no digest.
        """


class DenyDigests:
    """Everybody may have everything but the denied digests."""

    def __init__(self, denied: frozenset[Digest]) -> None:
        self._denied = denied

    def allow(self, principal: str, repository: str, path: str, digest: Digest | None) -> bool:
        return digest not in self._denied
