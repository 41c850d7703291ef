"""What a carrier is: an outlet that files leave by, an inlet that files arrive at.

A carrier moves opaque files one way and never learns what became of them: files may be
lost, doubled, reordered, renamed or delayed. It keeps no memory of its own beyond the
folders it is given; what was sent and what was dealt with stands in the caller's ledger.
The suite ``tests/conformance/test_carriers.py`` holds for every carrier.

All moments are seconds since the epoch (UTC) and are passed in; all sizes are bytes.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests import errors
from manifests.zone import PartNames

NAME_LIMIT = 200
"""Longest file name that a carrier sends, in characters; 255 is the file systems' limit."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN = 120


@dataclass(frozen=True, slots=True)
class Sent:
    """One file that is out. ``again``: it lay there already, nothing was written."""

    name: str
    size: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Outstanding:
    """One file that waits to be picked up (or is mirrored and stays)."""

    name: str
    size: int


@dataclass(frozen=True)
class Arrival:
    """One whole file at an inlet, as it was when it was looked at."""

    path: Path
    size: int
    mtime_ns: int
    inode: int

    @property
    def name(self) -> str:
        """The name it lies under: chosen outside, perhaps not even text. Show ``label``."""
        return self.path.name

    @property
    def label(self) -> str:
        """The name in printable ASCII, for messages."""
        return printable(self.name)

    @cached_property
    def identity(self) -> str:
        """64 hex digits that tell whether this very file was dealt with before.

        Made of name, size, modification time and inode, so a file that is brought anew
        is looked at anew; what it *is*, its reader has to say.
        """
        text = f"{self.size} {self.mtime_ns} {self.inode}".encode()
        return hashlib.sha256(os.fsencode(self.name) + b"\0" + text).hexdigest()

    def open(self) -> BinaryIO:
        """Open for reading. Verify and read through this one object, never by name again.

        Raises ``ArrivalChanged`` if the name is gone or leads to anything but the regular
        file that was seen (a link, a pipe, another file).
        """
        try:
            # The file has the descriptor from the first moment: one that is closed by its
            # number may be another's by then, when a signal comes between the two.
            file = open(self.path, "rb", opener=_open_as_it_is)  # noqa: SIM115
        except OSError as exc:
            if isinstance(exc, PermissionError):
                raise errors.CarrierError(
                    "the file may not be read",
                    where=self.label,
                    remedy="let the account that sluice runs under read the inbox's files",
                ) from exc
            raise self._changed() from exc
        try:
            if not self._is(os.fstat(file.fileno())):
                raise self._changed()
        except BaseException:
            file.close()
            raise
        return file

    def lies_there(self) -> bool:
        """Whether the name still leads to this very file, unchanged."""
        try:
            return self._is(self.path.lstat())
        except OSError:
            return False

    def _is(self, now: os.stat_result) -> bool:
        return stat.S_ISREG(now.st_mode) and (now.st_size, now.st_mtime_ns, now.st_ino) == (
            self.size,
            self.mtime_ns,
            self.inode,
        )

    def _changed(self) -> errors.ArrivalChanged:
        return errors.ArrivalChanged(
            "the file changed or went away while it was looked at",
            where=self.label,
            remedy="nothing is lost: it is looked at again once it has settled",
        )


@dataclass(frozen=True, slots=True)
class Waiting:
    """What the last look found that is not whole yet.

    ``settling`` files may still be written to; ``until`` is the earliest moment at which
    one of them may have settled. ``unmarked`` files lack their done-marker.
    """

    settling: int = 0
    until: float | None = None
    unmarked: int = 0


@dataclass(frozen=True, slots=True)
class Foreign:
    """What lies at an inlet and is no arrival; it is left alone.

    ``total`` counts all of it; ``fresh`` has (label, why) of what was not reported
    before; while a hundred of those reported still lie there, more are only counted.
    """

    total: int = 0
    fresh: tuple[tuple[str, str], ...] = ()


class Outlet(Protocol):
    """The sending side."""

    def offer(self, name: str, source: Path) -> Sent:
        """Put a copy of the whole, unchanging file ``source`` out as ``name``, durably.

        Offering again what still lies there changes nothing. The other side may take
        the file at any moment, before this returns too: whether a name was sent is for
        the caller's ledger to remember, and sending it twice does no harm.

        Raises ``CarrierError``, ``NoSpace``, ``StoreError``; then nothing is out, or the
        whole file is, and the call can be repeated.
        """

    def outstanding(self) -> list[Outstanding]:
        """What waits to be picked up, sorted by name; it may be gone by now."""

    def expire(self, now: float, sent: Mapping[str, float]) -> list[str]:
        """Withdraw files that have been out too long or are too many, oldest first.

        ``sent`` maps the names that the caller sent to the moment it did so; nothing
        else is touched. Returns the names withdrawn.
        """

    def in_doubt(self) -> list[str]:
        """Names that were offered, and may be lost all the same; offer them again."""

    def close(self) -> None:
        """Finish what is under way and let go of connections and media.

        Raises ``CarrierError`` if something that was offered may not have gone out.
        """


class Inlet(Protocol):
    """The receiving side."""

    def arrivals(self, now: float) -> Iterator[Arrival]:
        """Look, and give each whole file by name order until it is finished or put aside.

        A file that the caller neither finishes nor quarantines comes again at each look,
        even in another process: the caller knows by ``identity`` what it has seen.
        """

    def waiting(self) -> Waiting:
        """What the last look found that is not whole yet."""

    def foreign(self) -> Foreign:
        """What the last look found that is none of ours; each is reported once."""

    def finish(self, arrival: Arrival) -> None:
        """Let go of a file. Call only after the commit that makes it unneeded.

        A file that has gone or changed meanwhile is left as it is.
        """

    def quarantine(self, arrival: Arrival, reason: str) -> Path:
        """Put a bad file aside with ``reason`` and return where it is kept.

        Raises ``ArrivalChanged`` (then nothing was put aside), ``NoSpace``, ``StoreError``.
        """


def _open_as_it_is(path: str, flags: int) -> int:
    # Non-blocking, because a pipe put in the file's place would hang us for ever.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def check_name(name: str, prefix: str = "", suffix: str = "") -> str:
    """Return ``prefix + name + suffix`` if every carrier can send that as a file name.

    Raises ``CarrierError`` for anything but letters, digits, ``.``, ``_`` and ``-`` after
    a letter or digit, and for more than ``NAME_LIMIT`` characters.
    """
    full = f"{prefix}{name}{suffix}"
    if not name or not _NAME.fullmatch(full) or len(full) > NAME_LIMIT:
        raise errors.CarrierError(
            f"{printable(full)!r} cannot be the name of a file to send",
            remedy=f"use ASCII letters, digits, '.', '_', '-', at most {NAME_LIMIT} in all",
        )
    return full


def affixes(names: PartNames | None) -> tuple[str, str, str]:
    """Prefix, suffix and done-marker, empty where there is none."""
    if names is None:
        return "", "", ""
    return names.prefix, names.suffix, names.done_marker or ""


def printable(text: str, limit: int = _SHOWN) -> str:
    """Text from outside as one line of at most ``limit`` printable ASCII characters."""
    escaped = "".join(
        c if " " <= c <= "~" and c != "\\" else c.encode("unicode_escape").decode()
        for c in text[:limit]
    )
    return escaped if len(text) <= limit and len(escaped) <= limit else escaped[: limit - 3] + "..."
