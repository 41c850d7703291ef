"""From an older version of the ledger to the present one, and back.

Before anything changes, a copy of the ledger, ``zone.yaml`` and ``VERSION`` is made in a
folder of its own below ``upgrades/``::

    1-ledger-1-to-2/
        ledger.sqlite       or ledger.pgdump, as it was
        zone.yaml VERSION
        COPY                what it holds, canonical JSON; written last: with it the copy is whole
        DONE                the upgrade came to its end

A process may die anywhere: the copy is made anew unless a step was done since, each step
is one transaction with the version that it reaches, and the next run does what is left.
"""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from manifests import canonical
from manifests.durable import Durable, publish_file
from manifests.errors import BackupDamaged, SluiceError, StoreError
from manifests.state import format_time
from store import pgdump
from store.backup import copy_ledger, file_digest, small_file
from store.ledger import Ledger, schema
from store.ledger.connect import told_of
from store.ledger.engine import Reach
from store.ledger.steps import STEPS, Step
from store.locks import Locks
from store.store import check_version

FOLDER = "upgrades"
_MARKER = "COPY"
_DONE = "DONE"
_SQLITE, _POSTGRESQL = "ledger.sqlite", "ledger.pgdump"
_SMALL = ("VERSION", "zone.yaml")
_NAME = re.compile(r"([1-9][0-9]{0,5})-[a-z0-9-]{1,80}")
_LARGEST_MARKER = 4 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A zone's folder and its ledger: ``path`` for SQLite, else the ``url`` of PostgreSQL."""

    folder: Path
    url: str
    path: Path | None
    password: str = ""

    def open_any(self, files: Durable, actor: str) -> Ledger | None:
        """The ledger, of whatever version; None if there is none yet."""
        return Ledger.open_any(self.url, files, password=self.password, actor=actor)


@dataclass(frozen=True, slots=True)
class Copy:
    """A whole copy. ``before`` is its ledger's version; ``to`` None: made before going back."""

    folder: Path
    before: int
    to: int | None
    reach: Reach
    digests: dict[str, str]

    @property
    def done(self) -> bool:
        """Whether the upgrade that it was made for came to its end."""
        return (self.folder / _DONE).exists()


@dataclass(frozen=True, slots=True)
class Pending:
    """What is to be done: ``version`` of the ledger now (None: there is none yet)."""

    version: int | None
    steps: tuple[Step, ...]
    unfinished: Copy | None
    """The copy of an upgrade that was broken off."""


@dataclass(frozen=True, slots=True)
class Back:
    """What going back did: the version now, where the newer ledger is kept, what it had more."""

    version: int
    kept: Path
    events: int
    sequences: bool
    """Whether bundles were made or taken in since the copy."""


def pending(place: Place, files: Durable) -> Pending:
    """What an upgrade would do. Raises WrongVersion (also newer), LedgerDamaged, StoreError."""
    check_version(place.folder / "VERSION")
    ledger = place.open_any(files, "")
    if ledger is None:
        return Pending(None, (), None)
    with closing(ledger):
        return _pending(place, ledger)


def upgrade(
    place: Place,
    files: Durable,
    *,
    now: datetime,
    actor: str,
    tell: Callable[[str], None] = lambda _: None,
) -> Copy | None:
    """Bring the ledger to the present version; the copy, or None if nothing was to be done.

    ``tell`` is called with a line for each thing done. Raises StoreBusy (the zone is in use),
    NoSpace, WrongVersion, LedgerDamaged, ConfigError, StoreError.
    """
    check_version(place.folder / "VERSION")
    with Locks(place.folder / "locks").everything():
        ledger = place.open_any(files, actor)
        if ledger is None:
            return None
        with closing(ledger):
            found = _pending(place, ledger)
            if not found.steps and found.unfinished is None:
                return None
            copy = found.unfinished
            if copy is None:
                copy = _copy(place, ledger, files, now, schema.SCHEMA_VERSION)
            tell(f"a copy of what it changes: {copy.folder}")
            carry_out(ledger, found.steps, tell)
        _write_down(place, copy, files, actor)
        publish_file(files, copy.folder / _DONE, f"{format_time(now)}\n".encode())
    return copy


def carry_out(ledger: Ledger, steps: Sequence[Step], tell: Callable[[str], None]) -> None:
    """Do ``steps`` in order. Raises StoreBusy, NoSpace, StoreError."""
    for step in steps:
        ledger.carry_out(step)
        tell(f"ledger version {step.before} -> {step.before + 1}: {step.does}")


def go_back(place: Place, source: Path, files: Durable, *, now: datetime, actor: str) -> Back:
    """Put back what an upgrade kept in ``source``; what is replaced is kept like it.

    Raises BackupDamaged, StoreBusy, NoSpace, WrongVersion, ConfigError, StoreError.
    """
    copy = read_copy(source)
    with Locks(place.folder / "locks").everything():
        ledger = place.open_any(files, actor)
        if ledger is None:
            raise StoreError("there is no ledger to replace", where=place.url)
        with closing(ledger):
            kept = _copy(place, ledger, files, now, None)
        if place.path is None:
            pgdump.load(place.url, place.password, copy.folder / _POSTGRESQL)
        else:
            # By SQLite itself, in one transaction: beside the file there may be a WAL.
            with (
                told_of(place.path),
                closing(sqlite3.connect(copy.folder / _SQLITE)) as there,
                closing(sqlite3.connect(place.path)) as here,
            ):
                there.backup(here)
        files.committed("ledger")
        for name in _SMALL:
            data, mode = small_file(copy.folder / name)
            publish_file(files, place.folder / name, data, mode=mode)
    return Back(
        copy.before,
        kept.folder,
        kept.reach.events - copy.reach.events,
        kept.reach.sequences != copy.reach.sequences,
    )


def copies(folder: Path) -> list[Copy]:
    """The whole copies that a zone has, oldest first. Raises BackupDamaged."""
    found = []
    for number, path in sorted(_numbered(folder)):
        if number and (path / _MARKER).exists():
            found.append(read_copy(path, whole=False))
    return found


def read_copy(folder: Path, *, whole: bool = True) -> Copy:
    """The copy in ``folder``; ``whole``: its files are what was saved. Raises BackupDamaged."""
    try:
        data = (folder / _MARKER).read_bytes()
        marker: Any = canonical.loads(data, cap=_LARGEST_MARKER, where=_MARKER)
        reach = Reach(int(marker["events"]), dict(marker["sequences"]))
        to = marker["to"]
        copy = Copy(folder, int(marker["before"]), to and int(to), reach, dict(marker["files"]))
    except (OSError, SluiceError, KeyError, TypeError, ValueError) as error:
        raise BackupDamaged(
            "there is no whole copy of an upgrade here",
            where=str(folder),
            remedy=f"name a folder below `{FOLDER}` in the zone",
        ) from error
    if whole:
        for name, digest in copy.digests.items():
            if name not in (_SQLITE, _POSTGRESQL, *_SMALL) or file_digest(folder / name) != digest:
                raise BackupDamaged(
                    "this file of the copy is not what was saved",
                    where=str(folder / name),
                    remedy="take another copy, or a backup",
                )
    return copy


def _pending(place: Place, ledger: Ledger) -> Pending:
    version = ledger.version()
    steps = tuple(step for step in STEPS if step.before >= version)
    newest = copies(place.folder)[-1:]
    # One that no step followed is old: an older program may have gone on meanwhile.
    unfinished = [
        copy for copy in newest if copy.to and not copy.done and copy.before < version <= copy.to
    ]
    return Pending(version, steps, unfinished[0] if unfinished else None)


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    try:
        paths = [*(folder / FOLDER).iterdir()]
    except FileNotFoundError:
        return []
    return [(int(match[1]), path) for path in paths if (match := _NAME.fullmatch(path.name))]


def _copy(place: Place, ledger: Ledger, files: Durable, now: datetime, to: int | None) -> Copy:
    version = ledger.version()
    taken = [number for number, path in _numbered(place.folder) if (path / _MARKER).exists()]
    what = f"ledger-{version}-to-{to}" if to else f"ledger-{version}-replaced"
    target = place.folder / FOLDER / f"{max(taken, default=0) + 1}-{what}"
    files.mkdir(target)
    files.chmod(target, 0o700)
    digests = {}
    if place.path is not None:
        digests[_SQLITE] = copy_ledger(files, place.path, target / _SQLITE)
    else:
        pgdump.dump(place.url, place.password, target / _POSTGRESQL, files)
        digests[_POSTGRESQL] = file_digest(target / _POSTGRESQL)
    for name in _SMALL:
        data, mode = small_file(place.folder / name)
        publish_file(files, target / name, data, mode=mode)
        digests[name] = hashlib.sha256(data).hexdigest()
    copy = Copy(target, version, to, ledger.reach(), digests)
    marker = {
        "before": version,
        "to": to,
        "time": format_time(now),
        "events": copy.reach.events,
        "sequences": copy.reach.sequences,
        "files": digests,
    }
    publish_file(files, target / _MARKER, canonical.dumps(marker))
    return copy


def _write_down(place: Place, copy: Copy, files: Durable, actor: str) -> None:
    """In the audit log, once for each copy."""
    ledger = Ledger.open(place.url, files, password=place.password, actor=actor)
    with closing(ledger), ledger.write() as tx:
        if tx.get_meta("upgraded") != copy.folder.name:
            tx.set_meta("upgraded", copy.folder.name)
            tx.event("upgraded", before=copy.before, after=copy.to, copy=copy.folder.name)
