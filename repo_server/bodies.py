"""Small bodies in memory."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from manifests.digest import Digest, sha256_of
from manifests.errors import BlobDamaged, BlobMissing
from repo_server.ready import Ready
from repo_server.settings import Limits


class Bodies:
    """Small files in memory, by digest; the least recently asked for go first."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.memory
        self._held: OrderedDict[Digest, bytes] = OrderedDict()
        self._size = 0

    def get(self, digest: Digest) -> bytes | None:
        body = self._held.get(digest)
        if body is not None:
            self._held.move_to_end(digest)
        return body

    def put(self, digest: Digest, body: bytes) -> None:
        if digest in self._held:
            return
        self._held[digest] = body
        self._size += len(body)
        while self._size > self._limit:
            _, gone = self._held.popitem(last=False)
            self._size -= len(gone)


def read_body(ready: Ready) -> bytes:
    """A small blob; raises BlobMissing, BlobDamaged."""
    try:
        body = Path(ready.file).read_bytes()
    except FileNotFoundError:
        raise BlobMissing(f"blob {ready.digest} is not in the store", where=ready.path) from None
    if sha256_of(body) != ready.digest:
        raise BlobDamaged(
            "the bytes do not have the blob's digest",
            where=ready.file,
            remedy="run `sluice verify --repair`",
        )
    return body
