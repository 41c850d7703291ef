"""Opening the ledger, and its transactions.

SQLite: WAL, ``synchronous=FULL``, and writers begin with ``BEGIN IMMEDIATE``, so that a
transaction never finds out at its end that another one wrote. PostgreSQL: writers take
one advisory lock as their first statement and then read committed state, which makes
them as lonely as under SQLite; readers get one unchanging picture (REPEATABLE READ).
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from manifests.durable import Durable
from manifests.errors import (
    ConfigError,
    LedgerDamaged,
    NoSpace,
    StoreBusy,
    StoreError,
    WrongVersion,
)
from store.ledger import schema
from store.ledger.base import Clock, utc_now
from store.ledger.bundles import BundleReads, BundleWrites
from store.ledger.events import EventReads, EventWrites
from store.ledger.policy import PolicyReads, PolicyWrites
from store.ledger.roots import RootReads, RootWrites
from store.ledger.snapshots import SnapshotReads, SnapshotWrites
from store.ledger.upstreams import UpstreamReads, UpstreamWrites
from store.ledger.wants import WantReads, WantWrites

BUSY_SECONDS = 60
_LOCK_NAMESPACE = 0x534C5543  # "SLUC": the advisory locks of ledgers among all others
_VERSION = "schema_version"
_WRITES = "sluice_writes"
_READ_ONLY = "sluice_read_only"


class ReadTransaction(
    SnapshotReads,
    BundleReads,
    UpstreamReads,
    RootReads,
    PolicyReads,
    WantReads,
    EventReads,
):
    """One unchanging picture of the ledger."""


class WriteTransaction(
    SnapshotWrites,
    BundleWrites,
    UpstreamWrites,
    RootWrites,
    PolicyWrites,
    WantWrites,
    EventWrites,
    ReadTransaction,
):
    """The one writer. Everything in it happens, or nothing."""

    def _served_otherwise(self) -> None:
        self.bump_generation()


class Ledger:
    """The store's memory in SQL. Safe to share between threads; open it after forking."""

    def __init__(
        self, engine: Engine, files: Durable | None, clock: Clock, actor: str, where: str
    ) -> None:
        self._engine = engine
        self._files = files
        self._clock = clock
        self._actor = actor
        self.where = where
        """The ledger's address without its password."""

    @classmethod
    def open(
        cls,
        url: str | Path,
        files: Durable,
        *,
        password: str = "",
        clock: Clock = utc_now,
        actor: str = "",
    ) -> Ledger:
        """Open the ledger for writing, and make it if it is not there.

        ``url`` is a file's path, ``sqlite:///PATH`` or ``postgresql://...``; ``actor`` is
        who events are by, the system's user if empty. Raises WrongVersion, LedgerDamaged,
        StoreBusy, ConfigError, StoreError.
        """
        address = _address(url, password)
        engine = _engine(address, read_only=False)
        ledger = cls(engine, files, clock, actor or _user(), address.render_as_string())
        try:
            if address.database and address.get_backend_name() == "sqlite":
                folder = Path(address.database).absolute().parent
                files.mkdir(folder)
                with ledger._told(), engine.connect() as connection:
                    connection.exec_driver_sql("SELECT 1")
                # SQLite syncs names of journals, not the name of a database it made.
                files.sync_dir(folder)
            with ledger._told(), ledger._begin(writes=True) as connection:
                _make_or_check(connection, ledger.where)
        except BaseException:
            engine.dispose()
            raise
        return ledger

    @classmethod
    def open_read_only(
        cls, url: str | Path, *, password: str = "", clock: Clock = utc_now
    ) -> Ledger:
        """Open an existing ledger for reading, as the server's workers do.

        Raises WrongVersion, LedgerDamaged, ConfigError, StoreError (also when it is missing).
        """
        address = _address(url, password)
        engine = _engine(address, read_only=True)
        ledger = cls(engine, None, clock, "", address.render_as_string())
        try:
            with ledger._told(), ledger._begin(writes=False) as connection:
                _check(connection, ledger.where)
        except BaseException:
            engine.dispose()
            raise
        return ledger

    @contextmanager
    def read(self) -> Iterator[ReadTransaction]:
        """A read transaction. Raises StoreError when the database fails."""
        with self._told(), self._begin(writes=False) as connection:
            yield ReadTransaction(connection, self._clock)

    @contextmanager
    def write(self, actor: str = "") -> Iterator[WriteTransaction]:
        """A write transaction: committed at the end, rolled back by any exception.

        Waits at most 60 s for another writer, then raises StoreBusy. Raises NoSpace,
        StoreError. The seam is told of the commit.
        """
        if self._files is None:
            raise StoreError("the ledger is open for reading only", where=self.where)
        with self._told(), self._begin(writes=True) as connection:
            yield WriteTransaction(connection, self._clock, actor or self._actor)
        self._files.committed("ledger")

    @property
    def writable(self) -> bool:
        """Whether it was opened for writing."""
        return self._files is not None

    def now(self) -> datetime:
        """The ledger's clock, in UTC with whole seconds."""
        return self._clock().astimezone(UTC).replace(microsecond=0)

    def generation(self) -> int:
        """The generation number, read by itself."""
        with self.read() as tx:
            return tx.generation()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def _begin(self, *, writes: bool) -> Iterator[Connection]:
        with self._engine.connect() as plain:
            options: dict[str, Any] = {_WRITES: writes}
            if self._engine.dialect.name == "postgresql":
                options["isolation_level"] = "READ COMMITTED" if writes else "REPEATABLE READ"
                options["postgresql_readonly"] = not writes
            connection = plain.execution_options(**options)
            with connection.begin():
                if writes and self._engine.dialect.name == "postgresql":
                    connection.execute(text(f"SET LOCAL lock_timeout = '{BUSY_SECONDS}s'"))
                    connection.execute(
                        text("SELECT pg_advisory_xact_lock(:name, hashtext(current_schema()))"),
                        {"name": _LOCK_NAMESPACE},
                    )
                yield connection

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except SQLAlchemyError as error:
            _refuse(error, self.where)


def _make_or_check(connection: Connection, where: str) -> None:
    tables = inspect(connection).get_table_names()
    if "meta" in tables:
        _bring_up(connection, where)
        _check(connection, where)
        return
    if tables and set(tables) & set(schema.metadata.tables):
        raise LedgerDamaged("it has tables of a ledger, but no version", where=where)
    schema.metadata.create_all(connection)
    connection.execute(schema.meta.insert().values(key=_VERSION, value=str(schema.SCHEMA_VERSION)))


def _version(connection: Connection, where: str) -> str | None:
    try:
        found = connection.execute(
            schema.meta.select().where(schema.meta.c.key == _VERSION)
        ).one_or_none()
    except DBAPIError as error:
        if "meta" in str(error.orig):
            raise LedgerDamaged(
                "this database holds no ledger",
                where=where,
                remedy="check the ledger's address, or make the zone with `sluice init`",
            ) from error
        raise
    return None if found is None else str(found.value)


def _lacks_only_tables(version: str | None) -> bool:
    return (
        version is not None
        and version.isdigit()
        and schema.ADDITIVE_SINCE <= int(version) < schema.SCHEMA_VERSION
    )


def _bring_up(connection: Connection, where: str) -> None:
    """Add the tables that an older ledger lacks, in the transaction that opens it."""
    if _lacks_only_tables(_version(connection, where)):
        schema.metadata.create_all(connection)
        newest = schema.meta.update().where(schema.meta.c.key == _VERSION)
        connection.execute(newest.values(value=str(schema.SCHEMA_VERSION)))


def _check(connection: Connection, where: str) -> None:
    version = _version(connection, where)
    if version == str(schema.SCHEMA_VERSION):
        return
    newer = version is not None and version.isdigit() and int(version) > schema.SCHEMA_VERSION
    remedy = "install the Sluice that wrote it; this one cannot upgrade it"
    if newer:
        remedy = "install the newer Sluice that wrote it"
    elif _lacks_only_tables(version):
        remedy = "run `sluice status` once: a command that may write brings it up to date"
    raise WrongVersion(
        f"the ledger has version {version}, this program reads {schema.SCHEMA_VERSION}",
        where=where,
        remedy=remedy,
    )


def _address(url: str | Path, password: str) -> URL:
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


def _engine(address: URL, *, read_only: bool) -> Engine:
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
        writes = connection.get_execution_options().get(_WRITES, False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN DEFERRED")

    return engine


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "unknown"


def _refuse(error: SQLAlchemyError, where: str) -> NoReturn:
    """Raise the error that a database's error means to an operator."""
    said = str(error.orig if isinstance(error, DBAPIError) else error).strip()
    line = said.splitlines()[0] if said else type(error).__name__
    if any(words in said for words in ("database is locked", "lock timeout")):
        raise StoreBusy(
            f"another process has been writing the ledger for {BUSY_SECONDS} seconds",
            where=where,
            remedy="wait for it to end, then try again",
        ) from error
    if any(words in said for words in ("disk is full", "No space left")):
        raise NoSpace(
            "no space left for the ledger",
            where=where,
            remedy="free space on this disk or enlarge it, then run the same command again",
        ) from error
    if any(words in said for words in ("malformed", "not a database", "corrupt")):
        raise LedgerDamaged(
            line, where=where, remedy="keep a copy, then restore the ledger from a backup"
        ) from error
    remedy = ""
    if "unable to open database file" in said:
        remedy = "check that the file is there and that this user may write in its folder"
    raise StoreError(f"the ledger failed: {line}", where=where, remedy=remedy) from error
