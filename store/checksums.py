"""Checksums that upstream formats use, of blobs that the store holds.

SHA-256 is a blob's own name. Any other is computed once and then remembered, in memory
and in the ledger: the bytes of a blob never change. Only what this process computed
itself is remembered, never what an index claims.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from typing import Protocol

from manifests.digest import CHECKSUM_LENGTHS, Digest
from store.blobs import BlobStore

_BLOCK = 1 << 20
_IN_MEMORY = 20_000


class Remembered(Protocol):
    """Where checksums outlive the process; the ledger."""

    def known(self, digest: Digest, algorithm: str) -> str | None: ...
    def remember(self, rows: list[tuple[Digest, str, str]]) -> None: ...


class Checksums:
    """Answers for one store; safe to share between threads."""

    def __init__(self, blobs: BlobStore, ledger: Remembered | None = None) -> None:
        self._blobs = blobs
        self._ledger = ledger
        self._values: OrderedDict[tuple[Digest, str], str] = OrderedDict()
        self._new: list[tuple[Digest, str, str]] = []
        self._guard = threading.Lock()

    def value(self, digest: Digest, algorithm: str) -> str:
        """The lower-case hex checksum of a blob.

        Raises BlobMissing, and ValueError for an algorithm that no format uses.
        """
        if algorithm == "sha256":
            return digest
        if algorithm not in CHECKSUM_LENGTHS:
            raise ValueError(f"not a checksum: {algorithm[:40]!r}")
        key = (digest, algorithm)
        with self._guard:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
        found = self._ledger.known(digest, algorithm) if self._ledger else None
        fresh = found is None
        if found is None:
            found = self._compute(digest, algorithm)
        with self._guard:
            self._values[key] = found
            if len(self._values) > _IN_MEMORY:
                self._values.popitem(last=False)
            if fresh and self._ledger:
                self._new.append((digest, algorithm, found))
        return found

    def save(self) -> None:
        """Write what was computed into the ledger; not to be called inside a transaction."""
        with self._guard:
            new, self._new = self._new, []
        if new and self._ledger:
            self._ledger.remember(new)

    def _compute(self, digest: Digest, algorithm: str) -> str:
        found = hashlib.new(algorithm, usedforsecurity=False)
        with self._blobs.open(digest) as body:
            while block := body.read(_BLOCK):
                found.update(block)
        return found.hexdigest()
