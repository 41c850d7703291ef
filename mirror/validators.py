"""What an upstream says of its volatile files, from one sync to the next (RFC 9110, 8.8)."""

from __future__ import annotations

from functools import cached_property

from manifests.digest import Digest, sha256_of
from manifests.formats.base import Wanted
from store.records import Validator
from store.store import Store


class Validators:
    """Those of one repository from one ``source``, read once and written at the commit."""

    def __init__(self, store: Store, repository: str, source: str) -> None:
        self._store = store
        self._repository = repository
        self._source = source
        self.fresh: list[tuple[str, Validator]] = []
        """What the ledger does not know yet, by URL."""

    def known(self, wanted: Wanted) -> Validator | None:
        """What the upstream said of a volatile file the last time, if we still have it."""
        if not wanted.volatile:
            return None
        known = self._before.get(_key(self._url(wanted)))
        if known is None or not self._store.blobs.has(known.digest):
            return None
        return known

    def saw(self, wanted: Wanted, now: Validator) -> None:
        """Take down what it says now."""
        if not wanted.volatile or not (now.etag or now.last_modified):
            return
        url = self._url(wanted)
        if self._before.get(_key(url)) != now:
            self.fresh.append((url, now))

    def _url(self, wanted: Wanted) -> str:
        return f"{self._source} {wanted.url or wanted.path}"

    @cached_property
    def _before(self) -> dict[Digest, Validator]:
        """By the SHA-256 of the URL. Not asked for each: a folder may have a million files."""
        with self._store.ledger.read() as tx:
            return dict(tx.validators(self._repository))


def _key(url: str) -> Digest:
    return sha256_of(url.encode("utf-8", "surrogateescape"))
