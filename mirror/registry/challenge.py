"""Reading ``WWW-Authenticate`` (RFC 9110, 11.6.1): which way in does a registry offer?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_MAX = 16 << 10
_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - a grammar
_BLANKS = re.compile(r"\s*")
_PART = re.compile(
    rf'(?:(?P<key>{_TOKEN})\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>{_TOKEN}))'
    rf"|(?P<scheme>{_TOKEN})(?=\s|,|$))"
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way in. ``scheme`` and the names of ``values`` are in lower case."""

    scheme: str
    values: dict[str, str] = field(default_factory=dict)


def challenges(header: str) -> list[Challenge]:
    """All challenges of a header, or of several that were joined; what cannot be read ends it."""
    return list(_challenges(header[:_MAX]))


def _challenges(header: str) -> Iterator[Challenge]:
    current: Challenge | None = None
    position = 0
    while match := _PART.match(header, _between(header, position)):
        position = match.end()
        if match["scheme"] is not None:
            if current is not None:
                yield current
            current = Challenge(match["scheme"].lower())
        elif current is not None:
            value = match["plain"]
            if value is None:
                value = re.sub(r"\\(.)", r"\1", match["quoted"])
            current.values.setdefault(match["key"].lower(), value)
    if current is not None:
        yield current


def _between(header: str, position: int) -> int:
    """Where the next part begins: after blanks, perhaps with one comma among them.

    Looked for without going back: one expression for this and the part takes seconds for
    thousands of blanks.
    """
    position = _end_of_blanks(header, position)
    return (
        _end_of_blanks(header, position + 1) if header[position : position + 1] == "," else position
    )


def _end_of_blanks(header: str, position: int) -> int:
    match = _BLANKS.match(header, position)
    return position if match is None else match.end()
