"""What of the store is lost or cannot be read, as far as a look tells without reading all of it.

``verify`` reads all. This is for ``status`` and ``check``, which have to say the rest all the same.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TypeVar

from manifests.digest import Digest
from manifests.errors import BlobMissing, SluiceError, StoreError
from manifests.zone import InsideZone, Zone
from store.ledger import ReadTransaction
from store.store import Store

_T = TypeVar("_T")
_MOST = 20
_OUTSIDE = (
    "mount it or restore a backup; else `sluice sync` and `sluice pack --full`, then"
    " `sluice verify --repair`"
)
_INSIDE = (
    "mount it or restore a backup; else have everything sent again: outside `sluice pack --full`"
)


class Damage:
    """Collects what is wrong while a document is made of the rest."""

    def __init__(self, zone: Zone, store: Store, tx: ReadTransaction) -> None:
        self._where = str(zone.folder / "blobs")
        self._remedy = _INSIDE if isinstance(zone, InsideZone) else _OUTSIDE
        self.found = list(self._lost(zone, store, tx))

    def guard(self, what: str, read: Callable[[], _T]) -> _T | None:
        """What ``read`` returns; None where the store does not have what it needs."""
        try:
            return read()
        except (SluiceError, OSError) as error:
            if not self.found:  # else it is told already what is gone
                self._add(f"{what} cannot be read: {error}")
            return None

    def _add(self, what: str) -> None:
        self.found.append(StoreError(what, where=self._where, remedy=self._remedy))

    def _lost(self, zone: Zone, store: Store, tx: ReadTransaction) -> Iterator[StoreError]:
        """Trees and manifests that the ledger names and the folder does not have."""
        needed = list(_needed(zone, tx))
        lost = {}
        try:
            if needed:
                os.scandir(self._where).close()
            for what, digest in needed:
                try:
                    store.blobs.size(digest)
                except BlobMissing:
                    lost[what] = f"{what} is lost"
        except OSError as error:
            whole = f"nothing in it can be read: {error.strerror}"
            yield StoreError(whole, where=self._where, remedy=self._remedy)
            return
        for number, line in enumerate(lost.values()):
            if number == _MOST:
                line = f"and {len(lost) - _MOST} more"
            yield StoreError(line, where=self._where, remedy=self._remedy)
            if number == _MOST:
                return


def _needed(zone: Zone, tx: ReadTransaction) -> Iterator[tuple[str, Digest]]:
    for live in tx.publications():
        what = f"what {live.repository} publishes, the tree of snapshot {live.serial},"
        yield what, live.tree
        if live.overlay is not None:
            yield f"the derived metadata of {live.repository}", live.overlay
    if not isinstance(zone, InsideZone):
        for name in tx.repositories(""):
            stored = tx.newest_snapshot("", name)
            if stored is not None:
                serial = stored.snapshot.serial
                yield f"the tree of {name}, snapshot {serial},", stored.snapshot.tree
    for name in zone.streams:
        for bundle in tx.bundles(name, limit=1):
            yield (
                f"the manifest of bundle {bundle.epoch}/{bundle.sequence} of {name}",
                bundle.manifest,
            )
