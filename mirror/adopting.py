"""Where adopted files go outside: into the blobs, and where rsync looks for what it has.

rsync compares its work copy by size and time, not the blobs. So before the first snapshot
of a repository that is copied whole, each adopted file also stands in the work copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.zone import model as zone
from mirror.open_source import copied_whole
from mirror.workcopy import WorkCopy
from store.store import Store


@contextmanager
def work_places(
    store: Store, repository: zone.Repository
) -> Iterator[Callable[[str], Path | None]]:
    """Where the work copy wants each file; nothing else uses it meanwhile.

    Raises StoreBusy while the repository is synced.
    """
    with store.ledger.read() as tx:
        known = tx.newest_snapshot("", repository.name)
    with store.locks.named(f"sync-{repository.name}"):
        if known is not None or not copied_whole(repository):
            yield lambda _: None
            return
        copy = WorkCopy(store.folder / "work" / repository.name, store.files)
        with copy.locked():
            # What is written now is not synced, as while rsync writes.
            copy.unmark()
            yield lambda path: copy.files / path
