"""Digests: the names of blobs.

A digest is the SHA-256 (FIPS 180-4) of a blob's bytes, written as 64
lower-case hexadecimal characters.
"""

from __future__ import annotations

import hashlib
import re
from typing import NewType

from manifests.errors import MalformedManifest

Digest = NewType("Digest", str)

_FORM = re.compile(r"[0-9a-f]{64}")

EMPTY = Digest(hashlib.sha256(b"").hexdigest())

# Checksums that upstream formats use. SHA-1 and MD5 are compared as the
# format demands; nothing of ours relies on them.
CHECKSUM_LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}


def parse_digest(text: str) -> Digest:
    """Return ``text`` as a digest; raises MalformedManifest for any other form."""
    if not _FORM.fullmatch(text):
        raise MalformedManifest(f"not a SHA-256 digest: {text[:80]!r}")
    return Digest(text)


def is_digest(text: str) -> bool:
    """Whether ``text`` has the form of a digest."""
    return bool(_FORM.fullmatch(text))


def sha256_of(data: bytes | bytearray | memoryview) -> Digest:
    """The digest of ``data``."""
    return Digest(hashlib.sha256(data).hexdigest())


class Hasher:
    """Collects bytes into a digest and a size in bytes."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def update(self, data: bytes | bytearray | memoryview) -> None:
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> Digest:
        return Digest(self._hash.hexdigest())
