"""Decisions about digests and keys: denials, offered and approved keys, pins, checksums."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import insert, select

from manifests.digest import Digest
from manifests.errors import StoreError
from manifests.state import format_time, parse_time
from store.ledger import schema
from store.ledger.base import ReadBase, WriteBase, from_json, to_json
from store.records import Denial, OfferedKey, Pin, PinKind

_REMEMBERED = frozenset({"md5", "sha1", "sha224", "sha384", "sha512"})
#: Digests in one query; databases bound the number of values.
_AT_ONCE = 500


class PolicyReads(ReadBase):
    """Reading decisions."""

    def denied(self) -> dict[Digest, Denial]:
        """The digests that nobody is served."""
        return {
            Digest(row["digest"]): Denial(
                Digest(row["digest"]), row["reason"], row["denied_by"], parse_time(row["at"])
            )
            for row in self._all(schema.denied)
        }

    def offered_keys(self) -> list[OfferedKey]:
        """All keys that came in bundles, approved or not."""
        offered, approved = schema.offered_keys, schema.approved_keys
        query = (
            select(
                offered.c.fingerprint,
                offered.c.stream,
                offered.c.repository,
                offered.c.armored,
                offered.c.offered,
                approved.c.at,
                approved.c.approved_by,
            )
            .select_from(
                offered.outerjoin(approved, offered.c.fingerprint == approved.c.fingerprint)
            )
            .order_by(offered.c.repository, offered.c.stream, offered.c.fingerprint)
        )
        return [
            OfferedKey(
                fingerprint=row.fingerprint,
                stream=row.stream,
                repository=row.repository,
                armored=bytes(row.armored),
                offered=parse_time(row.offered),
                approved=None if row.at is None else parse_time(row.at),
                approved_by=row.approved_by or "",
            )
            for row in self._connection.execute(query)
        ]

    def approved_keys(self, repository: str, stream: str | None = None) -> list[OfferedKey]:
        """The keys of a repository that a person approved; these clients may be offered."""
        return [
            key
            for key in self.offered_keys()
            if key.approved is not None
            and key.repository == repository
            and stream in (None, key.stream)
        ]

    def pins(self, beginning: str = "") -> list[Pin]:
        """All pins by key, or those whose key begins so."""
        key = schema.pins.c.key
        where = [key.startswith(beginning, autoescape=True)] if beginning else []
        rows = self._all(schema.pins, *where, order=(key,))
        return [
            Pin(
                key=row["key"],
                kind=PinKind(row["kind"]),
                digests=tuple(from_json(row["digests"], f"pin {row['key']}")),
                note=row["note"],
                at=parse_time(row["at"]),
            )
            for row in rows
        ]

    def checksum(self, digest: Digest, algorithm: str) -> str | None:
        """A checksum of a blob that was computed earlier, or None."""
        table = schema.checksums
        row = self._one(table, table.c.digest == digest, table.c.algorithm == algorithm)
        return None if row is None else str(row["value"])

    def checksums(self, digests: Iterable[Digest], algorithm: str) -> dict[Digest, str]:
        """Those checksums of blobs that were computed earlier."""
        table = schema.checksums
        asked = list(digests)
        found: dict[Digest, str] = {}
        for start in range(0, len(asked), _AT_ONCE):
            some = asked[start : start + _AT_ONCE]
            query = select(table.c.digest, table.c.value).where(
                table.c.algorithm == algorithm, table.c.digest.in_(some)
            )
            for digest, value in self._connection.execute(query):
                found[Digest(digest)] = str(value)
        return found


class PolicyWrites(PolicyReads, WriteBase):
    """Writing decisions."""

    def deny(self, digest: Digest, reason: str, by: str) -> None:
        """Serve this digest to nobody from now on (bumps the generation)."""
        self._put(
            schema.denied,
            {"digest": digest},
            {"reason": reason, "denied_by": by, "at": format_time(self.now())},
        )
        self._served_otherwise()

    def allow(self, digest: Digest) -> bool:
        """Take a denial back (bumps the generation); whether there was one."""
        dropped = self._drop(schema.denied, {"digest": digest})
        self._served_otherwise()
        return dropped

    def offer_key(self, fingerprint: str, repository: str, stream: str, armored: bytes) -> bool:
        """Remember a key that came in a bundle; whether it is new for the repository.

        ``armored`` must be what ``openpgp.read_keys`` made of it, never the bytes that
        came: only then does the fingerprint say what a person approves.
        """
        table = schema.offered_keys
        key = {"fingerprint": fingerprint, "stream": stream, "repository": repository}
        where = [table.c[name] == value for name, value in key.items()]
        old = self._one(table, *where)
        offered = format_time(self.now()) if old is None else old["offered"]
        self._put(table, key, {"armored": armored, "offered": offered})
        return old is None

    def approve_key(self, fingerprint: str, by: str) -> None:
        """A person vouches for a fingerprint. Raises StoreError if no such key was offered."""
        if not any(key.fingerprint == fingerprint for key in self.offered_keys()):
            raise StoreError(
                "no bundle offered such a key",
                where=fingerprint[:80],
                remedy="see the offered fingerprints with `sluice keys list`",
            )
        self._put(
            schema.approved_keys,
            {"fingerprint": fingerprint},
            {"approved_by": by, "at": format_time(self.now())},
        )
        self._served_otherwise()

    def withdraw_key(self, fingerprint: str) -> bool:
        """Take an approval back; whether there was one."""
        dropped = self._drop(schema.approved_keys, {"fingerprint": fingerprint})
        self._served_otherwise()
        return dropped

    def pin(
        self, key: str, digests: Iterable[Digest], kind: PinKind = PinKind.BLOBS, note: str = ""
    ) -> None:
        """Keep blobs from ``gc`` until ``unpin``; the same key replaces its pin."""
        self._put(
            schema.pins,
            {"key": key},
            {
                "kind": kind.value,
                "digests": to_json(list(digests)),
                "note": note,
                "at": format_time(self.now()),
            },
        )

    def unpin(self, key: str) -> bool:
        """Take a pin back; whether it was there."""
        return self._drop(schema.pins, {"key": key})

    def add_checksums(self, rows: Iterable[tuple[Digest, str, str]]) -> None:
        """Remember (digest, algorithm, hex value) that this process computed itself."""
        kinds: dict[str, dict[Digest, str]] = {}
        for digest, algorithm, value in rows:
            if algorithm not in _REMEMBERED:
                raise ValueError(f"not a checksum that is remembered: {algorithm!r}")
            kinds.setdefault(algorithm, {}).setdefault(digest, value)
        for algorithm, values in kinds.items():
            for digest in self.checksums(values, algorithm):
                del values[digest]
            new = [
                {"digest": digest, "algorithm": algorithm, "value": value}
                for digest, value in values.items()
            ]
            if new:
                self._connection.execute(insert(schema.checksums), new)

    def _served_otherwise(self) -> None:
        raise NotImplementedError
