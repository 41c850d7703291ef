"""Choosing how an upstream is read: by rsync as a whole, or file by file as a crawl asks."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from manifests.formats import format_named
from manifests.zone import model as zone
from mirror.crawl import CrawlSource
from mirror.near import FolderTransport, RsyncTransport
from mirror.report import Progress
from mirror.rsync import Rsync
from mirror.settings import Settings, spec_of
from mirror.source import Source
from mirror.transport import Transport
from mirror.whole import RsyncSource
from mirror.workcopy import Mark, WorkCopy
from store.adopted import adopted
from store.store import Store


@contextmanager
def open_source(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    progress: Progress,
    pause: Callable[[float], None],
) -> Iterator[Source]:
    """The upstream of ``repository``. Raises StoreBusy, ConfigError, UpstreamError.

    ``file://`` folders are copied whole by rsync, too: it sees what changed without reading.
    """
    copy = WorkCopy(store.folder / "work" / repository.name, store.files)
    http = repository.upstream.transport == "http"
    with copy.locked() as lock:
        if copied_whole(repository):
            yield _whole(store, repository, settings, progress, pause, copy, lock)
            return
        folder = copy.folder / "partial"
        _clear_plain(store, folder)
        if http and repository.format == "maven":
            from mirror.maven.source import maven_source

            with maven_source(
                store, repository, settings, folder, progress=progress, pause=pause
            ) as source:
                yield source
            return
        if repository.format == "oci":
            from mirror.registry.source import registry_source

            with registry_source(
                store, repository, settings, folder, progress=progress, pause=pause
            ) as images:
                yield images
            return
        transport = _transport(repository, folder, lock, progress, pause)
        try:
            yield _crawled(store, repository, settings, progress, transport, folder)
        finally:
            transport.close()


def copied_whole(repository: zone.Repository) -> bool:
    """Whether rsync keeps a copy of the whole upstream."""
    if repository.upstream.transport == "http":
        return False
    return not format_named(repository.format).selects(spec_of(repository))


def _whole(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    progress: Progress,
    pause: Callable[[float], None],
    copy: WorkCopy,
    lock: int,
) -> RsyncSource:
    previous = settings.previous
    with store.ledger.read() as tx:
        taken = adopted(tx, repository.name) if previous is None else None
    before = taken.tree if taken else None if previous is None else previous.snapshot.tree
    return RsyncSource(
        store,
        copy,
        repository.upstream.urls,
        repository.connection,
        repository.format,
        lock=lock,
        previous=None if before is None else store.tree(before),
        expected=None if previous is None else Mark(previous.snapshot.tree, settings.fingerprint),
        settings=settings.fingerprint,
        progress=progress,
        pause=pause,
    )


def _crawled(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    progress: Progress,
    transport: Transport,
    folder: Path,
) -> CrawlSource:
    previous = settings.previous
    spec = spec_of(repository)
    return CrawlSource(
        store,
        repository.name,
        lambda view: format_named(repository.format).crawl(spec, view),
        transport,
        previous=None if previous is None else previous.snapshot.tree,
        accepted=settings.excuses,
        progress=progress,
        clean=lambda: shutil.rmtree(folder, ignore_errors=True),
    )


def _transport(
    repository: zone.Repository,
    folder: Path,
    lock: int,
    progress: Progress,
    pause: Callable[[float], None],
) -> Transport:
    upstream, connection = repository.upstream, repository.connection
    if upstream.transport == "http":
        # Here, so that an rsync without changes does not wait for an HTTP library to load.
        from mirror.http import HttpTransport

        return HttpTransport(upstream, connection, folder, progress=progress, pause=pause)
    url = upstream.urls[0]
    if upstream.transport == "file":
        return FolderTransport(url, folder)
    return RsyncTransport(
        Rsync(url, connection, repository.format, lock=lock, progress=progress, pause=pause),
        folder,
    )


def _clear_plain(store: Store, folder: Path) -> None:
    """Remove what an ended run left, but for what can be resumed."""
    store.files.mkdir(folder)
    for item in folder.iterdir():
        if item.is_dir() and not item.is_symlink():
            shutil.rmtree(item)
        elif not item.name.startswith("promised-"):
            item.unlink()
