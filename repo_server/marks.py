"""Which publication a client is reading, as far as signatures need it.

A yum client fetches ``repomd.xml`` and then, by another connection and maybe from
another worker, ``repomd.xml.asc``. If a publication switches in between, the two do not
fit. So the workers share a small table: for each client address and signed file, the
publication from which it was sent last. The signature is then taken from the same one.

The table is a hash table without chains in shared memory. A lost or overwritten mark
costs no more than having none.
"""

from __future__ import annotations

import mmap
import os
from hashlib import blake2b
from typing import Self

SLOTS = 1 << 16
_IDENT_BITS = 40
_IDENT_MASK = (1 << _IDENT_BITS) - 1


class Marks:
    """Maps (client, repository, path) to the identity of a publication."""

    def __init__(self, memory: mmap.mmap) -> None:
        self._slots = memoryview(memory).cast("Q")

    @staticmethod
    def create() -> int:
        """Make the shared memory; a descriptor that workers inherit."""
        fd = os.memfd_create("sluice-marks", os.MFD_CLOEXEC)
        os.ftruncate(fd, SLOTS * 8)
        return fd

    @classmethod
    def attach(cls, fd: int) -> Self:
        """Map the memory that ``create`` made."""
        return cls(mmap.mmap(fd, SLOTS * 8))

    def put(self, client: str, repository: str, path: str, identity: int) -> None:
        """Remember what ``client`` got."""
        slot, tag = _place(client, repository, path)
        self._slots[slot] = tag << _IDENT_BITS | identity

    def get(self, client: str, repository: str, path: str) -> int:
        """What ``client`` got last; 0 if that is not known."""
        slot, tag = _place(client, repository, path)
        value = self._slots[slot]
        return value & _IDENT_MASK if value >> _IDENT_BITS == tag else 0


def identity(*words: object) -> int:
    """A number that stands for a publication; never 0."""
    text = "\0".join(map(str, words)).encode()
    return int.from_bytes(blake2b(text, digest_size=5).digest(), "big") or 1


def _place(client: str, repository: str, path: str) -> tuple[int, int]:
    name = f"{client}\0{repository}\0{path}".encode("utf-8", "replace")
    number = int.from_bytes(blake2b(name, digest_size=5).digest(), "big")
    return number & (SLOTS - 1), number >> 16
