"""What clients asked for and did not get."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, WriteBase
from store.records import StoredWant

MOST_WANTS = 10_000
"""Wants that the ledger keeps; beyond, those that were asked for least go, oldest first."""


class WantReads(ReadBase):
    """Reading wants."""

    def wants(self, repository: str | None = None) -> list[StoredWant]:
        """All wants (of one repository), those that were asked for most first."""
        table = schema.wants
        where = [] if repository is None else [table.c.repository == repository]
        order = (table.c.count.desc(), table.c.last.desc(), table.c.repository, table.c.what)
        return [
            StoredWant(row["repository"], row["what"], int(row["count"]), parse_time(row["last"]))
            for row in self._all(table, *where, order=order)
        ]

    def count_wants(self) -> int:
        """How many wants are kept."""
        query = select(func.count()).select_from(schema.wants)
        return int(self._connection.execute(query).scalar_one())

    def wants_by_repository(self) -> dict[str, int]:
        """How many wants are kept of each repository that has any."""
        name = schema.wants.c.repository
        query = select(name, func.count()).group_by(name).order_by(name)
        return {str(row[0]): int(row[1]) for row in self._connection.execute(query)}


class WantWrites(WantReads, WriteBase):
    """Writing wants."""

    def add_wants(self, rows: Iterable[tuple[str, str, int]], most: int = MOST_WANTS) -> int:
        """Count (repository, what, times) as asked for now; how many wants had to go for them.

        ``what`` is text that ``manifests.wants.is_want`` takes.
        """
        table, now = schema.wants, format_time(self.now())
        for repository, what, times in rows:
            key = {"repository": repository, "what_digest": self._key(what)}
            where = [table.c[name] == value for name, value in key.items()]
            more = update(table).where(*where).values(count=table.c.count + times, last=now)
            if self._connection.execute(more).rowcount == 0:
                values = {**key, "what": what, "count": times, "last": now}
                self._connection.execute(insert(table).values(values))
        over = self.count_wants() - most
        if over <= 0:
            return 0
        least = (
            select(table.c.repository, table.c.what_digest)
            .order_by(table.c.count, table.c.last, table.c.repository, table.c.what_digest)
            .limit(over)
        )
        for row in self._connection.execute(least).all():
            self._drop(table, {"repository": row.repository, "what_digest": row.what_digest})
        return over

    def forget_old_wants(self, before: datetime) -> int:
        """Drop the wants that were last asked for before ``before``; how many there were."""
        table = schema.wants
        gone = delete(table).where(table.c.last < format_time(before))
        return self._connection.execute(gone).rowcount

    def forget_wants(self, repository: str | None = None, what: str | None = None) -> int:
        """Drop all wants, those of one repository, or one; how many there were."""
        table = schema.wants
        where = [] if repository is None else [table.c.repository == repository]
        if what is not None:
            where.append(table.c.what_digest == self._key(what))
        return self._connection.execute(delete(table).where(*where)).rowcount
