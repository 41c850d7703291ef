"""Provenance: what only the outside knows of a snapshot, for those who look inside.

A bundle of wire 2 may carry a text with one line for each snapshot that it brings, sorted
by repository, each line canonical JSON (`manifests.canonical`) of at most `MAX_LINE`
bytes and a LF, with the fields of `Origin`::

    {"actor":"alice","keys":["FINGERPRINT"],"packages":true,"repository":"base",
     "roots":[["org.example:lib:1.0","want","bob","2026-05-01T12:00:00Z"]],"serial":7,
     "signature":"good","synced":"2026-05-01T12:30:00Z","upstream":"https://repo.example.org/base/"}

The outside signed it and nobody proved it: it is shown, and nothing hangs on it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final

from manifests import canonical
from manifests.canonical import Record
from manifests.errors import MalformedManifest, OversizedIndex
from manifests.state import MAX_SERIAL, format_time, is_name, parse_time

MAX_LINE: Final = 64 << 10
MAX_LINES: Final = 10_000
MAX_KEYS: Final = 100
MAX_ROOTS: Final = 200
"""Roots that a line names at most: the newest."""
_ROOM: Final = 40 << 10
"""Bytes of a line that its roots may take."""
SIGNATURES: Final = ("good", "unchecked", "unknown")
"""``good``: all that ``signed_by`` demands was there and right. ``unchecked``: no keys were
named. ``unknown``: nobody wrote it down."""


@dataclass(frozen=True, slots=True)
class AskedFor:
    """A root that was asked for since the snapshot before: ``kind`` is why, ``by`` who."""

    root: str
    kind: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a snapshot came from.

    ``upstream``: its address, without user or password; "" if unknown, like ``actor``, who
    ran the sync that ended at ``synced``. ``keys``: fingerprints of the keys that
    ``signature`` rests on; ``packages``: single packages were verified, not only indexes.
    """

    repository: str
    serial: int
    upstream: str = ""
    synced: datetime | None = None
    actor: str = ""
    signature: str = "unknown"
    packages: bool = False
    keys: tuple[str, ...] = ()
    roots: tuple[AskedFor, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values, as in a line; what is too long or too many is cut."""
        roots: list[list[str]] = []
        room = _ROOM
        for one in self.roots[:MAX_ROOTS]:
            row = [one.root, one.kind, _short(one.by), format_time(one.at)]
            room -= len(canonical.dumps(row)) + 1
            if room < 0:
                break
            roots.append(row)
        return {
            "actor": _short(self.actor),
            "keys": [key[:128] for key in self.keys[:MAX_KEYS]],
            "packages": self.packages,
            "repository": self.repository,
            "roots": roots,
            "serial": self.serial,
            "signature": self.signature,
            "synced": None if self.synced is None else format_time(self.synced),
            "upstream": _short(self.upstream, 1024),
        }

    def line(self) -> bytes:
        """Its line, with the LF."""
        return canonical.dumps(self.to_json()) + b"\n"

    @classmethod
    def of_json(cls, value: object, where: str = "provenance") -> Origin:
        """What `to_json` gave. Raises MalformedManifest."""
        record = Record(value, where=where, required=_FIELDS)
        repository = record.text("repository", most=64)
        if not is_name(repository):
            record.fail("not the name of a repository")
        signature = record.text("signature", most=16)
        if signature not in SIGNATURES:
            record.fail(f"not a signature result: {signature!r}")
        keys = record.items("keys", most=MAX_KEYS)
        if not all(isinstance(key, str) and len(key) <= 128 for key in keys):
            record.fail("keys must be short texts")
        return cls(
            repository,
            record.number("serial", least=1, most=MAX_SERIAL),
            record.text("upstream", most=1024),
            None if record.value["synced"] is None else record.time("synced"),
            record.text("actor", most=256),
            signature,
            record.flag("packages"),
            tuple(str(key) for key in keys),
            tuple(_root(record, item) for item in record.items("roots", most=MAX_ROOTS)),
        )


_FIELDS = (
    "actor",
    "keys",
    "packages",
    "repository",
    "roots",
    "serial",
    "signature",
    "synced",
    "upstream",
)


def _short(text: str, most: int = 256) -> str:
    """At most ``most`` characters that JSON can hold."""
    return text[:most].encode("utf-8", "backslashreplace").decode()[:most]


def _root(record: Record, item: object) -> AskedFor:
    if not isinstance(item, list) or len(item) != 4 or not all(isinstance(x, str) for x in item):
        record.fail("a root that has not four texts")
    root, kind, by, at = (str(part) for part in item)
    try:
        return AskedFor(root, kind, by, parse_time(at))
    except MalformedManifest as error:
        record.fail(f"roots: {error.what}")


def encode(origins: Iterable[Origin]) -> bytes:
    """The text of a bundle."""
    return b"".join(o.line() for o in sorted(origins, key=lambda origin: origin.repository))


def read(file: BinaryIO, where: str = "provenance") -> Iterator[Origin]:
    """The lines of a text from outside, one in memory at a time.

    Raises MalformedManifest, NotCanonical, OversizedIndex.
    """
    for _ in range(MAX_LINES):
        line = file.readline(MAX_LINE + 1)
        if not line:
            return
        if len(line) > MAX_LINE:
            raise OversizedIndex("a line of provenance is too long", where=where)
        if not line.endswith(b"\n"):
            raise MalformedManifest("provenance that ends within a line", where=where)
        yield Origin.of_json(canonical.loads(line[:-1], cap=MAX_LINE, where=where), where)
    if file.read(1):
        raise OversizedIndex(f"provenance of more than {MAX_LINES} snapshots", where=where)
