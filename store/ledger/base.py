"""What all groups of ledger functions share: a connection, a clock, small helpers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import Connection, Table, bindparam, delete, insert, select
from sqlalchemy.sql.elements import ColumnElement

from manifests import canonical
from manifests.digest import Digest, sha256_of
from manifests.errors import LedgerDamaged
from manifests.state import format_time, parse_time
from store.ledger import schema

Clock = Callable[[], datetime]
Row = Mapping[str, Any]


def utc_now() -> datetime:
    """Now, in UTC, with whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class ReadBase:
    """The reading half of a transaction."""

    def __init__(self, connection: Connection, clock: Clock, actor: str = "") -> None:
        self._connection = connection
        self._clock = clock
        self._actor = actor

    def now(self) -> datetime:
        """The ledger's clock, in UTC with whole seconds."""
        return self._clock().astimezone(UTC).replace(microsecond=0)

    def get_meta(self, key: str) -> str | None:
        """A named value, or None."""
        found = self._connection.execute(
            select(schema.meta.c.value).where(schema.meta.c.key == key)
        ).scalar_one_or_none()
        return None if found is None else str(found)

    @staticmethod
    def _key(text: str) -> Digest:
        """What stands in an index for text from outside that may be long."""
        return sha256_of(text.encode("utf-8", "surrogateescape"))

    @staticmethod
    def _printable(text: str) -> str:
        """``text`` with escapes for what no database keeps: NUL, bytes that are not UTF-8."""
        return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")

    def _all(
        self, table: Table, *where: ColumnElement[bool], order: tuple[Any, ...] = (), limit: int = 0
    ) -> list[Row]:
        query = select(table).where(*where).order_by(*order)
        if limit:
            query = query.limit(limit)
        return [cast(Row, row) for row in self._connection.execute(query).mappings()]

    def _one(self, table: Table, *where: ColumnElement[bool]) -> Row | None:
        found = self._connection.execute(select(table).where(*where)).mappings().one_or_none()
        return cast("Row | None", found)


class WriteBase(ReadBase):
    """The writing half of a transaction."""

    def set_meta(self, key: str, value: str) -> None:
        """Set a named value."""
        self._put(schema.meta, {"key": key}, {"value": value})

    def drop_meta(self, key: str) -> bool:
        """Forget a named value; whether it was there."""
        return self._drop(schema.meta, {"key": key})

    def _put(self, table: Table, key: Mapping[str, object], values: Mapping[str, object]) -> None:
        """Replace the row of ``key``: writers are alone, so two statements are one."""
        self._drop(table, key)
        self._connection.execute(insert(table).values({**key, **values}))

    def _put_all(
        self, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, object]]
    ) -> None:
        """Replace many rows by the columns in ``key``; no two of them have the same."""
        if not rows:
            return
        where = [table.c[name] == bindparam(f"old_{name}") for name in key]
        old = [{f"old_{name}": row[name] for name in key} for row in rows]
        self._connection.execute(delete(table).where(*where), old)
        self._connection.execute(insert(table), rows)

    def _drop(self, table: Table, key: Mapping[str, object]) -> bool:
        """Delete the rows of ``key``; whether there was one."""
        where = [table.c[name] == value for name, value in key.items()]
        return self._connection.execute(delete(table).where(*where)).rowcount > 0


def to_json(value: object) -> str:
    """Canonical JSON text; ``TypeError`` or ``ValueError`` for what it cannot hold."""
    return canonical.dumps(value).decode("ascii")


def from_json(text: str, where: str) -> Any:
    """What ``to_json`` wrote; raises LedgerDamaged for anything else."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise LedgerDamaged(f"not JSON: {text[:80]!r}", where=where) from error


def optional_time(moment: datetime | None) -> str | None:
    """A time as the ledger keeps it, or None."""
    return None if moment is None else format_time(moment)


def read_time(text: str | None) -> datetime | None:
    """A time as the ledger keeps it, or None."""
    return None if text is None else parse_time(text)
