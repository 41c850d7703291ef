"""A command stopped at many places, each time from the same start: what must hold each time.

The code is the documented one, nothing false and no traceback is said, nothing temporary
stays, and the same command given again ends as one that nobody disturbed.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.support.drive import ROOT, Zone
from tests.support.forker import Ended, Forker
from tests.support.places import Place

CODES = {signal.SIGTERM: 143, signal.SIGINT: 130}
WORDS = {
    signal.SIGTERM: [],
    signal.SIGINT: ["stopped; run the same command again to go on"],
}
_PATIENCE = 60.0
_CHANCE = re.compile(r"^[0-9a-f]{2}$|[0-9a-f]{6,}|[0-9]{2,}|(?<=[._-])\w{8}$")
"""What differs between two runs of the same: digests, numbers of processes, chance."""


@dataclass(frozen=True)
class Trial:
    """One stop: at which place, at the how-manieth time that it is passed, by what."""

    place: Place
    turn: int
    by: signal.Signals

    def __str__(self) -> str:
        file, name, offset, event = self.place
        return f"{self.by.name} at {Path(file).name}: {name}+{offset} ({event}), {self.turn}"


class Sweep:
    """One command on one zone, which ``state`` is asked about after each end of it.

    ``kept`` are further folders that are put back before each stop. ``code`` is how the
    command ends when nobody disturbs it.
    """

    def __init__(
        self,
        forker: Forker,
        zone: Zone,
        *words: object,
        state: Callable[[], object],
        kept: tuple[Path, ...] = (),
        code: int = 0,
    ) -> None:
        self._forker = forker
        self._words = ("-z", zone.folder, *words)
        self._zone = zone
        self._state = state
        self._kept = {path: path.with_name(f"{path.name}-before") for path in (zone.folder, *kept)}
        self._code = code
        for path, copy in self._kept.items():
            _copy(path, copy)
        ended, self.places = forker.places(*self._words)
        assert ended.code == code, ended
        self._said = Counter(_lines(ended))
        self._wanted = state()
        self._files = self._kept_in_the_end()
        self.codes: Counter[int | None] = Counter()

    def trials(self, count: int, seed: int, *, ours: float = 0.75) -> list[Trial]:
        """Places by chance, each at most once; of ``ours`` as many as that share."""
        chance = random.Random(seed)
        own = [one for one in self.places if one[0][0].startswith(str(ROOT))]
        other = [one for one in self.places if not one[0][0].startswith(str(ROOT))]
        first = min(len(own), round(count * ours))
        chosen = chance.sample(own, first)
        chosen += chance.sample(other, min(len(other), count - first))
        return [
            Trial(place, chance.choice([1, passed]), chance.choice(list(CODES)))
            for place, passed in chosen
        ]

    def stop(self, trial: Trial) -> Ended:
        """Stop the command there, and give it again. AssertionError with what was wrong."""
        try:
            return self._stop(trial)
        except AssertionError as error:
            error.add_note(f"trial: {trial}")
            raise

    def _stop(self, trial: Trial) -> Ended:
        for path, copy in self._kept.items():
            _copy(copy, path)
        ended = self._forker.run(*self._words, by=trial.by, place=(trial.place, trial.turn))
        self.codes[ended.code if ended.reached else None] += 1
        # Before the handlers stand it is the system that ends it; in the last moments, and in
        # what Python runs unheard, a stop may come too late.
        assert ended.code in (CODES[trial.by], -trial.by, self._code), ended
        err = ended.err.splitlines()
        if ended.code == CODES[trial.by]:
            assert ended.reached, ended
            new = [line for line in err if line not in self._said]
            assert new == WORDS[trial.by] or not _lines(ended), ended
        said = Counter(line for line in _lines(ended) if line not in WORDS[trial.by])
        assert said <= self._said, ended
        until = time.monotonic() + _PATIENCE
        while True:
            again = self._forker.run(*self._words)
            # Its rsync was told, too, and holds the work copy until it has gone.
            if "wait until it has ended" not in again.err or time.monotonic() > until:
                break
            time.sleep(0.05)
        assert again.code == self._code, (ended, again)
        assert self._state() == self._wanted, (ended, again)
        files = self._kept_in_the_end()
        assert files == self._files, (files - self._files, self._files - files, ended, again)
        return ended

    def _kept_in_the_end(self) -> Counter[str]:
        """The zone's files, but for blobs that nothing needs any more."""
        self._zone.sluice("gc")
        return _listing(self._zone.folder)


def _lines(ended: Ended) -> list[str]:
    return ended.out.splitlines() + ended.err.splitlines()


def _listing(folder: Path) -> Counter[str]:
    """How many files of which kind lie where, whatever their digests are.

    The mark of a work copy that may be written is one file, made anew before the next write.
    """
    return Counter(
        "/".join(_CHANCE.sub("*", part) for part in path.relative_to(folder).parts)
        for path in folder.rglob("*")
        if path.is_file() and not re.search(r"\.sqlite-(wal|shm)$|/work/[^/]+/open$", str(path))
    )


def _copy(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    subprocess.run(["cp", "-a", source, target], check=True)  # with hard links, as they are
