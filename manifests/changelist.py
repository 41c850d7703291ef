"""Change lists: every item that one bundle added, updated or removed in one repository.

A list is a gzip file (RFC 1952) of JSON lines, so that `zcat` reads it without Sluice::

    {"columns":[...],"format":"yum","from":{...} or null,...}      the head
    ["added","Packages/a.rpm","package",...]                       one line for each item
    {"added":1,"removed":0,"updated":0}                            the end, with the sums

Items stand in the order of their paths. The columns are those of `Item`, in that order.
An account names the lists of one act (a release outside, a publication inside), who
acted and when: JSON lines, too, and small.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO, Final, Literal, NamedTuple, cast

from manifests import canonical, jsontext
from manifests.canonical import Record
from manifests.digest import Digest
from manifests.errors import MalformedManifest
from manifests.provenance import Origin
from manifests.state import MAX_SERIAL, format_time, is_name

VERSION: Final = 1
MAX_LINE: Final = 128 << 10
"""Bytes of one line, the head's included."""
MAX_ACCOUNT: Final = 8 << 20
_LEVEL: Final = 4
_BLOCK: Final = 1 << 18

Kind = Literal["added", "updated", "removed"]


class Item(NamedTuple):
    """One item. ``what`` is its name in the words of its format, ``kind`` what that names.

    ``size`` and ``digest`` are those of what came, or of what went if it was removed;
    ``old_size`` and ``old_digest`` of what an update replaced, else 0 and "". ``by`` is who
    asked for it, if that is known and not who ran the sync.
    """

    change: Kind
    path: str
    kind: str
    what: str
    name: str
    version: str
    size: int
    digest: str
    old_size: int = 0
    old_digest: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """What a list is of. ``serial_before`` None: nothing was there before.

    ``origin`` is the snapshot's provenance as far as it is known; ``checked`` says whether
    this zone verified signatures itself (inside), None outside; ``note`` is for people.
    """

    stream: str
    repository: str
    format: str
    serial: int
    tree: Digest
    serial_before: int | None = None
    tree_before: Digest | None = None
    origin: Origin | None = None
    checked: bool | None = None
    note: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values, as in the first line."""
        before = {"serial": self.serial_before, "tree": self.tree_before}
        return {
            "checked": self.checked,
            "columns": list(Item._fields),
            "format": self.format,
            "from": None if self.serial_before is None else before,
            "note": self.note[:1000],
            "origin": None if self.origin is None else self.origin.to_json(),
            "repository": self.repository,
            "stream": self.stream,
            "to": {"serial": self.serial, "tree": self.tree},
            "version": VERSION,
        }

    @classmethod
    def of_json(cls, value: object, where: str) -> Head:
        """What `to_json` gave. Raises MalformedManifest."""
        record = Record(value, where=where, required=_HEAD)
        if record.value["version"] != VERSION or record.value["columns"] != list(Item._fields):
            record.fail("a change list of another version")
        to = record.record("to", required=("serial", "tree"))
        before = None
        if record.value["from"] is not None:
            before = record.record("from", required=("serial", "tree"))
        origin = record.value["origin"]
        return cls(
            record.text("stream", most=64),
            record.text("repository", most=64),
            record.text("format", most=16),
            to.number("serial", least=1, most=MAX_SERIAL),
            to.digest("tree"),
            None if before is None else before.number("serial", least=1, most=MAX_SERIAL),
            None if before is None else before.digest("tree"),
            None if origin is None else Origin.of_json(origin, where),
            None if record.value["checked"] is None else record.flag("checked"),
            record.text("note", most=1000),
        )


_HEAD = (
    "checked", "columns", "format", "from", "note", "origin", "repository", "stream", "to",
    "version",
)  # fmt: skip


@dataclass(slots=True)
class Sums:
    """How many items were added, updated, removed."""

    added: int = 0
    updated: int = 0
    removed: int = 0

    def count(self, change: Kind) -> None:
        setattr(self, change, getattr(self, change) + 1)

    def to_json(self) -> dict[str, int]:
        return {"added": self.added, "removed": self.removed, "updated": self.updated}


def encode(head: Head, items: Iterable[Item], sums: Sums) -> Iterator[bytes]:
    """The bytes of a list, in pieces; ``sums`` is complete when they are exhausted."""
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)  # 31: a gzip header, without a time
    waiting: list[bytes] = [canonical.dumps(head.to_json()) + b"\n"]
    size = 0
    dump = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
    for item in items:
        sums.count(item.change)
        line = dump(item).encode() + b"\n"
        waiting.append(line)
        size += len(line)
        if size >= _BLOCK:
            yield packer.compress(b"".join(waiting))
            waiting.clear()
            size = 0
    waiting.append(canonical.dumps(sums.to_json()) + b"\n")
    yield packer.compress(b"".join(waiting)) + packer.flush()


class ChangeList:
    """Reads a list; one line is in memory at a time.

    Raises MalformedManifest for whatever `encode` does not write.
    """

    def __init__(self, file: BinaryIO, where: str = "change list") -> None:
        self._where = where
        self._lines = gzip.GzipFile(fileobj=file)
        self.head = Head.of_json(self._json(self._line()), where)
        self.sums = Sums()
        """Complete when the items are exhausted."""

    def items(self) -> Iterator[Item]:
        """The items, once."""
        last = ""
        while True:
            value = self._json(self._line())
            if isinstance(value, dict):
                if value != self.sums.to_json() or self._read(1):
                    raise self._bad("its sums do not fit its items")
                return
            item = self._item(value)
            if item.path.encode() <= last.encode():
                raise self._bad("paths out of order")
            last = item.path
            self.sums.count(item.change)
            yield item

    def _item(self, value: object) -> Item:
        if not isinstance(value, list) or len(value) != len(Item._fields):
            raise self._bad("a line that is no item")
        item = Item(*value)
        numbers = (item.size, item.old_size)
        texts = (item.change, *item[1:6], item.digest, item.old_digest, item.by)
        if not all(isinstance(text, str) for text in texts):
            raise self._bad("an item with a wrong type")
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise self._bad("an item with a wrong size")
        if item.change not in ("added", "updated", "removed"):
            raise self._bad("an unknown kind of change")
        return item

    def _line(self) -> bytes:
        line = self._read(MAX_LINE + 1, line=True)
        if not line.endswith(b"\n") or len(line) > MAX_LINE:
            raise self._bad("it ends early, or has a line that is too long")
        return line

    def _read(self, size: int, *, line: bool = False) -> bytes:
        try:
            return self._lines.readline(size) if line else self._lines.read(size)
        except (OSError, EOFError, zlib.error) as error:
            raise self._bad(f"not a whole gzip file: {error}") from error

    def _json(self, line: bytes) -> object:
        try:
            return cast(object, jsontext.loads(line))
        except ValueError as error:
            raise self._bad("a line that is not JSON") from error

    def _bad(self, what: str) -> MalformedManifest:
        return MalformedManifest(
            what, where=self._where, remedy="restore the store from a backup; see `verify`"
        )


class Listed(NamedTuple):
    """A list in an account: a snapshot, the list's digest and its sums."""

    repository: str
    serial: int
    digest: Digest
    added: int
    updated: int
    removed: int


@dataclass(frozen=True, slots=True)
class Account:
    """The lists of one act. ``by`` is who released, or ran the import."""

    at: datetime
    by: str
    lists: tuple[Listed, ...] = field(default=())

    def encode(self) -> bytes:
        """Its lines: who and when, then the lists."""
        by = self.by[:256].encode("utf-8", "backslashreplace").decode()[:256]
        first = {"at": format_time(self.at), "by": by, "version": VERSION}
        rows: list[object] = [first, *(list(one) for one in self.lists)]
        return b"".join(canonical.dumps(row) + b"\n" for row in rows)

    @classmethod
    def parse(cls, data: bytes, where: str = "account") -> Account:
        """Raises MalformedManifest, NotCanonical."""
        lines = data.split(b"\n")
        if lines.pop() != b"" or not lines:
            raise MalformedManifest("it ends within a line", where=where)
        first, *rows = (canonical.loads(line, cap=MAX_LINE, where=where) for line in lines)
        record = Record(first, where=where, required=("at", "by", "version"))
        record.number("version", least=VERSION, most=VERSION)
        return cls(
            record.time("at"),
            record.text("by", most=256),
            tuple(listed(record, row) for row in rows),
        )


def listed(record: Record, row: object) -> Listed:
    """One list of an account. Raises MalformedManifest by ``record``."""
    if not isinstance(row, list) or len(row) != len(Listed._fields):
        record.fail("a list that has not six fields")
    repository, serial, digest, *sums = row
    if not isinstance(repository, str) or not is_name(repository):
        record.fail("a list of no repository")
    for number in (serial, *sums):
        if type(number) is not int or number < 0:
            record.fail("a number that is none")
    named = Record({"digest": digest}, where=record.where, required=("digest",))
    return Listed(repository, serial, named.digest("digest"), *sums)
