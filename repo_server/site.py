"""The picture of one generation: what is live, what was, and who may have it."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial

from manifests.digest import Digest
from manifests.errors import BlobMissing
from manifests.formats import FORMATS, format_named
from manifests.formats.base import Format, TreeView
from manifests.state import is_name
from repo_server.gate import DenyDigests, Gate
from repo_server.marks import identity
from repo_server.origins import FORMAT, Images, origins_of
from repo_server.ready import Ready
from repo_server.settings import Settings
from store.ledger import ReadTransaction
from store.records import OfferedKey, PastPublication, Publication
from store.store import Store

_PINNED = 256
HOME, HEALTH, METRICS, SETUP = "/", "/healthz", "/metrics", "/setup/"
_OWN = {HOME: "home", HEALTH: "health", METRICS: "metrics"}


class Edition:
    """One publication that can be looked into; its tree is mapped at the first look."""

    def __init__(self, store: Store, publication: Publication, replaced: float = 0.0) -> None:
        self._store = store
        self.publication = publication
        self.replaced = replaced
        """When another publication took its place (seconds since 1970); 0 if it is live."""
        self.format: Format = format_named(publication.format)

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
    """A page of the server itself: ``home``, ``health``, ``metrics``, ``setup`` (with ``name``:
    a file below it), ``format`` (all repositories of one), ``images`` (of the repository
    ``name``), or ``folder`` (add a slash to the URL)."""

    kind: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    """Repositories served as one, in the order to look."""

    name: str
    format: Format
    members: Mapping[str, Live]


@dataclass(frozen=True, slots=True)
class InGroup:
    """A URL below ``/FORMAT/GROUP/``; ``path`` is relative to the group."""

    group: Group
    prefix: str
    path: str

    def of(self, name: str, live: Live) -> InRepository:
        """The same path in a member."""
        return InRepository(name, self.prefix, self.path, live.edition, live)


Route = InRepository | InGroup | Page | None


@dataclass(slots=True)
class Site:
    """Everything that is served at one generation. Sees all repositories."""

    store: Store
    settings: Settings
    generation: int
    repositories: Mapping[str, Live]
    gate: Gate
    groups: Mapping[str, Group] = field(default_factory=dict)
    origins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Registries whose place repositories take, sorted, each with those repositories."""
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Host names that stand for one repository of images each."""
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
        hosts = {
            host: name for name, each in settings.serve.registries.items() for host in each.hosts
        }
        return cls(
            store,
            settings,
            generation,
            repositories,
            DenyDigests(denied),
            _groups(settings, repositories),
            _origins(settings, repositories),
            hosts,
        )

    def names(self, format_name: str) -> list[str]:
        """What is served of a format: repositories and groups, sorted."""
        found = {
            name
            for name, live in self.repositories.items()
            if live.edition.publication.format == format_name
        } - self.groups.keys()
        found |= {name for name, each in self.groups.items() if each.format.name == format_name}
        return sorted(found)

    def route(self, path: str) -> Route:
        """What a decoded path leads to. May ask the ledger for a pinned snapshot."""
        if path in _OWN:
            return Page(_OWN[path])
        if path == "/setup":
            return Page("folder")
        if path.startswith(SETUP):
            return Page("setup", path.removeprefix(SETUP))
        first, slash, rest = path[1:].partition("/")
        if first not in FORMATS:
            return None
        if not slash:
            return Page("folder")
        if not rest:
            return Page("format", first)
        name, slash, inner = rest.partition("/")
        name, at, pinned = name.partition("@")
        group = self.groups.get(name)
        if group is not None:
            if at or group.format.name != first:
                return None
            return InGroup(group, f"/{first}/{name}/", inner) if slash else Page("folder")
        live = self.repositories.get(name)
        if live is None or live.edition.publication.format != first:
            return None
        edition: Edition | None = live.edition
        if at:
            edition = self.pinned(name, pinned)
            if edition is None or edition.publication.format != first:
                return None
        if not slash:
            return Page("folder")
        if first == FORMAT:  # files of images are for registries' clients, below /v2/
            return None if at or inner else Page("images", name)
        assert edition is not None
        prefix = f"/{first}/{name}{at}{pinned}/"
        return InRepository(name, prefix, inner, edition, None if at else live)

    def root(self, host: str | None, place: str) -> str:
        """The repository of images that stands alone where a client asks, by the listening
        address (``place``) or the Host header; empty: none does."""
        if place or not self.hosts or host is None:
            return place
        host = host.lower()
        return self.hosts.get(host) or self.hosts.get(host.rpartition(":")[0], "")

    def key(self, target: str, host: str | None, place: str) -> str:
        """By what an answer to a raw request target is remembered."""
        root = self.root(host, place)
        return f"{root}\n{target}" if root else target

    def pinned(self, name: str, text: str) -> Edition | None:
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


def _origins(settings: Settings, repositories: Mapping[str, Live]) -> dict[str, tuple[str, ...]]:
    some = []
    for name, live in repositories.items():
        its = live.edition
        if its.publication.format == FORMAT:
            stream = its.publication.stream
            some.append(Images(name, stream, partial(getattr, its, "view")))
    return origins_of(settings.serve, some)


def _groups(settings: Settings, repositories: Mapping[str, Live]) -> dict[str, Group]:
    """The groups of which a member is published. A member has the format of the first one."""
    result = {}
    for name, names in settings.serve.groups.items():
        there = {each: repositories[each] for each in names if each in repositories}
        formats = [live.edition.format for live in there.values() if live.edition.format.mergeable]
        if formats:
            members = {
                each: live for each, live in there.items() if live.edition.format is formats[0]
            }
            result[name] = Group(name, formats[0], members)
    return result


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
