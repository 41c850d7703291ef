"""What is asked of a repository, file by file: roots, their closures, and what was fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import cast

from sqlalchemy import delete, func, insert, select

from manifests.digest import Digest
from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, Row, WriteBase, from_json, to_json
from store.records import Closure, Fetched, Root, RootKind

_AT_ONCE = 500
"""Rows of one statement: databases limit the number of its values."""


class RootReads(ReadBase):
    """Reading roots."""

    def roots(self, repository: str | None = None) -> list[Root]:
        """By repository, kind and name."""
        table = schema.roots
        where = [] if repository is None else [table.c.repository == repository]
        found = [
            Root(
                row["repository"],
                row["root"],
                RootKind(row["kind"]),
                row["added_by"],
                parse_time(row["at"]),
            )
            for row in self._all(table, *where)
        ]
        return sorted(found, key=lambda one: (one.repository, one.kind, one.root))

    def root_count(self, repository: str, kind: RootKind) -> int:
        """How many roots of a kind there are."""
        table = schema.roots
        query = select(func.count()).where(
            table.c.repository == repository, table.c.kind == kind.value
        )
        return int(self._connection.execute(query).scalar_one())

    def is_root(self, repository: str, root: str) -> bool:
        """Whether it is asked for by itself."""
        table = schema.roots
        return (
            self._one(
                table, table.c.repository == repository, table.c.root_digest == self._key(root)
            )
            is not None
        )

    def fetched(self, repository: str, path: str) -> Fetched | None:
        """What the upstream gave for ``path``, or None."""
        table = schema.fetched
        row = self._one(
            table, table.c.repository == repository, table.c.path_digest == self._key(path)
        )
        return None if row is None else _fetched(row)

    def all_fetched(self, repository: str) -> list[Fetched]:
        """All files of a repository, by path."""
        rows = self._all(schema.fetched, schema.fetched.c.repository == repository)
        return sorted(map(_fetched, rows), key=lambda one: one.path.encode())

    def fetched_digests(self) -> Iterator[Digest]:
        """The blobs of everything that was fetched."""
        found = self._connection.execute(select(schema.fetched.c.digest).distinct()).scalars()
        return (Digest(digest) for digest in found)

    def closures(self, repository: str) -> dict[str, Closure]:
        """By name."""
        table = schema.closures
        return {
            row["name"]: Closure(
                row["name"],
                Digest(row["fingerprint"]),
                tuple(cast("list[str]", from_json(row["paths"], "closures"))),
                cast("dict[str, str]", from_json(row["unresolved"], "closures")),
                parse_time(row["at"]),
                cast("dict[str, str]", from_json(row["indexes"], "closures")),
            )
            for row in self._all(table, table.c.repository == repository)
        }


class RootWrites(RootReads, WriteBase):
    """Writing roots."""

    def add_roots(
        self, repository: str, kind: RootKind, roots: Iterable[str], by: str = ""
    ) -> list[str]:
        """Ask for ``roots``; those that were not asked for before."""
        new = [root for root in dict.fromkeys(roots) if not self.is_root(repository, root)]
        at = format_time(self.now())
        rows = [
            {
                "repository": repository,
                "root_digest": self._key(root),
                "root": root,
                "kind": kind.value,
                "added_by": by or self._actor,
                "at": at,
            }
            for root in new
        ]
        if rows:
            self._connection.execute(insert(schema.roots), rows)
        return new

    def drop_root(self, repository: str, root: str) -> bool:
        """Ask for it no longer; whether it was asked for."""
        return self._drop(schema.roots, {"repository": repository, "root_digest": self._key(root)})

    def add_fetched(self, repository: str, files: Iterable[Fetched]) -> None:
        """Remember files, in the place of what was remembered of the same paths."""
        for one in files:
            self._put(
                schema.fetched,
                {"repository": repository, "path_digest": self._key(one.path)},
                {
                    "path": one.path,
                    "digest": one.digest,
                    "size": one.size,
                    "stated": one.stated,
                },
            )

    def forget_fetched(self, repository: str, paths: Iterable[str]) -> None:
        """Let go of files that nothing asks for any more."""
        table = schema.fetched
        keys = [self._key(path) for path in paths]
        for start in range(0, len(keys), _AT_ONCE):
            self._connection.execute(
                delete(table).where(
                    table.c.repository == repository,
                    table.c.path_digest.in_(keys[start : start + _AT_ONCE]),
                )
            )

    def set_closure(self, repository: str, closure: Closure) -> None:
        """Remember a closure in the place of the one of the same name."""
        self._put(
            schema.closures,
            {"repository": repository, "name_digest": self._key(closure.name)},
            {
                "name": closure.name,
                "fingerprint": closure.fingerprint,
                "paths": to_json(list(closure.paths)),
                "unresolved": to_json(dict(closure.unresolved)),
                "indexes": to_json(dict(closure.indexes)),
                "at": format_time(closure.at),
            },
        )

    def drop_closure(self, repository: str, name: str) -> bool:
        """Forget a closure; whether there was one."""
        return self._drop(
            schema.closures, {"repository": repository, "name_digest": self._key(name)}
        )


def _fetched(row: Row) -> Fetched:
    return Fetched(row["path"], Digest(row["digest"]), row["size"], row["stated"])
