"""Choosing how an upstream is read: by rsync as a whole, or file by file as a crawl asks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from manifests.zone import model as zone
from mirror.report import Progress
from mirror.settings import Settings
from mirror.source import Source
from mirror.whole import RsyncSource
from mirror.workcopy import Mark, WorkCopy
from store.store import Store


@contextmanager
def open_source(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    progress: Progress,
    pause: Callable[[float], None],
) -> Iterator[Source]:
    """The upstream of ``repository``. Raises StoreBusy, ConfigError."""
    previous = settings.previous
    tree = None if previous is None else store.tree(previous.snapshot.tree)
    copy = WorkCopy(store.folder / "work" / repository.name, store.files)
    with copy.locked() as lock:
        yield RsyncSource(
            store,
            copy,
            repository.upstream.urls,
            repository.connection,
            repository.format,
            lock=lock,
            previous=tree,
            expected=None
            if previous is None
            else Mark(previous.snapshot.tree, settings.fingerprint),
            settings=settings.fingerprint,
            progress=progress,
            pause=pause,
        )
