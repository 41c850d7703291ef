"""Which volumes of a stream were written, were taken in, and are still wanted.

Both memories stand in the ledger, one small JSON text for each stream.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from cds.media import Begun, Next, VolumeSeen
from store.ledger import ReadTransaction, WriteTransaction

_WRITTEN, _TAKEN = "media-written", "media-taken"
_KEPT = 1000
_MOST_NAMED = 100
"""Wanted volumes that are named at most; a label may claim any number."""


def last_begun(tx: ReadTransaction, stream: str) -> Begun:
    """What the outside began last."""
    text = tx.get_meta(f"{_WRITTEN}:{stream}")
    return Begun() if text is None else Begun(**json.loads(text))


def note_begun(tx: WriteTransaction, stream: str, begun: Begun) -> None:
    tx.set_meta(f"{_WRITTEN}:{stream}", json.dumps(asdict(begun)))


@dataclass(slots=True)
class Taken:
    """What the inside knows of volumes.

    All up to ``floor`` are settled; of the others ``whole`` were taken in, and ``damaged``
    have parts that could not be. ``announced`` is the highest number heard of.
    """

    floor: int = 0
    whole: list[int] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    announced: int = 0
    sums: dict[str, str] = field(default_factory=dict)
    """Digests of the check files of volumes that were taken in whole, the newest ones."""

    @property
    def last(self) -> int:
        """The highest number that was taken in whole."""
        return max([self.floor, *self.whole])

    def wanted(self) -> list[tuple[int, str]]:
        """Number and reason of each volume that is still to come."""
        found = []
        for number in range(self.floor + 1, self.announced + 1):
            if number not in self.whole:
                found.append((number, self.damaged.get(str(number), "")))
            if len(found) == _MOST_NAMED:
                break
        return found

    def copy(self) -> Taken:
        """The same, to compare with later."""
        return Taken(**json.loads(json.dumps(asdict(self))))

    def known(self) -> dict[int, str]:
        """What need not be read again."""
        return {int(number): digest for number, digest in self.sums.items()}

    def look(self, seen: Sequence[VolumeSeen]) -> None:
        """Note what a look found."""
        if seen and not self.announced:
            self.floor = min(each.label.set for each in seen) - 1
        for each in seen:
            number = each.label.volume
            follows = each.label.next is Next.YES
            self.announced = max(self.announced, number + follows)
            if not each.damaged:
                self.sums[str(number)] = each.sums
            if number <= self.floor:
                continue
            if not each.damaged:
                self.damaged.pop(str(number), None)
                self.whole = sorted({*self.whole, number})
            elif number not in self.whole:
                part, why = next(iter(each.damaged.items()))
                self.damaged[str(number)] = f"{part}: {why}"
        newest = sorted(self.sums, key=int)[-_KEPT:]
        self.sums = {number: self.sums[number] for number in newest}
        self._tidy()

    def settle(self) -> None:
        """Nothing is incomplete or held: what is missing below was replaced by later volumes."""
        self.floor = self.last
        self._tidy()

    def _tidy(self) -> None:
        while self.floor + 1 in self.whole:
            self.floor += 1
        self.whole = [number for number in self.whole if number > self.floor]
        self.damaged = {n: why for n, why in self.damaged.items() if int(n) > self.floor}


def read_taken(tx: ReadTransaction, stream: str) -> Taken:
    text = tx.get_meta(f"{_TAKEN}:{stream}")
    return Taken() if text is None else Taken(**json.loads(text))


def note_taken(tx: WriteTransaction, stream: str, taken: Taken) -> None:
    tx.set_meta(f"{_TAKEN}:{stream}", json.dumps(asdict(taken)))
