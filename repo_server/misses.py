"""What clients asked for and did not get, until the parent is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from manifests.formats.base import Missing
from manifests.wants import is_want
from repo_server.site import Edition, InRepository

#: Different misses that are remembered until the parent is told, about a second.
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Miss:
    """What a client asked for and did not get."""

    format: str
    repository: str
    want: str


def missed(where: InRepository, answer: Missing, edition: Edition) -> Miss | None:
    """The want that a miss is; None for a probe, or what was looked for in a pinned snapshot."""
    if where.live is None or not answer.want:
        return None
    return Miss(edition.publication.format, where.name, answer.want)


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
