"""The picture of one generation: what is live, what was, and who may have it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property

from manifests.digest import Digest
from manifests.errors import BlobMissing
from manifests.formats import FORMATS
from manifests.formats.base import Format, TreeView
from manifests.state import is_name
from repo_server.gate import DenyDigests, Gate
from repo_server.marks import identity
from repo_server.ready import Ready
from repo_server.settings import Settings
from store.ledger import ReadTransaction
from store.records import OfferedKey, PastPublication, Publication
from store.store import Store

_PINNED = 256
HOME, HEALTH, SETUP = "/", "/healthz", "/setup/"


class Edition:
    """One publication that can be looked into; its tree is mapped at the first look."""

    def __init__(self, store: Store, publication: Publication, replaced: float = 0.0) -> None:
        self._store = store
        self.publication = publication
        self.replaced = replaced
        """When another publication took its place (seconds since 1970); 0 if it is live."""
        self.format: Format = FORMATS[publication.format]

    @cached_property
    def view(self) -> TreeView:
        """Tree and overlay; raises BlobMissing."""
        return self._store.view(self.publication.tree, self.publication.overlay)

    @cached_property
    def overlay(self) -> TreeView | None:
        """The overlay alone; raises BlobMissing."""
        digest = self.publication.overlay
        return None if digest is None else self._store.view(digest)

    @cached_property
    def identity(self) -> int:
        """A number by which workers tell each other which content they mean."""
        return identity(self.publication.tree, self.publication.overlay)

    @cached_property
    def published(self) -> float:
        """Seconds since 1970."""
        return self.publication.published.timestamp()


@dataclass(frozen=True, slots=True)
class Live:
    """A repository as it is served now, and the editions that it replaced, newest first."""

    edition: Edition
    past: tuple[Edition, ...] = ()
    keys: tuple[OfferedKey, ...] = ()
    """Keys that came in bundles and that a person approved."""


@dataclass(frozen=True, slots=True)
class InRepository:
    """A URL below ``/FORMAT/REPOSITORY/``; ``path`` is relative to the repository.

    ``live`` is None for a pinned snapshot, whose only edition is ``edition``.
    """

    name: str
    prefix: str
    path: str
    edition: Edition
    live: Live | None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of the server itself: ``home``, ``health``, ``setup``, ``repo``, ``key``,
    ``format`` (all repositories of one), or ``folder`` (add a slash to the URL)."""

    kind: str
    name: str = ""


Route = InRepository | Page | None


@dataclass(slots=True)
class Site:
    """Everything that is served at one generation. Sees all repositories."""

    store: Store
    settings: Settings
    generation: int
    repositories: Mapping[str, Live]
    gate: Gate
    ready: OrderedDict[str, Ready] = field(default_factory=OrderedDict)
    """Answers that were worked out before, by the raw request target."""
    _pinned: OrderedDict[tuple[str, int], Edition | None] = field(default_factory=OrderedDict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def load(cls, store: Store, settings: Settings) -> Site:
        """Read one generation from the ledger. Raises StoreError."""
        since = datetime.now(UTC) - timedelta(seconds=settings.serve.grace)
        with store.ledger.read() as tx:
            generation = tx.generation()
            publications = [each for each in tx.publications() if each.format in FORMATS]
            history = tx.publication_history(since=since)
            denied = frozenset(tx.denied()) | settings.serve.deny
            keys = [key for key in tx.offered_keys() if key.approved is not None]
        past: dict[str, list[PastPublication]] = {}
        for each in history:
            past.setdefault(each.publication.repository, []).append(each)
        repositories = {
            each.repository: Live(
                Edition(store, each),
                _past(store, each, past.get(each.repository, [])),
                tuple(key for key in keys if _belongs(key, each)),
            )
            for each in publications
        }
        return cls(store, settings, generation, repositories, DenyDigests(denied))

    def route(self, path: str) -> Route:
        """What a decoded path leads to. May ask the ledger for a pinned snapshot."""
        if path in (HOME, HEALTH):
            return Page("home" if path == HOME else "health")
        if path == "/setup" or path.startswith(SETUP):
            return self._setup(path)
        first, slash, rest = path[1:].partition("/")
        if first not in FORMATS:
            return None
        if not slash:
            return Page("folder")
        if not rest:
            return Page("format", first)
        name, slash, inner = rest.partition("/")
        name, at, pinned = name.partition("@")
        live = self.repositories.get(name)
        if live is None or live.edition.publication.format != first:
            return None
        edition: Edition | None = live.edition
        if at:
            edition = self._pinned_edition(name, pinned)
            if edition is None or edition.publication.format != first:
                return None
        if not slash:
            return Page("folder")
        assert edition is not None
        prefix = f"/{first}/{name}{at}{pinned}/"
        return InRepository(name, prefix, inner, edition, None if at else live)

    def _setup(self, path: str) -> Route:
        if path == "/setup":
            return Page("folder")
        name = path.removeprefix(SETUP)
        if not name:
            return Page("setup")
        kind, ending = ("key", ".asc") if name.startswith("keys/") else ("repo", ".repo")
        name = name.removeprefix("keys/")
        live = self.repositories.get(name.removesuffix(ending))
        if not name.endswith(ending) or live is None or live.edition.publication.format != "yum":
            return None
        return Page(kind, name.removesuffix(ending))

    def _pinned_edition(self, name: str, text: str) -> Edition | None:
        """The snapshot with this serial as it was first published under ``name``.

        A snapshot that never was published was never proved complete, so it has no URL.
        """
        if not (text.isascii() and text.isdigit() and len(text) < 17 and text[0] != "0"):
            return None
        key = (name, int(text))
        with self._guard:
            if key in self._pinned:
                return self._pinned[key]
        with self.store.ledger.read() as tx:
            found = _first_published(tx, *key)
        edition = None if found is None else Edition(self.store, found)
        with self._guard:
            self._pinned[key] = edition
            if len(self._pinned) > _PINNED:
                self._pinned.popitem(last=False)
        return edition

    def remember(self, target: str, ready: Ready) -> None:
        """Keep an answer for the next request of the same URL."""
        self.ready[target] = ready
        if len(self.ready) > self.settings.limits.answers:
            self.ready.popitem(last=False)

    def size_of_blob(self, digest: Digest) -> int | None:
        """The size of a blob in bytes, None if it is not in the store."""
        try:
            return self.store.blobs.size(digest)
        except BlobMissing:
            return None


def _past(store: Store, live: Publication, history: list[PastPublication]) -> tuple[Edition, ...]:
    """The editions before ``live``, newest first, each content once."""
    seen = {(live.tree, live.overlay)}
    result = []
    for each in history:
        old = each.publication
        if (old.tree, old.overlay) not in seen and old.format == live.format:
            seen.add((old.tree, old.overlay))
            result.append(Edition(store, old, each.replaced.timestamp()))
    return tuple(result)


def _belongs(key: OfferedKey, publication: Publication) -> bool:
    names = (publication.source_repository, publication.repository)
    return key.stream == publication.stream and key.repository in names


def _first_published(tx: ReadTransaction, name: str, serial: int) -> Publication | None:
    if not is_name(name):
        return None
    candidates = [each.publication for each in reversed(tx.publication_history(name))]
    current = tx.publication(name)
    if current is not None:
        candidates.append(current)
    for each in candidates:
        if each.serial == serial and each.format in FORMATS:
            kept = tx.snapshot(each.stream, each.source_repository, serial)
            return each if kept is not None and kept.snapshot.tree == each.tree else None
    return None
