"""An outside and an inside without mirror, carrier and server: stores, keys and files."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO

from manifests.bundle import WIRE, PartName
from manifests.digest import Digest
from manifests.durable import Durable
from manifests.errors import SluiceError
from manifests.formats.base import Problem
from manifests.provenance import Origin
from manifests.state import Snapshot
from manifests.tree import Entry
from manifests.zone import InsideStream, OutsideStream
from sluice.ceremonies import StreamKeys
from store.origins import keep_origin
from store.records import BundleRecord, Publication, StoredSnapshot
from store.seam import Seam
from store.store import Store
from transfer.arrivals import Outcome, Report, Verdict
from transfer.pack import Draft, pack
from transfer.plan import Wish
from transfer.publish import Judges
from transfer.receive import receive
from transfer.release import release
from transfer.spool import Spool

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
Files = Mapping[str, bytes]


@dataclass
class Outside:
    """A zone that packs; ``root`` is its folder."""

    root: Path
    files: Durable = field(default_factory=Seam)
    stream: str = "hq"
    part_size: int = 1 << 20
    resend_window: int = 0
    max_bundle: int | None = None
    wire: int = WIRE
    repositories: tuple[str, ...] = ("base", "extra", "files")
    together: Sequence[Sequence[str]] = ()
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.store = Store.open(self.root / "store", files=self.files)
        self.spool = self.root / "spool"
        self.keys = StreamKeys(Seam(), self.stream, self.root / "keys")
        if not (self.root / "keys").exists():
            self.keys.create(self.now)

    @property
    def config(self) -> OutsideStream:
        return OutsideStream(
            name=self.stream,
            carrier="file",
            outbox=self.root / "outbox",
            keys=self.root / "keys",
            part_size=self.part_size,
            repositories=self.repositories,
            resend_window=self.resend_window,
            max_bundle=self.max_bundle,
            wire=self.wire,
        )

    def snapshot(
        self,
        repository: str,
        files: Files,
        format: str = "files",
        origin: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        """Make the next snapshot of a repository; ``origin`` is what is known of its making."""
        with self.store.locks.shared(), self.store.blobs.batch() as batch:
            entries = []
            for path in sorted(files, key=lambda path: path.encode()):
                digest, size = batch.put_bytes(files[path])
                entries.append(Entry(path, digest, size))
            return self._add(repository, format, entries, origin)

    def _add(
        self,
        repository: str,
        format: str,
        entries: Iterable[Entry],
        origin: Mapping[str, Any] | None = None,
    ) -> Snapshot:
        tree = self.store.keep_tree(entries)
        with self.store.ledger.write() as tx:
            newest = tx.newest_snapshot("", repository)
            serial = 1 if newest is None else newest.snapshot.serial + 1
            snapshot = Snapshot(
                repository, format, serial, tree.digest, tree.size, tree.files, tree.bytes, self.now
            )
            tx.add_snapshot(StoredSnapshot("", snapshot))
            if origin is not None:
                keep_origin(tx, Origin(repository, serial, synced=self.now, **origin))
        return snapshot

    def pack(
        self, *, full: bool = False, since: int | None = None, only: tuple[str, ...] = ()
    ) -> Draft | None:
        return pack(
            self.store,
            self.config,
            self.spool,
            roots=self.keys.chain(),
            together=self.together,
            wish=Wish(full, since, only),
            now=self.now,
        )

    def release(self, draft: Draft) -> BundleRecord:
        self.now += timedelta(hours=1)
        return release(
            self.store,
            self.stream,
            self.spool,
            draft.id,
            self.sign,
            roots=self.keys.chain(),
            resend_window=self.resend_window,
            wire=self.wire,
            now=self.now,
        )

    def sign(self, manifest: bytes, sequence: int, document: bytes | None) -> bytes:
        if document is not None:
            return self.keys.countersign(document)
        return self.keys.sign_release(manifest, sequence, self.now)

    def bundle(
        self, *, full: bool = False, since: int | None = None, only: tuple[str, ...] = ()
    ) -> list[Path]:
        """Pack and release; the part files in the spool."""
        draft = self.pack(full=full, since=since, only=only)
        assert draft is not None
        return self.parts(self.release(draft))

    def parts(self, bundle: BundleRecord) -> list[Path]:
        spool = Spool(self.files, self.spool, self.stream)
        return [
            spool.part(PartName(self.stream, bundle.epoch, bundle.sequence, part, bundle.parts))
            for part in range(1, bundle.parts + 1)
        ]


@dataclass(frozen=True)
class FileArrival:
    """A file that lies somewhere."""

    path: Path

    @property
    def label(self) -> str:
        return self.path.name

    @property
    def size(self) -> int:
        return self.path.stat().st_size

    @property
    def identity(self) -> str:
        status = self.path.stat()
        return f"{self.path.name} {status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def open(self) -> BinaryIO:
        return self.path.open("rb")


@dataclass
class Inside:
    """A zone that receives; ``problems`` and ``refuse`` steer its judges."""

    root: Path
    pinned: bytes
    files: Durable = field(default_factory=Seam)
    stream: str = "hq"
    rename: Mapping[str, str] = field(default_factory=dict)
    repositories: tuple[str, ...] | None = None
    mark: Path | None = None
    now: datetime = NOW + timedelta(days=1)
    problems: dict[str, list[Problem]] = field(default_factory=dict)
    refuse: dict[str, SluiceError] = field(default_factory=dict)
    checked: list[tuple[str, str]] = field(default_factory=list)
    brought: int = 0

    def __post_init__(self) -> None:
        self.store = Store.open(self.root / "store", files=self.files)
        self.inbox = self.root / "inbox"
        self.inbox.mkdir(exist_ok=True)

    @property
    def config(self) -> InsideStream:
        return InsideStream(
            name=self.stream,
            carrier="file",
            inbox=self.inbox,
            root=self.root / "root.json",
            rename=self.rename,
            repositories=self.repositories,
            mark=self.mark,
        )

    def bring(self, *parts: Path, rename: bool = False) -> None:
        """Copy part files into the inbox."""
        for part in parts:
            self.brought += 1
            name = f"renamed-{self.brought}" if rename else part.name
            shutil.copyfile(part, self.inbox / name)

    def receive(self) -> Report:
        """Receive, and do with each file what a carrier does."""
        arrivals = [FileArrival(path) for path in sorted(self.inbox.iterdir())]
        report = receive(
            self.store,
            self.config,
            arrivals,
            pinned_root=self.pinned,
            judges=self.judges(),
            now=self.now,
        )
        assert [o.arrival for o in report.outcomes] == arrivals
        for outcome in report.outcomes:
            if outcome.verdict is Verdict.DONE:
                outcome.arrival.path.unlink()
            elif outcome.verdict is Verdict.BAD:
                aside = self.root / "quarantine"
                aside.mkdir(exist_ok=True)
                outcome.arrival.path.rename(aside / outcome.arrival.label)
        return report

    def judges(self) -> Judges:
        return Judges(self._check, self._signatures, self._derive)

    def _check(self, format: str, name: str, tree: Digest) -> list[Problem]:
        self.checked.append((format, name))
        return self.problems.get(name, [])

    def _signatures(self, format: str, name: str, tree: Digest) -> bool:
        if name in self.refuse:
            raise self.refuse[name]
        return False

    def _derive(
        self, format: str, name: str, tree: Digest, live: Publication | None
    ) -> Digest | None:
        return None

    def content(self, name: str) -> dict[str, bytes] | None:
        """Path and bytes of everything that is published under ``name``."""
        with self.store.ledger.read() as tx:
            live = tx.publication(name)
        if live is None:
            return None
        view = self.store.view(live.tree, live.overlay)
        found = {}
        for entry in view.entries():
            with view.open(entry.path) as body:
                found[entry.path] = body.read()
        return found


def reasons(outcomes: Iterable[Outcome]) -> list[str]:
    """The classes of the errors, sorted."""
    return sorted(type(o.error).__name__ for o in outcomes if o.error is not None)
