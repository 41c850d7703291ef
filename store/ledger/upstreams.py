"""Mirroring: validators of volatile files, accepted exceptions, marks of open work."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from sqlalchemy import select

from manifests.digest import Digest
from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, Row, WriteBase
from store.records import AcceptedMissing, Validator

_PAGE = 5_000
"""Rows that are in memory at once."""


def _validator(row: Row) -> Validator:
    return Validator(row["etag"], row["last_modified"], Digest(row["digest"]), row["size"])


class UpstreamReads(ReadBase):
    """Reading what mirroring remembers."""

    def validators(self, repository: str) -> Iterator[tuple[Digest, Validator]]:
        """All of a repository, sorted by the SHA-256 of the URL, which stands first."""
        table, last = schema.validators, ""
        while True:
            after = (table.c.repository == repository, table.c.url_digest > last)
            rows = self._all(table, *after, order=(table.c.url_digest,), limit=_PAGE)
            for row in rows:
                last = row["url_digest"]
                yield Digest(last), _validator(row)
            if len(rows) < _PAGE:
                return

    def validator_digests(self) -> list[Digest]:
        """The blobs that conditional requests stand for, sorted."""
        found = self._connection.execute(select(schema.validators.c.digest).distinct()).scalars()
        return sorted(Digest(digest) for digest in found)

    def exceptions(self, repository: str | None = None) -> list[AcceptedMissing]:
        """Files that were accepted as missing, by repository and path."""
        table = schema.exceptions
        where = [] if repository is None else [table.c.repository == repository]
        rows = self._all(table, *where)
        found = [
            AcceptedMissing(
                row["repository"],
                row["path"],
                row["reason"],
                row["accepted_by"],
                parse_time(row["at"]),
            )
            for row in rows
        ]
        return sorted(found, key=lambda one: (one.repository, one.path))

    def work_open(self, repository: str) -> str | None:
        """The token of work that was begun and not ended (it runs, or died), or None."""
        row = self._one(schema.work, schema.work.c.repository == repository)
        return None if row is None else str(row["token"])


class UpstreamWrites(UpstreamReads, WriteBase):
    """Writing what mirroring remembers."""

    def set_validators(self, repository: str, found: Iterable[tuple[str, Validator]]) -> None:
        """Remember what the upstream said of each URL."""
        rows = {
            self._key(url): {
                "repository": repository,
                "url_digest": self._key(url),
                "url": self._printable(url),
                "etag": one.etag,
                "last_modified": one.last_modified,
                "digest": one.digest,
                "size": one.size,
            }
            for url, one in found
        }
        self._put_all(schema.validators, ("repository", "url_digest"), list(rows.values()))

    def forget_validators(self, repository: str) -> None:
        """Forget all validators of a repository, so that everything is asked for anew."""
        self._drop(schema.validators, {"repository": repository})

    def accept_missing(
        self, repository: str, path: str, reason: str, by: str, at: datetime
    ) -> None:
        """Record that a person accepted a file as missing."""
        self._put(
            schema.exceptions,
            {"repository": repository, "path": path},
            {"reason": reason, "accepted_by": by, "at": format_time(at)},
        )

    def drop_exception(self, repository: str, path: str) -> bool:
        """Require the file again; whether it was accepted as missing."""
        return self._drop(schema.exceptions, {"repository": repository, "path": path})

    def begin_work(self, repository: str, token: str) -> None:
        """Mark that work on a repository began; ``token`` tells its folder or process."""
        self._put(
            schema.work,
            {"repository": repository},
            {"token": token, "since": format_time(self.now())},
        )

    def end_work(self, repository: str) -> None:
        """Mark that it ended."""
        self._drop(schema.work, {"repository": repository})
