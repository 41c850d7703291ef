"""What a volume says of itself: label and check file, bytes to values and back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from cds.base import check_name
from manifests import errors

LABEL = "LABEL.txt"
SUMS = "SHA256SUMS"
MAX_LABEL = 4096
MAX_SUMS = 32 << 20
"""Bytes of a check file: about 200,000 parts."""

_TEXT = re.compile(
    rb"sluice-volume 1\n"
    rb"stream ([a-z0-9][a-z0-9._-]{0,63})\n"
    rb"volume ([1-9][0-9]{0,8})\n"
    rb"set ([1-9][0-9]{0,8})\n"
    rb"next (yes|no|open)\n"
)
_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)")


class Next(StrEnum):
    """Whether another volume belongs to what is on this one."""

    YES = "yes"
    NO = "no"
    OPEN = "open"
    """It is being written, or was pulled out while it was."""


@dataclass(frozen=True, slots=True)
class Label:
    """Whose volume it is, its number from 1, and the first number of its set."""

    stream: str
    volume: int
    set: int
    next: Next = Next.OPEN

    def text(self) -> bytes:
        """The bytes of ``LABEL.txt``."""
        return (
            f"sluice-volume 1\nstream {self.stream}\nvolume {self.volume}\n"
            f"set {self.set}\nnext {self.next}\n"
        ).encode()

    @property
    def folder(self) -> str:
        """What the volume's folder is called."""
        return f"sluice-{self.stream}-{self.volume:05}"


def read_label(folder: Path) -> Label | None:
    """The label of a volume; None if the folder has none. Raises ``CarrierError``."""
    raw = read_capped(folder / LABEL, MAX_LABEL)
    if raw is None:
        return None
    match = _TEXT.fullmatch(raw)
    if match is None or int(match[3]) > int(match[2]):
        raise errors.CarrierError(
            "the label of a volume cannot be read",
            where=str(folder / LABEL),
            remedy="have the volume written again, or write its label by hand from another one's",
        )
    return Label(match[1].decode(), int(match[2]), int(match[3]), Next(match[4].decode()))


def sums_line(name: str, digest: str) -> bytes:
    """A line of the check file, as ``sha256sum`` writes it."""
    return f"{digest}  {name}\n".encode()


def read_sums(folder: Path) -> Mapping[str, str]:
    """Name to digest from the check file. Raises ``CarrierError``.

    A last line without its end is what a pulled medium leaves, and does not count.
    """
    raw = read_capped(folder / SUMS, MAX_SUMS)
    if raw is None:
        return {}
    found: dict[str, str] = {}
    try:
        for line in raw.decode("ascii").split("\n")[:-1]:
            match = _LINE.fullmatch(line)
            if match is None:
                raise ValueError("a line is not DIGEST, two blanks, NAME")
            found[check_name(match[2])] = match[1]
    except (ValueError, errors.CarrierError) as exc:
        raise errors.CarrierError(
            f"the check file of a volume cannot be read: {exc}",
            where=str(folder / SUMS),
            remedy="have the volume written again",
        ) from exc
    return found


def read_capped(file: Path, most: int) -> bytes | None:
    """A small regular file; None if there is none. Raises ``CarrierError``."""
    try:
        fd = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as source:
            raw = source.read(most + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise errors.CarrierError(
            f"it cannot be read ({exc.strerror})",
            where=str(file),
            remedy="clean or replace the medium, or have the volume written again",
        ) from exc
    if len(raw) > most:
        raise errors.CarrierError(
            f"it has more than {most} bytes", where=str(file), remedy="find out who wrote it"
        )
    return raw
