"""How RPM orders versions (rpm-version(7); rpm's ``rpmvercmp``).

Segments of digits compare as numbers, segments of letters as text, digits are
newer than letters; ``~`` sorts before everything, even the end; ``^`` sorts
after the end and before everything else.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_SEGMENT = re.compile(r"[0-9]+|[a-zA-Z]+|~|\^")

_TILDE, _END, _CARET, _LETTERS, _DIGITS = range(5)


def _key(text: str) -> list[tuple[int, int, str]]:
    """A list that sorts as RPM sorts ``text``."""
    key: list[tuple[int, int, str]] = []
    for segment in _SEGMENT.findall(text):
        if segment == "~":
            key.append((_TILDE, 0, ""))
        elif segment == "^":
            key.append((_CARET, 0, ""))
        elif segment.isdigit():
            digits = segment.lstrip("0")
            key.append((_DIGITS, len(digits), digits))
        else:
            key.append((_LETTERS, 0, segment))
    key.append((_END, 0, ""))
    return key


def compare(left: str, right: str) -> int:
    """-1, 0 or 1, as ``rpm.vercmp`` for one version or release without epoch."""
    a, b = _key(left), _key(right)
    return (a > b) - (a < b)


class Evr(NamedTuple):
    """Epoch, version and release. Compare their ``key()``: as tuples they do not order."""

    epoch: str
    version: str
    release: str

    def key(self) -> tuple[int, list[tuple[int, int, str]], list[tuple[int, int, str]]]:
        """A value that sorts as RPM sorts; an epoch that is no number counts as 0."""
        epoch = int(self.epoch) if self.epoch.isascii() and self.epoch.isdigit() else 0
        return epoch, _key(self.version), _key(self.release)
