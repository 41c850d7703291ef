"""How a crawl gets single files, whatever carries them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import Wanted
from store.records import Validator

UNPROMISED = 64 << 30
"""Most bytes of a file whose size nobody promised."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class FileBody:
    """The bytes of a fetched file; see ``manifests.formats.base.Body``."""

    path: Path
    size: int
    digest: Digest

    def open(self) -> BinaryIO:
        """For reading and seeking."""
        return self.path.open("rb")


@dataclass(frozen=True, slots=True)
class Got:
    """The answer for one wanted file.

    Exactly one of these holds: ``file`` is a finished file of ours, ``unchanged`` (the
    validator still holds), ``absent`` is an HTTP status, ``error``. ``received`` counts
    bytes that crossed the network. ``url`` is where it came from in the end.
    """

    wanted: Wanted
    file: Path | None = None
    unchanged: Validator | None = None
    absent: int = 0
    error: errors.SluiceError | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    received: int = 0


class Transport(Protocol):
    """Fetches files; used by one thread at a time."""

    source: str
    """The upstream's address, for messages and the ledger."""
    capacity: int
    """How many files should be waiting at once."""

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        """Ask for a file, if it is not ``known`` still."""

    def collect(self) -> list[Got]:
        """Wait for at least one answer; [] when nothing was asked for."""

    def close(self) -> None: ...


def limit_of(wanted: Wanted) -> int:
    """Most bytes that ``wanted`` may have."""
    return next(each for each in (wanted.size, wanted.limit, UNPROMISED) if each is not None)


def check_promises(wanted: Wanted, path: Path, where: str) -> None:
    """Raise UpstreamMismatch unless the file has the promised size and digests."""
    size = path.stat().st_size
    if wanted.size is not None and size != wanted.size:
        raise mismatch(wanted, f"{size} bytes came, {wanted.size} were promised", where)
    hashes = {name: hashlib.new(name, usedforsecurity=False) for name in wanted.digests}
    if not hashes:
        return
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            for one in hashes.values():
                one.update(block)
    for name, promised in wanted.digests.items():
        found = hashes[name].hexdigest()
        if found != promised.lower():
            raise mismatch(wanted, f"its {name} is {found}, {promised} was promised", where)


def mismatch(wanted: Wanted, what: str, where: str) -> errors.UpstreamMismatch:
    """The error for bytes that are not the promised ones."""
    return errors.UpstreamMismatch(
        f"{wanted.path}: {what}",
        where=where,
        remedy="sync again later: the upstream may be in an update, or something between "
        "it and here (a proxy, a login page) answers in its place",
    )
