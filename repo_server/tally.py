"""How many answers of which kind all workers gave, counted in memory that they share.

Each worker adds in a place of its own, so that no count is lost without a lock; a worker
that is started again goes on in the place of the one before. Any worker can tell the sum.
"""

from __future__ import annotations

import mmap
import os

from manifests.exposition import Family, render
from manifests.formats import FORMATS

_OTHER = "other"
_KINDS = (*sorted(FORMATS), _OTHER)
_PLACES = {name: place * 6 for place, name in enumerate(_KINDS)} | {
    "v2": sorted(FORMATS).index("oci") * 6
}
"""By the first word of a path; within, one number for each class of status (0 is not used)."""
_ELSE = _PLACES[_OTHER]
_COUNTS = len(_KINDS) * 6


class Tally:
    """The answers of one worker among ``workers``."""

    def __init__(self, fd: int, workers: int, number: int) -> None:
        self._all = memoryview(mmap.mmap(fd, workers * _COUNTS * 8)).cast("Q")
        self._mine = self._all[number * _COUNTS : (number + 1) * _COUNTS]

    @staticmethod
    def create(workers: int) -> int:
        """Make the shared memory; a descriptor that workers inherit."""
        fd = os.memfd_create("sluice-tally", os.MFD_CLOEXEC)
        os.ftruncate(fd, workers * _COUNTS * 8)
        return fd

    def count(self, target: str, status: int) -> None:
        """Add one answer to a request for ``target``."""
        # Called for every answer: no decoding; what is odd counts as other.
        first = target[1 : target.find("/", 1)]
        self._mine[_PLACES.get(first, _ELSE) + status // 100] += 1

    def text(self) -> str:
        """The sums of all workers, as Prometheus reads them."""
        answers = Family(
            "sluice_http_answers_total",
            "counter",
            "Answers of all workers since the server was started, by format and status.",
        )
        for name in _KINDS:
            for status in range(2, 6):
                each = self._all[_PLACES[name] + status :: _COUNTS]
                answers.add(sum(each), format=name, status=f"{status}xx")
        return render([answers])
