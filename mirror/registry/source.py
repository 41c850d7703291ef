"""A sync of container images: what the crawl found, and what stands in for images that failed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import TreeView
from manifests.formats.oci.approval import Approval
from manifests.formats.oci.crawl import OciCrawl
from manifests.formats.oci.document import Descriptor
from manifests.formats.oci.layout import split_digest
from manifests.formats.oci.outcome import Outcome
from manifests.formats.oci.rules import ImageRule, rule_of
from manifests.tree import PRIVATE, Entry
from manifests.zone import model as zone
from mirror.crawl import CrawlSource
from mirror.registry.near import NearTransport
from mirror.registry.transport import RegistryTransport
from mirror.report import SHOWN, Progress, printable
from mirror.settings import Settings, spec_of
from mirror.source import Gathered, Plan
from mirror.transport import Transport
from store.blobs import BlobBatch
from store.records import Hold, RootKind
from store.signatures import image_keys
from store.store import Store

_OLD = 7 * zone.DAY
"""Seconds."""


@contextmanager
def registry_source(
    store: Store,
    repository: zone.Repository,
    settings: Settings,
    folder: Path,
    *,
    progress: Progress,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[RegistrySource]:
    """The upstream of an ``oci`` repository. ``folder`` is ours, see ``HttpTransport``.

    Raises ConfigError.
    """
    transport: Transport
    if repository.upstream.transport == "file":
        transport = NearTransport(repository, folder, progress=progress)
    else:
        transport = RegistryTransport(repository, folder, progress=progress, pause=pause)
    try:
        yield RegistrySource(store, repository, settings, transport, folder, progress)
    finally:
        transport.close()


class RegistrySource:
    """See ``mirror.source.Source``."""

    def __init__(
        self,
        store: Store,
        repository: zone.Repository,
        settings: Settings,
        transport: Transport,
        folder: Path,
        progress: Progress,
    ) -> None:
        self._store = store
        self._repository = repository
        self._name = repository.name
        self._transport = transport
        self._folder = folder
        self._keys = image_keys(settings.keys.armored) if settings.keys.armored else []
        self._crawl: OciCrawl | None = None
        self._outcome = Outcome()
        previous = settings.previous
        self._source = CrawlSource(
            store,
            repository.name,
            self._begin,
            transport,
            previous=None if previous is None else previous.snapshot.tree,
            accepted=settings.excuses,
            progress=progress,
            clean=lambda: shutil.rmtree(folder, ignore_errors=True),
        )

    def plan(self, batch: BlobBatch) -> Plan:
        """See ``Source``."""
        return self._source.plan(batch)

    def gather(self, batch: BlobBatch, wrong: list[str], guard: Callable[[Plan], None]) -> Gathered:
        """See ``Source``. Raises UpstreamRefused when no image at all can be had, UpstreamError
        when one fails and ``strict`` is set."""
        gathered = self._source.gather(batch, wrong, guard)
        assert self._crawl is not None
        arrived = {entry.path: entry for entry in gathered.entries}
        batch.flush()  # signatures are read from it
        outcome = self._outcome = self._crawl.outcome(_public(arrived), self._approval())
        self._refuse(outcome)
        gathered.entries = iter(sorted(outcome.entries.values(), key=_key))
        gathered.problems += outcome.problems
        gathered.expected = frozenset(outcome.expected)
        return gathered

    def _approval(self) -> Approval | None:
        """Whose signatures every image needs, if any."""
        if not self._keys:
            return None
        return Approval(self._keys, lambda entry: self._store.blobs.open(entry.digest))

    def committed(self, tree: Digest) -> None:
        """See ``Source``. What failed is told in ``status`` until it no longer does."""
        if not self._outcome.failed:
            self._source.committed(tree)
        else:
            _forget_old(self._folder)
        self._tell()

    def _begin(self, previous: TreeView | None) -> OciCrawl:
        """A crawl for what zone.yaml names and for accepted wants."""
        spec = spec_of(self._repository)
        with self._store.ledger.read() as tx:
            wants = [row.root for row in tx.roots(self._name) if row.kind is RootKind.WANT]
        asked = self._repository.oci.asked
        rules = [*asked.images, *(_wanted(text, asked.images) for text in wants)]
        # Signatures are among the referrers, and the inside asks for them again.
        referrers = asked.referrers or bool(self._keys)
        asked = replace(asked, images=tuple(rules), referrers=referrers)
        self._crawl = OciCrawl(replace(spec, options={**spec.options, **asked.options}), previous)
        room = self._store.blobs.free_bytes() - self._store.reserve_free
        self._crawl.fits = lambda row: row.size <= room or self._is_here(row)
        return self._crawl

    def _is_here(self, row: Descriptor) -> bool:
        algorithm, digits = split_digest(row.digest)
        return algorithm == "sha256" and self._store.blobs.has(Digest(digits))

    def _refuse(self, outcome: Outcome) -> None:
        failed = [f"{name}: {what}" for name, what in outcome.failed.items()]
        strict = self._repository.oci.asked.strict
        if outcome.entries and not (failed and strict):
            return
        lines = failed or [f"{one.path}: {one.what}" for one in outcome.notes]
        if not lines:
            lines = ["the registry has nothing of what is asked for"]
        more = f" (and {len(lines) - 3} more)" if len(lines) > 3 else ""
        text = "; ".join(printable(line) for line in lines[:3])
        kind = errors.UpstreamError if outcome.entries else errors.UpstreamRefused
        raise kind(
            f"{text}{more}",
            where=self._transport.source,
            remedy="check `images` and the registry"
            + (", or go on without them: remove `strict`" if strict and failed else ""),
        )

    def _tell(self) -> None:
        """Keep what failed where ``status`` shows it, or end that hold."""
        key = f"images/{self._name}"
        failed = self._outcome.failed
        with self._store.ledger.write() as tx:
            if not failed:
                if tx.hold(key) is not None:
                    tx.clear_hold(key)
                return
            names = [printable(f"{name}: {what}") for name, what in failed.items()]
            count = "one image is" if len(names) == 1 else f"{len(names)} images are"
            tx.set_hold(
                Hold(
                    key=key,
                    stream="",
                    repository=self._name,
                    kind="images",
                    reason=f"{count} not as the registry has it; first {names[0]}",
                    remedy="their last good state stays, all others go on; have them repaired "
                    "or signed in the registry, or ask for other tags",
                    since=tx.now(),
                    detail={"items": names[:SHOWN], "total": len(names)},
                )
            )


def _wanted(text: str, rules: Sequence[ImageRule]) -> ImageRule:
    """The rule of an accepted want: for the platforms that are mirrored of that image anyhow."""
    rule = rule_of(text)
    others = [other for other in rules if other.matches(rule.name)]
    if not all(other.platforms for other in others):
        return rule
    platforms = dict.fromkeys(each for other in others for each in other.platforms)
    return replace(rule, platforms=tuple(platforms))


def _forget_old(folder: Path) -> None:
    """Remove halves of downloads that nobody went on with for a week."""
    for item in folder.iterdir() if folder.is_dir() else ():
        if time.time() - item.lstat().st_mtime > _OLD and not item.is_dir():
            item.unlink()


def _public(entries: dict[str, Entry]) -> dict[str, Entry]:
    return {path: one for path, one in entries.items() if not path.startswith(PRIVATE)}


def _key(entry: Entry) -> bytes:
    return entry.path.encode()
