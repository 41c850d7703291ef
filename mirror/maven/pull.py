"""Pull-through: answer from the store, else fetch, verify, keep, answer.

Whoever asks for the same file at the same time waits for the same download. What a build asks
for is remembered, as roots or for a closure; what could not be believed is reported by name.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from manifests import errors
from manifests.digest import Digest
from manifests.formats.maven.layout import METADATA, Artifact, locate, named, safe_path
from manifests.tree import check_path
from manifests.zone import model as zone
from mirror.maven.fetching import Arrived, Fetcher
from mirror.report import printable
from store.records import Fetched, RootKind
from store.store import Store

_FRESH = 60.0
"""Seconds for which metadata counts as just asked for."""
_MAX_POM = 4 << 20
_MOST_FAILURES = 10_000


@dataclass(slots=True)
class Tally:
    """What one session did. ``failures``: names of files kept out, with the reason."""

    asked: int = 0
    fetched: int = 0
    bytes: int = 0
    roots: int = 0
    absent: int = 0
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class _Waiting:
    """A file on its way into the store."""

    path: str
    arrived: Arrived | None
    done: bool = False
    error: BaseException | None = None


class Pull:
    """One repository's pull-through; see ``opened``. Safe to share between threads.

    With ``collect`` paths are gathered in ``collected`` (metadata too, with the digest that
    was seen, "" where there was none) instead of becoming roots.
    """

    def __init__(
        self,
        store: Store,
        repository: zone.Repository,
        fetcher: Callable[[Pull], Fetcher],
        *,
        actor: str,
        collect: bool,
    ) -> None:
        self._store = store
        self._name = repository.name
        self._signatures = repository.maven.signatures
        self._actor = actor
        self.collect = collect
        self.collected: dict[str, str] = {}
        self.tally = Tally()
        self._fetcher = fetcher(self)
        self._running: dict[str, Future[Fetched | None]] = {}
        self._volatile: dict[str, tuple[float, Fetched | None]] = {}
        self._recorded: set[str] = set()
        self._signed: set[str] = set()
        self._queue: list[_Waiting] = []
        self._guard = threading.Lock()
        self._writing = threading.Lock()

    @classmethod
    @contextmanager
    def opened(
        cls,
        store: Store,
        repository: zone.Repository,
        *,
        actor: str = "",
        collect: bool = False,
        pause: Callable[[float], None] = time.sleep,
    ) -> Iterator[Pull]:
        """A session on ``repository``, whose upstream is settled (``machine.settled``).

        ``gc`` is kept away meanwhile. Raises ConfigError, StoreBusy.
        """
        with store.scratch("capture") as folder:
            pull = cls(
                store,
                repository,
                lambda own: Fetcher(repository, folder, own.parent_pom, pause=pause),
                actor=actor,
                collect=collect,
            )
            try:
                yield pull
            finally:
                pull._fetcher.close()

    @property
    def fetcher(self) -> Fetcher:
        return self._fetcher

    def start_collecting(self) -> None:
        """Forget what was collected, and what failed."""
        with self._guard:
            self.collected = {}
            self._signed = set()
            self.tally.failures = {}

    def get(self, path: str, *, record: bool = True) -> Fetched | None:
        """The file at ``path``; None where neither store nor upstream has it.

        Raises BadPath, UpstreamError, FormatError (kept out, and noted by name), StoreError.
        """
        with self._guard:
            self.tally.asked += 1
        try:
            safe_path(check_path(path))
            found = self._shared(path)
        except (errors.UpstreamError, errors.FormatError, errors.TreeError) as error:
            self._failed(path, error)
            raise
        if record:
            self._record(path, found)
            if found is not None and self._signatures:
                self._with_signature(path)
        return found

    def _with_signature(self, path: str) -> None:
        """Its ``.asc``, where the upstream has one: a build does not ask, but a check may."""
        artifact = locate(path)
        with self._guard:
            if artifact is None or artifact.extension.endswith(".asc") or path in self._signed:
                return
            self._signed.add(path)
        with suppress(errors.UpstreamError, errors.FormatError):  # noted by name
            self.get(f"{path}.asc")

    def _failed(self, path: str, error: errors.SluiceError) -> None:
        with self._guard:
            if len(self.tally.failures) < _MOST_FAILURES:
                self.tally.failures[printable(named(path))] = printable(error.what)

    def _shared(self, path: str) -> Fetched | None:
        """From the store, else by one download for all who ask at the same time."""
        held = self._held(path)
        if held is not None:
            return held
        with self._guard:
            running = self._running.get(path)
            mine = running is None
            if running is None:
                running = self._running[path] = Future()
        if not mine:
            return running.result()
        try:
            # Another one may have ended between the first look and ours.
            found = self._held(path) or self._fetch(path)
            running.set_result(found)
            return found
        except BaseException as error:
            running.set_exception(error)
            running.exception()
            raise
        finally:
            with self._guard:
                del self._running[path]

    def _held(self, path: str) -> Fetched | None:
        if is_volatile(path):
            since, known = self._volatile.get(path, (float("-inf"), None))
            return known if time.monotonic() - since < _FRESH else None
        with self._store.ledger.read() as tx:
            found = tx.fetched(self._name, path)
            newest = tx.newest_snapshot("", self._name)
        if found is not None and self._store.blobs.has(found.digest):
            return found
        if newest is not None:
            entry = self._store.tree(newest.snapshot.tree).lookup(path)
            if entry is not None and self._store.blobs.has(entry.digest):
                return Fetched(path, entry.digest, entry.size)
        return None

    def parent_pom(self, artifact: Artifact) -> bytes | None:
        """The bytes of a POM that is here."""
        held = self._held(artifact.path)
        if held is None or held.size > _MAX_POM:
            return None
        return self._store.small(held.digest, _MAX_POM)

    def _fetch(self, path: str) -> Fetched | None:
        self._store.require_free(0, "this capture")
        arrived = self._fetcher.fetch(path)
        if arrived is None:
            with self._guard:
                self.tally.absent += 1
            return None
        self._keep(_Waiting(path, arrived))
        found = Fetched(path, arrived.digest, arrived.size, arrived.stated)
        with self._guard:
            self.tally.fetched += 1
            self.tally.bytes += arrived.size
            if is_volatile(path):
                self._volatile[path] = (time.monotonic(), found)
        return found

    def _record(self, path: str, found: Fetched | None) -> None:
        """Remember that a build needs it."""
        if self.collect:
            with self._guard:
                if is_metadata(path):
                    self.collected[path] = "" if found is None else found.digest
                elif found is not None:
                    self.collected[path] = found.digest
            return
        if found is None or is_metadata(path):
            return  # metadata is derived from what is there
        with self._guard:
            if path in self._recorded:
                return
            self._recorded.add(path)
        self._keep(_Waiting(path, None))

    # --- into the store

    def _keep(self, one: _Waiting) -> None:
        """Make it durable. Those who wait meanwhile go together in the next round."""
        with self._guard:
            self._queue.append(one)
        with self._writing:
            if not one.done:
                with self._guard:
                    together, self._queue = self._queue, []
                try:
                    self._write(together)
                except BaseException as error:
                    for each in together:
                        each.error = error
                    raise
                finally:
                    for each in together:
                        each.done = True
        if one.error is not None:
            raise one.error

    def _write(self, together: list[_Waiting]) -> None:
        files: list[Fetched] = []
        with self._store.blobs.batch() as batch:
            for one in together:
                if one.arrived is not None:
                    digest, size = batch.adopt(one.arrived.file, one.arrived.digest)
                    one.arrived.file.unlink(missing_ok=True)
                    if not is_metadata(one.path):
                        files.append(Fetched(one.path, digest, size, one.arrived.stated))
        roots = [one.path for one in together if one.arrived is None]
        if not files and not roots:
            return
        with self._store.ledger.write(self._actor) as tx:
            tx.add_fetched(self._name, files)
            new = tx.add_roots(self._name, RootKind.CAPTURED, roots)
        self.tally.roots += len(new)

    def checksum(self, digest: Digest, algorithm: str) -> str:
        """Of a blob, in hexadecimal."""
        return self._store.checksums.value(digest, algorithm)


def is_metadata(path: str) -> bool:
    """Whether it is an index that Sluice derives itself."""
    return path.rpartition("/")[2] == METADATA


def is_volatile(path: str) -> bool:
    """Whether the same path may have other bytes tomorrow: an index, or a literal SNAPSHOT."""
    artifact = locate(path)
    return artifact is None or (artifact.snapshot and artifact.moment is None)
