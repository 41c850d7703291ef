"""What a receiver is given, and what it says of each file in the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests.digest import Digest
from manifests.errors import SluiceError
from manifests.formats.base import Problem
from store.records import Hold, Publication


class Arrival(Protocol):
    """One whole file that a carrier brought. Its name means nothing."""

    @property
    def label(self) -> str:
        """Its name in printable ASCII, for messages."""

    @property
    def size(self) -> int:
        """Bytes."""

    @property
    def identity(self) -> str:
        """Tells whether this very file was dealt with before."""

    @property
    def path(self) -> Path: ...
    def open(self) -> BinaryIO: ...


class Verdict(StrEnum):
    """What the carrier may do with a file. All of it was committed before it is said."""

    DONE = "done"
    """Not needed any more."""
    WAITING = "waiting"
    """Needed again; leave it where it is."""
    FOREIGN = "foreign"
    """No part of a bundle; leave it alone."""
    BAD = "bad"
    """Put it aside, with ``error`` as the reason."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one arrival. ``bundle`` is ``epoch/sequence``, empty if unknown."""

    arrival: Arrival
    verdict: Verdict
    error: SluiceError | None = None
    bundle: str = ""
    part: int = 0

    @property
    def reason(self) -> str:
        """One line that begins with the class of the error; empty if there is none."""
        return "" if self.error is None else f"{type(self.error).__name__}: {self.error}"


@dataclass(slots=True)
class Report:
    """What one run of `receive` did. ``holds`` are all that stand on the stream now."""

    stream: str
    outcomes: list[Outcome] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)
    """Bundles (``epoch/sequence``) that moved the stream on."""
    late: list[str] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    """Sequences that were jumped over and are not here, the first ones."""
    published: list[Publication] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    bytes: int = 0
    """Bytes of payload that were read."""

    @property
    def exit_code(self) -> int:
        """3 if something is held or was refused, else 0."""
        refused = any(outcome.error is not None for outcome in self.outcomes)
        return 3 if self.holds or refused else 0


Checker = Callable[[str, str, Digest], Sequence[Problem]]
"""``checker(format, served name, tree)``: what `Format.check` finds. May raise SluiceError."""
Signatures = Callable[[str, str, Digest], bool]
"""Raises SignatureInvalid (or another SluiceError) unless upstream's signatures hold; False if
none are demanded here."""
Deriver = Callable[[str, str, Digest, Publication | None], Digest | None]
"""The overlay tree of derived indexes, made durable; None if the format derives nothing."""
Progress = Callable[[int, int], None]
"""Told the bytes read so far and in all."""
