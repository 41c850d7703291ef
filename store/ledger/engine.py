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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from manifests.durable import Durable
from manifests.errors import (
    LedgerDamaged,
    StoreError,
    WrongVersion,
)
from store.ledger import schema
from store.ledger.base import Clock, utc_now
from store.ledger.bundles import BundleReads, BundleWrites
from store.ledger.connect import BUSY_SECONDS, WRITES, address_of, engine_of, refuse
from store.ledger.events import EventReads, EventWrites
from store.ledger.policy import PolicyReads, PolicyWrites
from store.ledger.roots import RootReads, RootWrites
from store.ledger.snapshots import SnapshotReads, SnapshotWrites
from store.ledger.steps import OLDEST, Step
from store.ledger.upstreams import UpstreamReads, UpstreamWrites
from store.ledger.wants import WantReads, WantWrites

_LOCK_NAMESPACE = 0x534C5543  # "SLUC": the advisory locks of ledgers among all others
_VERSION = "schema_version"


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


@dataclass(frozen=True, slots=True)
class Reach:
    """How far a ledger's history goes: its events, and the newest sequence by stream and epoch."""

    events: int
    sequences: dict[str, int]


class Ledger:
    """The store's memory in SQL. Safe to share between threads; open it after forking."""

    def __init__(
        self, engine: Engine, files: Durable | None, clock: Clock, actor: str, where: str
    ) -> None:
        self._engine = engine
        self._files = files
        self._clock = clock
        self.actor = actor
        """Who events are by, if nobody else is named."""
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
        make: bool = True,
    ) -> Ledger:
        """Open the ledger for writing, and ``make`` it if it is not there.

        ``url`` is a file's path, ``sqlite:///PATH`` or ``postgresql://...``; ``actor`` is
        who events are by, the system's user if empty. Raises WrongVersion, LedgerDamaged
        (also when it is missing and not to be made), StoreBusy, ConfigError, StoreError.
        """
        address = address_of(url, password)
        sqlite = address.get_backend_name() == "sqlite"
        if sqlite and not make and not Path(address.database or "").exists():
            # Opening would leave an empty file, which looks like a ledger.
            raise _missing(address.render_as_string())
        engine = engine_of(address, read_only=False)
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
                _make_or_check(connection, ledger.where, make)
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
        address = address_of(url, password)
        engine = engine_of(address, read_only=True)
        ledger = cls(engine, None, clock, "", address.render_as_string())
        try:
            with ledger._told(), ledger._begin(writes=False) as connection:
                _check(connection, ledger.where)
        except BaseException:
            engine.dispose()
            raise
        return ledger

    @classmethod
    def open_any(
        cls,
        url: str | Path,
        files: Durable,
        *,
        password: str = "",
        clock: Clock = utc_now,
        actor: str = "",
    ) -> Ledger | None:
        """Open an existing ledger of whatever version, to upgrade it; None if there is none.

        Nothing but ``version``, ``reach`` and ``carry_out`` may be asked of it before it is
        of the present version. Raises LedgerDamaged, StoreBusy, ConfigError, StoreError.
        """
        address = address_of(url, password)
        sqlite = address.get_backend_name() == "sqlite"
        if sqlite and not Path(address.database or "").exists():
            return None
        ledger = cls(
            engine_of(address, read_only=False),
            files,
            clock,
            actor or _user(),
            address.render_as_string(),
        )
        try:
            with ledger._told(), ledger._begin(writes=False) as connection:
                tables = inspect(connection).get_table_names()
            if "meta" not in tables:
                _refuse_headless(tables, ledger.where)
        except BaseException:
            ledger.close()
            raise
        if "meta" in tables:
            return ledger
        ledger.close()
        return None

    def version(self) -> int:
        """The version that it has. Raises WrongVersion unless we have, or can reach, it."""
        with self._told(), self._begin(writes=False) as connection:
            found = _version(connection, self.where)
        known = {str(number): number for number in range(OLDEST, schema.SCHEMA_VERSION + 1)}
        if found not in known:
            raise other_version(found, self.where)
        return known[found]

    def reach(self) -> Reach:
        """How far the history goes; in all versions told alike."""
        with self._told(), self._begin(writes=False) as connection:
            newest = text("SELECT coalesce(max(seq), 0) FROM events")
            events = connection.execute(newest).scalar_one()
            rows = connection.execute(
                text("SELECT stream, epoch, max(sequence) FROM bundles GROUP BY stream, epoch")
            ).all()
        return Reach(int(events), {f"{row[0]} {row[1]}": int(row[2]) for row in rows})

    def carry_out(self, step: Step) -> None:
        """Do one step and write its version, in one transaction; a second time nothing.

        Raises StoreBusy, NoSpace, StoreError.
        """
        if self._files is None:
            raise StoreError("the ledger is open for reading only", where=self.where)
        with self._told(), self._begin(writes=True) as connection:
            if _version(connection, self.where) != str(step.before):
                return
            step.carry_out(connection)
            newer = schema.meta.update().where(schema.meta.c.key == _VERSION)
            connection.execute(newer.values(value=str(step.before + 1)))
        self._files.committed(f"ledger version {step.before + 1}")

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
            yield WriteTransaction(connection, self._clock, actor or self.actor)
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
            options: dict[str, Any] = {WRITES: writes}
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
            refuse(error, self.where)


def _missing(where: str) -> LedgerDamaged:
    return LedgerDamaged(
        "the ledger of this store is not there",
        where=where,
        remedy="check `ledger` in zone.yaml; else restore it from a backup: nothing else knows"
        " what was published, sent and accepted",
    )


def _make_or_check(connection: Connection, where: str, make: bool) -> None:
    tables = inspect(connection).get_table_names()
    if "meta" in tables:
        _check(connection, where)
        return
    _refuse_headless(tables, where)
    if not make:
        raise _missing(where)
    schema.metadata.create_all(connection)
    connection.execute(schema.meta.insert().values(key=_VERSION, value=str(schema.SCHEMA_VERSION)))


def _refuse_headless(tables: list[str], where: str) -> None:
    if set(tables) & set(schema.metadata.tables):
        raise LedgerDamaged("it has tables of a ledger, but no version", where=where)


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


def _check(connection: Connection, where: str) -> None:
    found = _version(connection, where)
    if found != str(schema.SCHEMA_VERSION):
        raise other_version(found, where)


def other_version(found: str | None, where: str) -> WrongVersion:
    """What to say of a ledger of version ``found``."""
    number = int(found) if found is not None and found.isdigit() else 0
    if number > schema.SCHEMA_VERSION:
        remedy = "install the newer Sluice that wrote it"
    elif number >= OLDEST:
        remedy = "stop what runs in this zone, then: sluice -z DIR upgrade (it keeps a copy)"
    else:
        remedy = "install the Sluice that wrote it; this one cannot upgrade it"
    return WrongVersion(
        f"the ledger has version {found}, this program reads {schema.SCHEMA_VERSION}",
        where=where,
        remedy=remedy,
    )


def _user() -> str:
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return "unknown"
