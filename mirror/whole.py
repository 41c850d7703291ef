"""Sources that copy an upstream's whole folder, by rsync."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from manifests import errors
from manifests.digest import Digest
from manifests.tree import Tree
from manifests.zone.model import Connection
from mirror.report import INDEXES, Progress
from mirror.rsync import Changes, Rsync
from mirror.source import Gathered, Plan
from mirror.workcopy import Mark, Scan, WorkCopy, remove_partials
from store.blobs import BlobBatch
from store.store import Store


class RsyncSource:
    """An rsync module, or a folder in it, as it is.

    Packages come before the indexes that list them, deletions last; what is torn
    nevertheless the check finds. Where nothing changed, one ``rsync -n`` is all.
    """

    def __init__(
        self,
        store: Store,
        copy: WorkCopy,
        urls: Sequence[str],
        connection: Connection,
        format_name: str,
        *,
        lock: int,
        previous: Tree | None,
        expected: Mark | None,
        settings: str,
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._store = store
        self._copy = copy
        self._format = format_name
        self._previous = previous
        self._expected = expected
        self._progress = progress
        self._mirrors = [
            Rsync(url, connection, format_name, lock=lock, progress=progress, pause=pause)
            for url in urls
        ]
        self._settings = settings

    def plan(self, batch: BlobBatch) -> Plan:
        """See ``Source``."""
        return _plan(self._ask()[1])

    def _ask(self) -> tuple[Rsync, Changes]:
        """The first mirror that answers, and what it has."""
        for mirror in self._mirrors[:-1]:
            try:
                return mirror, mirror.plan(self._copy.files)
            except errors.UpstreamUnreachable:
                continue  # the next one may answer; the last one's error is told
        return self._mirrors[-1], self._mirrors[-1].plan(self._copy.files)

    def gather(
        self, batch: BlobBatch, wrong: list[str], guard: Callable[[Plan], None]
    ) -> Gathered | None:
        """See ``Source``."""
        clean = self._expected is not None and self._copy.mark() == self._expected
        if wrong:
            self._copy.unmark()
            self._copy.discard(wrong)
        for mirror in self._mirrors:
            mirror.by_content = self._copy.suspect()
        rsync, changes = self._ask()
        if clean and not wrong and not changes.any:
            return None
        guard(_plan(changes))
        self._store.require_free(changes.size, "this sync")
        self._progress.expect(changes.transfers, changes.size)
        self._copy.unmark()
        indexes = INDEXES.get(self._format, ())
        received = 0
        if changes.payload and indexes:
            received += rsync.fetch_payload(self._copy.files, indexes).received
        if changes.any:
            received += rsync.fetch_all(self._copy.files).received
            remove_partials(self._copy.files)
        scan = Scan()
        return Gathered(
            self._copy.entries(batch, self._store.blobs, self._previous, scan),
            rsync.url,
            scan.problems,
            needed=changes.size,
            downloaded=received,
        )

    def committed(self, tree: Digest) -> None:
        """See ``Source``."""
        self._copy.set_mark(Mark(tree, self._settings))


def _plan(changes: Changes) -> Plan:
    return Plan(
        added=changes.created,
        updated=changes.transfers - changes.created,
        removed=changes.deleted,
        size=changes.size,
        first_removed=tuple(changes.first_deleted),
        any=changes.any,
    )
