"""Wants on their way from the server into the ledger.

The server's parent process hands over what was missed; a thread writes it down in batches, so
that no answer and no worker ever waits for the ledger. Where the ledger cannot be written,
wants are counted in memory, and what they are is said when the server ends.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from manifests.errors import SluiceError, StoreError
from manifests.wants import escaped, ignored, is_want
from repo_server import Miss
from sluice.text import plural
from store.ledger import Ledger

MOST = 10_000
"""Different wants that wait in memory."""
_PAUSE = 5.0
_LONGEST_PAUSE = 300.0
_SHOWN = 20

Say = Callable[[str], None]


class Notebook:
    """Takes misses from any thread; ``close`` writes what is left.

    ``open_ledger`` opens the ledger for writing, or is None where that cannot be: then
    wants stay in memory. ``ignore`` are globs of what is never noted. The first miss is written
    at once; ``pause`` is the time between two batches, in seconds, and grows while writing fails.
    """

    def __init__(
        self,
        open_ledger: Callable[[], Ledger] | None,
        ignore: Iterable[str],
        *,
        pause: float = _PAUSE,
        say: Say | None = None,
    ) -> None:
        self._open = open_ledger
        self._ignore = tuple(ignore)
        self._pause = pause
        self._say = say or _say
        self._waiting: Counter[tuple[str, str]] = Counter()
        self._lost = 0
        self._guard = threading.Lock()
        self._stop = threading.Event()
        self._fresh = threading.Event()
        self._ledger: Ledger | None = None
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="wants", daemon=True)
        if open_ledger is not None:
            self._thread.start()

    def note(self, rows: Sequence[tuple[Miss, int]]) -> None:
        """Take what was missed; returns at once."""
        for miss, times in rows:
            if is_want(miss.want) and not ignored(miss.want, self._ignore):
                self._count((miss.repository, miss.want), times)
        self._fresh.set()

    def _count(self, want: tuple[str, str], times: int) -> None:
        with self._guard:
            if want in self._waiting or len(self._waiting) < MOST:
                self._waiting[want] += times
            else:
                self._lost += times

    def close(self) -> None:
        """Write what is left, or say it."""
        self._stop.set()
        self._fresh.set()
        if self._open is not None:
            self._thread.join()
            self._write()
        if self._ledger is not None:
            self._ledger.close()
        if self._waiting:
            self._tell()

    def _run(self) -> None:
        pause = self._pause
        while self._fresh.wait():
            # Cleared before it is asked: `close` sets first the one, then the other.
            self._fresh.clear()
            if self._stop.is_set():
                return
            if self._write():
                pause = self._pause
            else:
                pause = min(2 * pause, _LONGEST_PAUSE)
                self._fresh.set()
            self._stop.wait(pause)

    def _write(self) -> bool:
        """Write one batch; whether it worked. What could not be written waits on."""
        with self._guard:
            batch, self._waiting = self._waiting, Counter()
            lost, self._lost = self._lost, 0
        if not batch:
            return True
        try:
            gone = self._add(batch)
        except (SluiceError, OSError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._say(f"wants cannot be written down now: {error}")
            with self._guard:
                self._lost += lost
            for want, times in batch.items():
                self._count(want, times)
            return False
        self._trouble = ""
        if lost:
            self._say(f"{plural(lost, 'miss', 'misses')} were too many to be noted")
        if gone:
            self._say(
                f"the list of wants is full: {plural(gone, 'want')} asked for least went;"
                " see `sluice wants`, then `sluice wants forget`"
            )
        return True

    def _add(self, batch: Counter[tuple[str, str]]) -> int:
        assert self._open is not None
        if self._ledger is None:
            self._ledger = self._open()
        with self._ledger.write("serve") as tx:
            return tx.add_wants((repository, what, n) for (repository, what), n in batch.items())

    def _tell(self) -> None:
        more = f" and {self._lost} misses more" if self._lost else ""
        wants = plural(len(self._waiting), "want")
        self._say(f"{wants}{more} could not be written down, among them:")
        for (repository, what), times in self._waiting.most_common(_SHOWN):
            self._say(f"  {repository} {escaped(what)} ({times})")


def _say(line: str) -> None:
    sys.stderr.write(f"sluice serve: {line}\n")
    sys.stderr.flush()


def is_read_only(error: SluiceError | OSError) -> bool:
    """Whether opening a store failed only because nothing may be written there."""
    if isinstance(error, PermissionError):
        return True
    words = ("read-only", "readonly", "unable to open database file", "permission denied")
    return type(error) is StoreError and any(word in str(error).lower() for word in words)
