"""What is made anew when several repositories are served as one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Merge:
    """One file of merged repositories, made from those at ``source`` in each.

    ``make`` takes their bodies in the order of the repositories, at least one; what it
    returns may be empty: then nothing is there. It may raise FormatError. A source larger
    than ``limit`` bytes is not used.
    """

    source: str
    make: Callable[[Sequence[bytes]], bytes]
    limit: int = 16 << 20
    content_type: str = "text/xml"
