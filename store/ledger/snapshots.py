"""Snapshots, publications and holds: what is there, what is live, what waits."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import Select, and_, delete, func, insert, or_, select

from manifests.digest import Digest
from manifests.errors import StoreError
from manifests.state import Snapshot, format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, Row, WriteBase, from_json, to_json
from store.records import Hold, PastPublication, Publication, StoredSnapshot

_GENERATION = "generation"


class SnapshotReads(ReadBase):
    """Reading snapshots, publications and holds."""

    def snapshots(
        self, stream: str | None = None, repository: str | None = None
    ) -> list[StoredSnapshot]:
        """Snapshots, newest (highest serial) first; None stands for all."""
        table = schema.snapshots
        where = []
        if stream is not None:
            where.append(table.c.stream == stream)
        if repository is not None:
            where.append(table.c.repository == repository)
        order = (table.c.serial.desc(), table.c.stream, table.c.repository)
        return [_snapshot(row) for row in self._all(table, *where, order=order)]

    def snapshot(self, stream: str, repository: str, serial: int) -> StoredSnapshot | None:
        """One snapshot, or None."""
        table = schema.snapshots
        row = self._one(
            table,
            table.c.stream == stream,
            table.c.repository == repository,
            table.c.serial == serial,
        )
        return None if row is None else _snapshot(row)

    def newest_snapshot(self, stream: str, repository: str) -> StoredSnapshot | None:
        """The snapshot with the highest serial, or None."""
        table = schema.snapshots
        rows = self._all(
            table,
            table.c.stream == stream,
            table.c.repository == repository,
            order=(table.c.serial.desc(),),
            limit=1,
        )
        return _snapshot(rows[0]) if rows else None

    def repositories(self, stream: str | None = None) -> list[str]:
        """Names of the repositories that have a snapshot, sorted."""
        table = schema.snapshots
        query = select(table.c.repository).distinct()
        if stream is not None:
            query = query.where(table.c.stream == stream)
        return sorted(self._connection.execute(query).scalars())

    def publication(self, name: str) -> Publication | None:
        """What is live under ``name``, or None."""
        row = self._one(schema.publications, schema.publications.c.repository == name)
        return None if row is None else _publication(row)

    def publications(self) -> list[Publication]:
        """All that is live, sorted by name."""
        order = (schema.publications.c.repository,)
        return [_publication(row) for row in self._all(schema.publications, order=order)]

    def publication_history(
        self, name: str | None = None, since: datetime | None = None
    ) -> list[PastPublication]:
        """Publications that were replaced at or after ``since``, newest first."""
        table = schema.past_publications
        where = []
        if name is not None:
            where.append(table.c.repository == name)
        if since is not None:
            where.append(table.c.replaced >= format_time(since))
        rows = self._all(table, *where, order=(table.c.id.desc(),))
        return [PastPublication(_publication(row), parse_time(row["replaced"])) for row in rows]

    def kept_publications(self, since: datetime) -> list[Publication]:
        """Past publications that somebody may still ask for.

        Those replaced at or after ``since``, and the first one of each snapshot that is
        kept: it says that the snapshot was proved complete, and with which overlay, for
        as long as it can be asked for by its serial.
        """
        table = schema.past_publications
        kept = or_(table.c.replaced >= format_time(since), table.c.id.in_(_first_of_snapshots()))
        return [_publication(row) for row in self._all(table, kept, order=(table.c.id,))]

    def generation(self) -> int:
        """A number that grows whenever something that is served may have changed."""
        return int(self.get_meta(_GENERATION) or 0)

    def holds(self, stream: str | None = None, repository: str | None = None) -> list[Hold]:
        """Holds, oldest first; None stands for all."""
        table = schema.holds
        where = []
        if stream is not None:
            where.append(table.c.stream == stream)
        if repository is not None:
            where.append(table.c.repository == repository)
        rows = self._all(table, *where, order=(table.c.since, table.c.key))
        return [_hold(row) for row in rows]

    def hold(self, key: str) -> Hold | None:
        """One hold, or None."""
        row = self._one(schema.holds, schema.holds.c.key == key)
        return None if row is None else _hold(row)


class SnapshotWrites(SnapshotReads, WriteBase):
    """Writing snapshots, publications and holds."""

    def add_snapshot(self, stored: StoredSnapshot) -> None:
        """Add a snapshot.

        Adding the same one again changes nothing. Raises StoreError when its serial is
        taken by another tree: a snapshot is immutable.
        """
        snapshot = stored.snapshot
        held = self.snapshot(stored.stream, snapshot.repository, snapshot.serial)
        if held is not None:
            if (held.snapshot.tree, held.snapshot.format) != (snapshot.tree, snapshot.format):
                raise StoreError(
                    f"snapshot {snapshot.serial} exists already with another tree",
                    where=snapshot.repository,
                )
            return
        self._connection.execute(
            insert(schema.snapshots).values(
                stream=stored.stream,
                repository=snapshot.repository,
                serial=snapshot.serial,
                format=snapshot.format,
                tree=snapshot.tree,
                tree_size=snapshot.tree_size,
                files=snapshot.files,
                bytes=snapshot.bytes,
                created=format_time(snapshot.created),
                source=stored.source,
            )
        )

    def drop_snapshot(self, stream: str, repository: str, serial: int) -> bool:
        """Forget a snapshot; ``gc`` may then take what only it named. Whether it was there.

        Raises StoreError for a snapshot that is published.
        """
        live = schema.publications
        published = self._all(
            live,
            live.c.stream == stream,
            live.c.source_repository == repository,
            live.c.serial == serial,
        )
        if published:
            raise StoreError(
                f"snapshot {serial} is published and cannot be dropped",
                where=repository,
                remedy="publish another snapshot first",
            )
        return self._drop(
            schema.snapshots, {"stream": stream, "repository": repository, "serial": serial}
        )

    def publish(self, publications: Iterable[Publication]) -> int:
        """Make all of these live at once; the new generation."""
        for publication in publications:
            self._retire(publication.repository)
            self._put(
                schema.publications,
                {"repository": publication.repository},
                _publication_values(publication),
            )
        return self.bump_generation()

    def withdraw(self, name: str) -> bool:
        """Serve nothing under ``name`` any more; whether something was live there."""
        self._retire(name)
        if not self._drop(schema.publications, {"repository": name}):
            return False
        self.bump_generation()
        return True

    def _retire(self, name: str) -> None:
        old = self.publication(name)
        if old is not None:
            self._connection.execute(
                insert(schema.past_publications).values(
                    repository=name, replaced=format_time(self.now()), **_publication_values(old)
                )
            )

    def forget_publications(self, before: datetime) -> int:
        """Drop the history but for ``kept_publications(before)``; how many lines."""
        table = schema.past_publications
        query = delete(table).where(
            table.c.replaced < format_time(before), table.c.id.not_in(_first_of_snapshots())
        )
        return self._connection.execute(query).rowcount

    def bump_generation(self) -> int:
        """Tell every server that something changed; the new number."""
        number = self.generation() + 1
        self.set_meta(_GENERATION, str(number))
        return number

    def set_hold(self, hold: Hold) -> None:
        """Set or replace a hold; one that stands already keeps its ``since``."""
        old = self.hold(hold.key)
        since = hold.since if old is None else old.since
        self._put(
            schema.holds,
            {"key": hold.key},
            {
                "stream": hold.stream,
                "repository": hold.repository,
                "kind": hold.kind,
                "reason": hold.reason,
                "remedy": hold.remedy,
                "since": format_time(since),
                "detail": to_json(dict(hold.detail)),
            },
        )

    def clear_hold(self, key: str) -> bool:
        """Remove a hold; whether it stood."""
        return self._drop(schema.holds, {"key": key})

    def clear_holds(self, prefix: str) -> int:
        """Remove all holds whose key starts with ``prefix``; how many."""
        table = schema.holds
        query = delete(table).where(table.c.key.startswith(prefix, autoescape=True))
        return self._connection.execute(query).rowcount


def _first_of_snapshots() -> Select[tuple[int]]:
    """The id of the first publication of each snapshot that is kept, under each name."""
    past, kept = schema.past_publications, schema.snapshots
    same = and_(
        kept.c.stream == past.c.stream,
        kept.c.repository == past.c.source_repository,
        kept.c.serial == past.c.serial,
    )
    columns = (past.c.repository, past.c.stream, past.c.source_repository, past.c.serial)
    return select(func.min(past.c.id)).join(kept, same).group_by(*columns)


def _snapshot(row: Row) -> StoredSnapshot:
    return StoredSnapshot(
        stream=row["stream"],
        snapshot=Snapshot(
            repository=row["repository"],
            format=row["format"],
            serial=row["serial"],
            tree=Digest(row["tree"]),
            tree_size=row["tree_size"],
            files=row["files"],
            bytes=row["bytes"],
            created=parse_time(row["created"]),
        ),
        source=row["source"],
    )


def _publication_values(publication: Publication) -> dict[str, object]:
    return {
        "stream": publication.stream,
        "format": publication.format,
        "source_repository": publication.source_repository,
        "serial": publication.serial,
        "tree": publication.tree,
        "overlay": publication.overlay,
        "published": format_time(publication.published),
        "rolled_back": publication.rolled_back,
    }


def _publication(row: Row) -> Publication:
    return Publication(
        repository=row["repository"],
        stream=row["stream"],
        format=row["format"],
        source_repository=row["source_repository"],
        serial=row["serial"],
        tree=Digest(row["tree"]),
        overlay=None if row["overlay"] is None else Digest(row["overlay"]),
        published=parse_time(row["published"]),
        rolled_back=bool(row["rolled_back"]),
    )


def _hold(row: Row) -> Hold:
    return Hold(
        key=row["key"],
        stream=row["stream"],
        repository=row["repository"],
        kind=row["kind"],
        reason=row["reason"],
        remedy=row["remedy"],
        since=parse_time(row["since"]),
        detail=from_json(row["detail"], f"hold {row['key']}"),
    )
