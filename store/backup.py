"""A copy of a zone that a new machine can go on from.

A backup is a folder::

    BACKUP           what it holds, canonical JSON; written last: with it the backup is whole
    ledger.sqlite    as it was when the backup began (SQLite's own backup)
    blobs/           as in a store; only what is new is copied the next time
    zone/            zone.yaml, keys, the pinned root, secrets

The ledger is copied first: what it names is in the blobs that are copied after it, and
nothing may remove blobs meanwhile. Never copied are the private keys of the root of trust,
which have copies of their own, and the second place of the high-water mark: a mark that
can be restored with the ledger would let an old bundle in again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from manifests import canonical
from manifests.digest import is_digest
from manifests.durable import Durable, publish_file
from manifests.errors import (
    BackupDamaged,
    BadPath,
    ConfigError,
    SluiceError,
    UsageError,
    WrongVersion,
)
from manifests.state import format_time
from manifests.tree import check_path
from store.blobs import LocalBlobs
from store.ledger.connect import told_of
from store.store import Store

VERSION = 1
MARKER = "BACKUP"
LEDGER = "ledger.sqlite"
_SETTINGS = ("zone.yaml", "VERSION", "keys", "trust", "secrets")
_ROOT_KEYS = "root"
_LARGEST_FILE = 16 << 20
_LARGEST_MARKER = 64 << 20
_BATCH = 256

Progress = Callable[[int, int], None]
"""Called with the blobs and bytes that were copied so far."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What a backup or a restore did. ``passed_over`` are files that were left out."""

    blobs: int
    bytes: int
    files: int
    passed_over: tuple[str, ...] = ()


def backup(
    store: Store, target: Path, *, ledger: Path | None, now: datetime, progress: Progress
) -> Copied:
    """Bring the backup in ``target`` up to date; ``ledger`` is the SQLite file.

    Without ``ledger`` (PostgreSQL) that must have been saved before. Raises StoreError,
    NoSpace, BlobDamaged (what is damaged in the store is named and must be repaired first),
    UsageError (one of zone and ``target`` lies in the other, or that holds something else).
    """
    files = store.files
    _keep_apart(store.folder, target)
    _refuse_foreign(target)
    with store.locks.shared():
        files.mkdir(target, target / "zone")
        files.unlink(target / MARKER)
        files.sync_dir(target)
        marker: dict[str, object] = {"version": VERSION, "time": format_time(now), "ledger": None}
        if ledger is not None:
            marker["ledger"] = copy_ledger(files, ledger, target / LEDGER)
        found, passed_over = _settings(store.folder)
        digests = {}
        for name in found:
            data, mode = small_file(store.folder / name)
            _write(files, target / "zone" / name, data, mode)
            digests[name] = hashlib.sha256(data).hexdigest()
        marker["files"] = digests
        count, size = _copy_blobs(
            LocalBlobs(store.folder / "blobs", files), LocalBlobs(target / "blobs", files), progress
        )
        publish_file(files, target / MARKER, canonical.dumps(marker))
    return Copied(count, size, len(found), tuple(passed_over))


def restore(source: Path, folder: Path, files: Durable, *, progress: Progress) -> Copied:
    """Make the zone in the new folder ``folder`` from a backup.

    ``zone.yaml`` comes last: with it the zone exists. Raises BackupDamaged, NoSpace,
    UsageError (there is something in ``folder`` already, other than a restore that was
    broken off; or that lies in the backup).
    """
    if folder.resolve().is_relative_to(source.resolve()):
        raise UsageError(
            "this folder lies in the backup", where=str(folder), remedy="choose another folder"
        )
    marker = _read_marker(source)
    if (folder / "zone.yaml").exists():
        raise UsageError(
            "there is a zone already", where=str(folder), remedy="choose another folder"
        )
    files.mkdir(folder)
    names = marker.files
    data = {name: _checked(source / "zone" / name, digest) for name, digest in names.items()}
    if marker.ledger is not None:
        if file_digest(source / LEDGER) != marker.ledger:
            raise _damaged(source / LEDGER)
        copy_ledger(files, source / LEDGER, folder / LEDGER)
    blobs = LocalBlobs(source / "blobs", files)
    count, size = _copy_blobs(blobs, LocalBlobs(folder / "blobs", files), progress)
    for name in sorted(names, key=lambda name: name == "zone.yaml"):
        _write(files, folder / name, *data[name])
    return Copied(count, size, len(names))


def _keep_apart(zone: Path, target: Path) -> None:
    """Whatever links lead there: neither may be written into the other."""
    there = target.resolve()
    # Parts of a zone may lie on other disks.
    places = [zone.resolve(), *(one.resolve() for one in zone.iterdir() if one.is_symlink())]
    if any(there.is_relative_to(place) for place in places):
        what = "this folder lies in the zone, and a backup there is lost with it"
    elif any(place.is_relative_to(there) for place in places):
        what = "the zone lies in this folder, and a backup would be written into it"
    else:
        return
    raise UsageError(what, where=str(target), remedy="name a folder elsewhere, on another disk")


def _refuse_foreign(target: Path) -> None:
    known = {MARKER, LEDGER, "blobs", "zone"}
    try:
        there = {path.name for path in target.iterdir()}
    except FileNotFoundError:
        return
    strange = sorted(name for name in there - known if not name.startswith("."))
    if strange:
        raise UsageError(
            f"the folder holds something else: {strange[0][:80]}",
            where=str(target),
            remedy="name an empty folder, or one that holds an earlier backup of this zone",
        )


def _settings(folder: Path) -> tuple[list[str], list[str]]:
    """Names of the small files of a zone, and of what is left out."""
    found: list[str] = []
    passed_over: list[str] = []
    for path in _walk([folder / name for name in _SETTINGS]):
        name = path.relative_to(folder).as_posix()
        parts = PurePosixPath(name).parts
        if parts[0] == "keys" and _ROOT_KEYS in parts[2:-1]:
            passed_over.append(name)
        else:
            found.append(check_path(name))
    return found, passed_over


def _walk(paths: list[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_symlink() or path.is_file():
            yield path
        elif path.is_dir():
            yield from _walk(sorted(path.iterdir()))


def small_file(path: Path) -> tuple[bytes, int]:
    """Content and permission bits of a file beside the ledger. Raises ConfigError."""
    with path.open("rb") as file:
        data = file.read(_LARGEST_FILE + 1)
        mode = path.stat().st_mode & 0o777
    if len(data) > _LARGEST_FILE:
        raise ConfigError(
            f"a file beside zone.yaml has more than {_LARGEST_FILE} bytes",
            where=str(path),
            remedy="move it away from the folders keys, trust and secrets",
        )
    return data, mode


def _checked(path: Path, digest: str) -> tuple[bytes, int]:
    try:
        data, mode = small_file(path)
    except OSError as error:
        raise _damaged(path) from error
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged(path)
    return data, mode


def _write(files: Durable, path: Path, data: bytes, mode: int) -> None:
    files.mkdir(path.parent)
    publish_file(files, path, data, mode=mode)


def copy_ledger(files: Durable, source: Path, target: Path) -> str:
    """SQLite's own copy of a database that may be in use; its digest.

    Raises NoSpace, LedgerDamaged, StoreError.
    """
    temporary = target.with_name(f".{target.name}.tmp")
    files.unlink(temporary)
    with (
        told_of(source),
        closing(sqlite3.connect(f"file:{quote(str(source))}?mode=ro", uri=True)) as there,
        closing(sqlite3.connect(temporary)) as here,
    ):
        there.backup(here)
        here.execute("PRAGMA journal_mode=DELETE")
    files.sync_file(temporary)
    files.rename(temporary, target)
    files.sync_dir(target.parent)
    return file_digest(target)


def file_digest(path: Path) -> str:
    """SHA-256 of a file of a backup; raises BackupDamaged if it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path) from error


def _copy_blobs(source: LocalBlobs, target: LocalBlobs, progress: Progress) -> tuple[int, int]:
    """Copy what the target lacks, each compared with its digest on the way."""
    count = size = 0
    waiting = (digest for digest in source.digests() if not target.has(digest))
    while some := [*islice(waiting, _BATCH)]:
        with target.batch() as batch:
            for digest in some:
                _, length = batch.put_file(source.path(digest), expected=digest)
                count, size = count + 1, size + length
                progress(count, size)
    return count, size


@dataclass(frozen=True, slots=True)
class _Marker:
    ledger: str | None
    files: dict[str, str]


def _read_marker(source: Path) -> _Marker:
    try:
        with (source / MARKER).open("rb") as file:
            data = file.read(_LARGEST_MARKER + 1)
    except FileNotFoundError as error:
        raise BackupDamaged(
            "there is no whole backup here",
            where=str(source),
            remedy="name the folder that `backup` wrote; one that was broken off is made"
            " whole by running it again",
        ) from error
    try:
        marker = canonical.loads(data, cap=_LARGEST_MARKER, where=MARKER)
    except SluiceError as error:
        raise _damaged(source / MARKER) from error
    files = marker.get("files") if isinstance(marker, dict) else None
    if not isinstance(marker, dict) or not isinstance(files, dict):
        raise _damaged(source / MARKER)
    if marker.get("version") != VERSION:
        raise WrongVersion(
            "another version of Sluice made this backup",
            where=str(source),
            remedy="restore it with that version, then upgrade",
        )
    ledger = marker.get("ledger")
    try:
        digests = {check_path(name): str(digest) for name, digest in files.items()}
    except BadPath as error:
        raise _damaged(source / MARKER) from error
    wanted = [*digests.values(), *([] if ledger is None else [str(ledger)])]
    if not all(is_digest(digest) for digest in wanted):
        raise _damaged(source / MARKER)
    return _Marker(None if ledger is None else str(ledger), digests)


def _damaged(path: Path) -> BackupDamaged:
    return BackupDamaged(
        "this file of the backup is missing or not what was saved",
        where=str(path),
        remedy="take another copy of the backup",
    )
