"""Checksums that upstream formats use, of blobs that the store holds.

SHA-256 is a blob's own name. Any other is computed once and then remembered, in memory
and in the ledger: the bytes of a blob never change. Only what this process computed
itself is remembered, never what an index claims.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import Protocol

from manifests.digest import CHECKSUM_LENGTHS, Digest
from store.blobs import BlobStore

_BLOCK = 1 << 20
_IN_MEMORY = 20_000


class Remembered(Protocol):
    """Where checksums outlive the process; the ledger."""

    def known(self, digests: Sequence[Digest], algorithm: str) -> dict[Digest, str]: ...
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
        return self.values([digest], algorithm)[0]

    def values(self, digests: Sequence[Digest], algorithm: str) -> list[str]:
        """The checksums of many blobs, in their order, for the price of one look-up.

        Ask for some hundreds at once: the answer is in memory. Raises as ``value``.
        """
        if algorithm == "sha256":
            return list(digests)
        if algorithm not in CHECKSUM_LENGTHS:
            raise ValueError(f"not a checksum: {algorithm[:40]!r}")
        found: dict[Digest, str] = {}
        with self._guard:
            for digest in digests:
                value = self._values.get((digest, algorithm))
                if value is not None:
                    self._values.move_to_end((digest, algorithm))
                    found[digest] = value
        asked = [digest for digest in digests if digest not in found]
        if asked and self._ledger:
            found |= self._ledger.known(asked, algorithm)
        fresh = []
        for digest in asked:
            if digest not in found:
                found[digest] = self._compute(digest, algorithm)
                fresh.append((digest, algorithm, found[digest]))
        with self._guard:
            for digest in asked:
                self._values[digest, algorithm] = found[digest]
                if len(self._values) > _IN_MEMORY:
                    self._values.popitem(last=False)
            if self._ledger:
                self._new += fresh
        return [found[digest] for digest in digests]

    def save(self, least: int = 1) -> None:
        """Write what was computed into the ledger, if there are ``least`` of them.

        Not to be called inside a transaction.
        """
        with self._guard:
            if len(self._new) < least:
                return
            new, self._new = self._new, []
        if new and self._ledger:
            self._ledger.remember(new)

    def _compute(self, digest: Digest, algorithm: str) -> str:
        found = hashlib.new(algorithm, usedforsecurity=False)
        with self._blobs.open(digest) as body:
            while block := body.read(_BLOCK):
                found.update(block)
        return found.hexdigest()
