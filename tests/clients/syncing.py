"""What the tests of syncing share: a store, a repository's settings, a sync without waiting."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from manifests.state import Snapshot
from manifests.zone.model import Connection, Filters, Metadata, Repository, Signers, Upstream
from mirror.report import SyncReport
from mirror.sync import Tools, sync
from store.seam import Seam
from store.store import Store

FAST = Connection(retries=1, timeout=20.0)


def open_store(folder: Path) -> Store:
    """A store that no test fills."""
    return Store.open(folder, files=Seam(), reserve_free=0, actor="tester")


def repository(url: str, name: str = "baseos", **options: Any) -> Repository:
    """A repository with one upstream."""
    plain = Repository(name=name, format="yum", upstream=Upstream(urls=(url,)), connection=FAST)
    return replace(plain, **options)


class Mirror:
    """Syncs one repository into one store; pauses are noted, not waited for."""

    def __init__(self, store: Store, repo: Repository) -> None:
        self.store = store
        self.repo = repo
        self.pauses: list[float] = []
        self.between = lambda: None
        """Called in each pause: what the upstream does meanwhile."""

    def sync(self, **options: Any) -> SyncReport:
        return sync(self.store, self.repo, tools=Tools(pause=self._pause), **options)

    def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.between()

    def set(self, **options: Any) -> None:
        self.repo = replace(self.repo, **options)

    def snapshots(self) -> list[Snapshot]:
        """Newest first."""
        with self.store.ledger.read() as tx:
            return [one.snapshot for one in tx.snapshots("", self.repo.name)]

    def paths(self) -> dict[str, str]:
        """Path -> digest of the newest snapshot."""
        tree = self.store.tree(self.snapshots()[0].tree)
        return {entry.path: entry.digest for entry in tree.entries()}

    def content(self, path: str) -> bytes:
        """The bytes at a path of the newest snapshot."""
        with self.store.view(self.snapshots()[0].tree).open(path) as body:
            return body.read()

    def holds(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Kind, reason and detail of each hold."""
        with self.store.ledger.read() as tx:
            found = tx.holds(repository=self.repo.name)
        return [(hold.kind, hold.reason, dict(hold.detail)) for hold in found]

    def events(self) -> list[str]:
        with self.store.ledger.read() as tx:
            return [event.kind for event in tx.events()]


__all__ = ["FAST", "Filters", "Metadata", "Mirror", "Signers", "open_store", "repository"]
