"""Where a ledger lies, and how connections to it are opened."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from manifests.errors import ConfigError, LedgerDamaged, NoSpace, StoreBusy, StoreError

BUSY_SECONDS = 60
"""How long a writer waits for another one."""
WRITES = "sluice_writes"
"""The execution option of a connection that is going to write."""
_FILE = "sqlite:///"
_LITTLE = 1 << 20
"""Bytes. With less than so much free, SQLite's input/output error is taken for a full disk: it
says so when the disk has no room for its shared memory."""
_SPACE_REMEDY = "free space on this disk or enlarge it, then run the same command again"


def address_of(url: str | Path, password: str) -> URL:
    """The database that ``url`` names (see ``Ledger.open``). Raises ConfigError."""
    if isinstance(url, Path) or "://" not in url:
        return URL.create("sqlite", database=str(url))
    if url.startswith("sqlite:///"):
        # Literally: a file name may hold what a URL gives a meaning.
        return URL.create("sqlite", database=url.removeprefix("sqlite:///"))
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise ConfigError("the ledger's address cannot be read") from error
    if address.drivername in ("postgresql", "postgres"):
        address = address.set(drivername="postgresql+psycopg")
    if address.get_backend_name() not in ("sqlite", "postgresql"):
        raise ConfigError(
            f"the ledger cannot be kept in {address.drivername}",
            remedy="use sqlite:///PATH or postgresql://USER@HOST/DATABASE",
        )
    if password and address.get_backend_name() == "postgresql":
        address = address.set(password=password)
    return address


def engine_of(address: URL, *, read_only: bool) -> Engine:
    """What opens connections to it. Raises ConfigError: psycopg is missing, no file."""
    if address.get_backend_name() == "sqlite":
        return _sqlite(address, read_only=read_only)
    try:
        return create_engine(
            address,
            pool_pre_ping=True,
            connect_args={"options": "-c synchronous_commit=on", "connect_timeout": 10},
        )
    except (ModuleNotFoundError, NoSuchModuleError) as error:
        raise ConfigError(
            "PostgreSQL needs the Python package psycopg, which is not installed",
            remedy="install Sluice with its extra: pip install 'sluice[postgresql]'",
        ) from error


def _sqlite(address: URL, *, read_only: bool) -> Engine:
    path = Path(address.database or "").absolute()
    if not address.database or address.database == ":memory:":
        raise ConfigError("the ledger must be a file: one in memory would be lost")
    target = URL.create(
        "sqlite",
        database=path.as_uri(),
        query={"mode": "ro" if read_only else "rwc", "uri": "true"},
    )
    engine = create_engine(target, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # the driver would begin by itself, and too late
        cursor = connection.cursor()
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get(WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")

    return engine


def refuse(error: Exception, where: str) -> NoReturn:
    """Raise the error that a database's error means to an operator."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    line = said.splitlines()[0] if said else type(error).__name__
    if any(words in said for words in ("database is locked", "lock timeout")):
        raise StoreBusy(
            f"another process has been writing the ledger for {BUSY_SECONDS} seconds",
            where=where,
            remedy="wait for it to end, then try again",
        ) from error
    if any(words in said for words in ("disk is full", "No space left")) or (
        "disk I/O error" in said and _free_beside(where) < _LITTLE
    ):
        raise NoSpace("no space left for the ledger", where=where, remedy=_SPACE_REMEDY) from error
    if any(words in said for words in ("malformed", "not a database", "corrupt")):
        raise LedgerDamaged(
            line, where=where, remedy="keep a copy, then restore the ledger from a backup"
        ) from error
    raise StoreError(
        f"the ledger failed: {line}", where=where, remedy=_remedy(said, where)
    ) from error


def _remedy(said: str, where: str) -> str:
    if not where.startswith("sqlite"):
        return "does PostgreSQL run there? then check `ledger` and its password in zone.yaml"
    if "readonly database" in said:
        with suppress(OSError, KeyError):
            path = Path(where.removeprefix(_FILE))
            if not os.statvfs(path).f_flag & os.ST_RDONLY:
                return (
                    f"it belongs to {path.owner()}: call this as that account,"
                    f" `sudo -u {path.owner()} sluice ...`"
                )
        return "the file system is read-only: look at the kernel log, then mount it for writing"
    if "unable to open database file" in said:
        return "check that the file is there and that this user may write in its folder"
    return "look at the kernel log and at the disk, then run the same command again"


def _free_beside(where: str) -> int:
    """Bytes that are free on the disk of a ledger in a file."""
    with suppress(OSError):
        there = os.statvfs(Path(where.removeprefix(_FILE)).parent)
        return there.f_bavail * there.f_frsize
    return _LITTLE


@contextmanager
def told_of(path: Path) -> Iterator[None]:
    """Pass on what SQLite's own module says inside, as ``refuse`` does."""
    try:
        yield
    except sqlite3.Error as error:
        refuse(error, str(path))
