"""What clients asked for and did not get, until the parent is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from manifests.wants import is_want

#: Different misses that are remembered until the parent is told, about a second.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Miss:
    """What a client asked for and did not get."""

    format: str
    repository: str
    want: str


class Misses:
    """Counts misses."""

    def __init__(self) -> None:
        self._counted: Counter[Miss] = Counter()

    def note(self, miss: Miss | None) -> None:
        """Count it, if it is something that may be kept and there is room."""
        if miss is None or not is_want(miss.want):
            return
        if miss in self._counted or len(self._counted) < _MOST:
            self._counted[miss] += 1

    def take(self) -> list[tuple[Miss, int]]:
        """What was missed since the last call, and how often."""
        found = list(self._counted.items())
        self._counted.clear()
        return found
