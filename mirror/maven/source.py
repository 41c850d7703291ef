"""A Maven repository's sync: the closure of its roots, and what its Nexus lists."""

from __future__ import annotations

import hashlib
import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.formats import format_named
from manifests.formats.base import Problem, Severity, Spec
from manifests.formats.maven import statement
from manifests.formats.maven.layout import is_snapshot
from manifests.formats.maven.statement import Stated
from manifests.tree import PRIVATE, Entry
from manifests.zone import model as zone
from mirror.crawl import CrawlSource
from mirror.http import HttpTransport
from mirror.maven.closure import Closures
from mirror.maven.machine import settled
from mirror.maven.nexus import Asset, Listing
from mirror.maven.pull import Pull
from mirror.report import Progress, printable
from mirror.settings import Settings, spec_of
from mirror.source import Gathered, Plan
from store.blobs import BlobBatch
from store.records import Closure, Fetched, Hold, RootKind
from store.store import Store

_NAMED = 20
_FORMAT = "maven"


@contextmanager
def maven_source(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    folder: Path,
    *,
    progress: Progress,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[MavenSource]:
    """The upstream of a Maven repository. ``folder`` is ours, see ``HttpTransport``.

    Raises ConfigError.
    """
    repository = settled(repository)
    transport = HttpTransport(
        repository.upstream,
        repository.connection,
        folder,
        progress=progress,
        pause=pause,
        stay=True,
    )
    try:
        yield MavenSource(store, repository, settings, transport, folder, progress, pause)
    finally:
        transport.close()


class MavenSource:
    """See ``mirror.source.Source``."""

    def __init__(
        self,
        store: Store,
        repository: zone.Repository,
        settings: Settings,
        transport: HttpTransport,
        folder: Path,
        progress: Progress,
        pause: Callable[[float], None],
    ) -> None:
        self._store = store
        self._repository = repository
        self._name = repository.name
        self._settings = settings
        self._transport = transport
        self._folder = folder
        self._progress = progress
        self._pause = pause
        nexus = repository.upstream.nexus
        # Beside the folder, not in it: what lies there is cleared at the next start.
        notes = folder.parent / "listing"
        self._listing = None if nexus is None else Listing(nexus, transport, notes)
        self._closures: list[Closure] | None = None
        self._asked: list[object] = []
        self._state = ""
        self._pulled = 0

    def plan(self, batch: BlobBatch) -> Plan:
        """See ``Source``; what has not been resolved yet is not counted."""
        with self._store.ledger.read() as tx:
            closures = list(tx.closures(self._name).values())
        return self._crawl(self._roots(self._plain(closures)), batch).plan(batch)

    def gather(
        self, batch: BlobBatch, wrong: list[str], guard: Callable[[Plan], None]
    ) -> Gathered | None:
        """See ``Source``. Raises UsageError when nothing is asked of the repository."""
        if self._closures is None:
            self._closures = self._resolved()
        plain = self._plain(self._closures)
        if not plain and self._settings.previous is None and self._listing is None:
            unresolved = _problems(self._closures)
            if unresolved:
                raise errors.UpstreamRefused(
                    f"{printable(unresolved[0].path)}: {unresolved[0].what}",
                    where=self._name,
                    remedy="check `upstream` and the names in zone.yaml",
                )
            raise errors.UsageError(
                "nothing is asked of this repository yet",
                where=self._name,
                remedy="name `artifacts`, `boms` or `projects` in zone.yaml, or capture a build: "
                f"sluice capture {self._name} -- mvn verify",
            )
        self._state = self._fingerprint(plain)
        if not wrong and self._is_unchanged(plain):
            self._used()
            return None
        self._asked = self._roots(plain)
        source = self._crawl(self._asked, batch)
        gathered = source.gather(batch, wrong, guard)
        gathered.problems += _problems(self._closures)
        gathered.needed += self._pulled
        gathered.downloaded += self._pulled
        return gathered

    def committed(self, tree: Digest) -> None:
        """See ``Source``: the snapshot holds now what was fetched for it."""
        view = self._store.tree(tree)
        kept = (entry.path for entry in view.entries())
        # What was left out is asked for again the next time.
        whole = all(_path(root) in kept for root in self._asked)  # both in order: one pass
        with self._store.ledger.write() as tx:
            named = {one.root for one in tx.roots(self._name)}
            for closure in tx.closures(self._name).values():
                named.update(closure.paths)
            done = []
            for one in tx.all_fetched(self._name):
                entry = view.lookup(one.path)
                if one.path not in named or (entry is not None and entry.digest == one.digest):
                    done.append(one.path)
            tx.forget_fetched(self._name, done)
            tx.set_meta(self._key, self._made(tree) if whole else "")
        self._used()

    def _used(self) -> None:
        """The run ended well: its listing is of no more use, and what stays unresolved is told."""
        if self._listing is not None:
            self._listing.forget()
        self._tell()

    # --- what is wanted

    def _resolved(self) -> list[Closure]:
        """Closures brought up to date, by a proxy of our own."""
        with self._store.ledger.read() as tx:
            wants = tx.root_count(self._name, RootKind.WANT)
            known = tx.closures(self._name)
            rows = [one for one in tx.roots(self._name) if one.kind is not RootKind.CAPTURED]
        if not (self._repository.maven.asks or wants or known or rows):
            return []
        with Pull.opened(self._store, self._repository, collect=True, pause=self._pause) as pull:
            found = Closures(self._store, self._repository, pull).update()
            self._pulled = pull.tally.bytes
        return found

    def _plain(self, closures: Iterable[Closure]) -> list[str]:
        """The paths that were captured or resolved, each once."""
        with self._store.ledger.read() as tx:
            found = {one.root for one in tx.roots(self._name) if one.kind is RootKind.CAPTURED}
        for closure in closures:
            found.update(closure.paths)
        return sorted(found)

    def _roots(self, plain: Iterable[str]) -> list[object]:
        """All that is wanted, by path; a listing's promise goes before a plain path."""
        found: dict[str, object] = {path: path for path in plain}
        for asset in self._assets():
            found[str(asset["path"])] = asset
        return [found[path] for path in sorted(found)]

    def _assets(self) -> Iterable[Asset]:
        return () if self._listing is None else self._listing.assets()

    # --- is anything new?

    @property
    def _key(self) -> str:
        return f"maven/{sha256_of(self._name.encode())[:40]}"

    def _fingerprint(self, plain: Iterable[str]) -> str:
        found = hashlib.sha256()
        if self._listing is not None:
            found.update(self._listing.fingerprint().encode())
        for path in plain:
            found.update(f"\n{path!r}".encode())
        return found.hexdigest()

    def _is_unchanged(self, plain: Iterable[str]) -> bool:
        """Whether the same roots made the newest snapshot, and none of them ever changes."""
        previous = self._settings.previous
        if previous is None:
            return False
        with self._store.ledger.read() as tx:
            before = tx.get_meta(self._key)
        if before != self._made(previous.snapshot.tree):
            return False
        changing = {path for path in plain if _changes(path)}
        if changing:  # unless the listing promises what they are
            changing.difference_update(str(asset["path"]) for asset in self._assets())
        return not changing

    def _made(self, tree: Digest) -> str:
        """Says that the present roots made ``tree``."""
        return f"{self._state} {tree} {self._settings.fingerprint}"

    # --- fetching

    def _crawl(self, roots: list[object], batch: BlobBatch) -> CrawlSource:
        spec = spec_of(self._repository)
        spec = replace(spec, options={**spec.options, "roots": roots})
        return CrawlSource(
            self._store,
            self._name,
            lambda view: format_named(_FORMAT).crawl(spec, view),
            self._transport,
            previous=self._known(batch, spec),
            accepted=self._settings.excuses,
            progress=self._progress,
            clean=lambda: None,
        )

    def _known(self, batch: BlobBatch, spec: Spec) -> Digest | None:
        """A tree of all that is here: the newest snapshot, and over it what was fetched since."""
        previous = self._settings.previous
        with self._store.ledger.read() as tx:
            fetched = [one for one in tx.all_fetched(self._name)
                       if self._store.blobs.has(one.digest)]  # fmt: skip
        if not fetched:
            return None if previous is None else previous.snapshot.tree
        stated: dict[str, Stated] = {}
        entries: dict[str, Entry] = {}
        if previous is not None:
            view = self._store.view(previous.snapshot.tree)
            stated.update(statement.read(view))
            for entry in self._store.tree(previous.snapshot.tree).entries():
                if not entry.path.startswith(PRIVATE):
                    entries[entry.path] = entry
        for one in fetched:
            entries[one.path] = Entry(one.path, one.digest, one.size)
            stated.pop(one.path, None)
            stated.update(_stated(one))
        for path, data in statement.write(stated):
            entries[path] = Entry(path, *batch.put_bytes(data))
        tree = self._store.keep_tree(
            heapq.merge(sorted(entries.values(), key=lambda entry: entry.path.encode())), batch
        )
        batch.flush()
        return tree.digest

    # --- telling

    def _tell(self) -> None:
        """Keep what cannot be resolved where ``status`` shows it, or end that hold."""
        problems = _problems(self._closures or [])
        key = f"roots/{self._name}"
        with self._store.ledger.write() as tx:
            if not problems:
                if tx.hold(key) is not None:
                    tx.clear_hold(key)
                return
            names = [f"{one.path}: {one.what}" for one in problems[:_NAMED]]
            tx.set_hold(
                Hold(
                    key=key,
                    stream="",
                    repository=self._name,
                    kind="unresolved",
                    reason=f"{len(problems)} things that were asked for cannot be had; "
                    f"first {names[0]}",
                    remedy="correct the names in zone.yaml, or wait until the upstream has them; "
                    "all others go on",
                    since=tx.now(),
                    detail={"items": names, "total": len(problems)},
                )
            )


def _problems(closures: Iterable[Closure]) -> list[Problem]:
    return [
        Problem(printable(name), printable(reason), Severity.ADVICE)
        for closure in closures
        for name, reason in closure.unresolved.items()
    ]


def _path(root: object) -> str:
    return root if isinstance(root, str) else str(root["path"])  # type: ignore[index]


def _changes(path: str) -> bool:
    """Whether the upstream may have something newer at the same path."""
    return is_snapshot(path.rpartition("/")[0].rpartition("/")[2])


def _stated(one: Fetched) -> dict[str, Stated]:
    kind, _, value = one.stated.partition(" ")
    return {one.path: (kind, value)} if value else {}
