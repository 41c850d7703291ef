"""Recognising a part whose head is damaged: by its payload."""

from __future__ import annotations

from collections.abc import Iterable

from manifests.digest import Digest
from store.hashing import SideHash
from transfer.arrivals import Arrival
from transfer.known import Known

_READ = 1 << 20
_TAIL = 64 << 10
"""Bytes that may follow a payload: the end of the archive, and what a carrier adds."""


def recognise(arrival: Arrival, bundles: Iterable[Known]) -> tuple[Known, int] | None:
    """The bundle and part whose payload this file has, whatever its head says.

    Reads the file once for each different place where a payload of its size could
    lie; mostly there is one, or none.
    """
    places: dict[tuple[int, int], dict[Digest, tuple[Known, int]]] = {}
    for known in bundles:
        for row in known.rows:
            if row.length and 0 <= arrival.size - row.offset - row.length <= _TAIL:
                found = places.setdefault((row.offset, row.length), {})
                found.setdefault(row.digest, (known, row.part))
    for (offset, length), digests in places.items():
        place = digests.get(_digest(arrival, offset, length))
        if place is not None:
            return place
    return None


def _digest(arrival: Arrival, offset: int, length: int) -> Digest:
    hasher = SideHash()
    try:
        with arrival.open() as file:
            file.seek(offset)
            while length and (block := file.read(min(length, _READ))):
                hasher.update(block)
                length -= len(block)
    finally:
        digest = hasher.digest()
    return digest
