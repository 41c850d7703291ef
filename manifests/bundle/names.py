"""Names of part files: flat, ASCII, in the order of sending when sorted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PartName:
    """The name under which a part is sent.

    ``STREAM-EEEE-SSSSSSSS-PPPPP-of-NNNNN[-rR]``: epoch, sequence, part and number of
    parts in decimal; ``-rR`` from the first time that it is sent again, since some
    carriers refuse a name they have seen. Carriers add the prefix and suffix that
    the guard wants.
    """

    stream: str
    epoch: int
    sequence: int
    part: int
    parts: int
    resend: int = 0

    def __str__(self) -> str:
        again = f"-r{self.resend}" if self.resend else ""
        return (
            f"{self.stream}-{self.epoch:04d}-{self.sequence:08d}"
            f"-{self.part:05d}-of-{self.parts:05d}{again}"
        )


def draft_part_name(draft: str, part: int) -> str:
    """The name of a part in the spool while it is a draft."""
    return f"{draft}-{part:05d}.draft"
