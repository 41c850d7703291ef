"""A store with publications, and the real server over it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from manifests.digest import Digest
from manifests.state import Snapshot
from manifests.tree import Entry
from manifests.zone.served import Registry, Serve, ServerTls
from repo_server import Limits, Miss, Server, Settings
from store.records import Publication, StoredSnapshot
from store.store import KeptTree, Store
from tests.support.certs import Pair
from tests.support.daemon import Started

STREAM = "hq"


class Published:
    """Puts trees into a store and publishes them, as an import does at its end."""

    def __init__(self, folder: Path, ledger_url: str | None = None) -> None:
        self.store = Store.open(folder, ledger_url)
        self._serial: dict[str, int] = {}

    def keep(self, files: dict[str, bytes]) -> KeptTree:
        """A tree of these files, in the store."""
        with self.store.blobs.batch() as batch:
            entries = [
                Entry(path, *batch.put_bytes(data))
                for path, data in sorted(files.items(), key=lambda item: item[0].encode())
            ]
            return self.store.keep_tree(entries, batch)

    def publish(
        self,
        name: str,
        files: dict[str, bytes],
        *,
        format: str = "yum",
        overlay: dict[str, bytes] | None = None,
        source: str = "",
    ) -> Publication:
        """Make these files the next snapshot of ``name`` and publish it."""
        tree = self.keep(files)
        over = None if overlay is None else self.keep(overlay).digest
        serial = self._serial.get(name, 0) + 1
        self._serial[name] = serial
        now = datetime.now(UTC).replace(microsecond=0)
        source = source or name
        snapshot = Snapshot(
            source, format, serial, tree.digest, tree.size, tree.files, tree.bytes, now
        )
        publication = Publication(name, STREAM, format, source, serial, tree.digest, over, now)
        with self.store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot(STREAM, snapshot))
            tx.publish([publication])
        return publication

    def publish_folder(self, name: str, folder: Path, *, format: str = "yum") -> Publication:
        """Publish what lies in ``folder``."""
        return self.publish(name, read_folder(folder), format=format)

    def again(self, publication: Publication, *, rolled_back: bool = True) -> None:
        """Publish an older snapshot once more."""
        now = datetime.now(UTC).replace(microsecond=0)
        old = publication
        with self.store.ledger.write() as tx:
            tx.publish(
                [
                    Publication(
                        old.repository, old.stream, old.format, old.source_repository,
                        old.serial, old.tree, old.overlay, now, rolled_back,
                    )
                ]
            )  # fmt: skip

    def deny(self, *digests: Digest) -> None:
        with self.store.ledger.write() as tx:
            for digest in digests:
                tx.deny(digest, "a test", "tester")

    def close(self) -> None:
        self.store.close()


def read_folder(folder: Path) -> dict[str, bytes]:
    """Every file below ``folder`` by its relative path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def eventually(check: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait until ``check`` holds 20 times in a row: then every worker has followed a switch."""
    until = time.monotonic() + seconds
    row = 0
    while row < 20:
        row = row + 1 if check() else 0
        assert time.monotonic() < until, f"not within {seconds:.0f} seconds"
        if not row:
            time.sleep(0.02)


class Serving(Started):
    """The real server with its worker processes, run by a thread of the test."""

    def __init__(
        self,
        store: Path,
        *,
        ledger_url: str | None = None,
        workers: int = 1,
        grace: float = 3600.0,
        deny: Iterable[Digest] = (),
        external_url: str | None = None,
        keys: dict[str, tuple[str, ...]] | None = None,
        repository_key: str = "",
        limits: Limits | None = None,
        groups: dict[str, tuple[str, ...]] | None = None,
        registries: dict[str, Registry] | None = None,
        ca: str = "",
        tls: Pair | None = None,
    ) -> None:
        serve = Serve(
            port=0,
            workers=workers,
            grace=grace,
            deny=frozenset(deny),
            external_url=external_url,
            groups=groups or {},
            registries=registries or {},
            tls=None if tls is None else ServerTls(cert=tls.cert, key=tls.key),
        )
        settings = Settings(
            store=store,
            ledger_url=ledger_url,
            serve=serve,
            keys=keys or {},
            repository_key=repository_key,
            limits=limits or Limits(),
            ca=ca,
        )
        self.misses: list[Miss] = []
        self._said = threading.Event()
        self.server = Server(settings, on_miss=self._on_miss, announce=lambda _: self._said.set())
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    @property
    def url(self) -> str:
        """Without a trailing slash."""
        return self.server.url

    @property
    def address(self) -> tuple[str, int]:
        host, _, port = self.url.partition("://")[2].rpartition(":")
        return host, int(port)

    def start(self) -> None:
        self._thread.start()
        while not self._said.wait(0.05):
            if not self._thread.is_alive():
                raise AssertionError(f"the server ended: {self._error!r}")

    def stop(self) -> None:
        self.server.stop()
        self._thread.join(60)
        assert not self._thread.is_alive(), "the server did not end"

    def _run(self) -> None:
        try:
            self.server.run()
        except BaseException as error:  # noqa: BLE001 - shown by start
            self._error = error

    def _on_miss(self, rows: Sequence[tuple[Miss, int]]) -> None:
        for miss, count in rows:
            self.misses += [miss] * count
