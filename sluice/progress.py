"""Progress of long work: first how much it is, then a line that moves on a terminal."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from manifests.units import format_bytes

_INTERVAL = 0.2  # seconds between two updates of the line


class Progress:
    """Counts items and bytes of one piece of work.

    ``total_bytes`` and ``total_items`` of 0 mean: not known. As soon as the total is
    known it is said once, in a line of its own, as "``what``: 1.5 GiB ``verb``". After
    that only a terminal sees more, so that logs and pipes stay readable.
    """

    def __init__(self, what: str, verb: str = "to do", stream: TextIO | None = None) -> None:
        self._what = what
        self._verb = verb
        self._said = False
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._shown = 0.0
        self._width = 0
        self.items = 0
        self.bytes = 0
        self.total_items = 0
        self.total_bytes = 0

    def expect(self, items: int = 0, size: int = 0) -> None:
        """Say how much is to come."""
        self.total_items += items
        self.total_bytes += size
        self._say()

    def advance(self, items: int = 0, size: int = 0) -> None:
        """Count what was done and redraw now and then."""
        self.items += items
        self.bytes += size
        if not self._live:
            return
        now = time.monotonic()
        if now - self._shown >= _INTERVAL:
            self._shown = now
            self._draw()

    def at(self, done: int, total: int) -> None:
        """Say how many bytes are done, and of how many."""
        self.total_bytes = total
        self._say()
        self.advance(size=done - self.bytes)

    def reach(self, items: int, size: int) -> None:
        """Say how many items and bytes are done by now."""
        self.advance(items - self.items, size - self.bytes)

    def _say(self) -> None:
        if not self._said and self.total_bytes:
            self._said = True
            print(f"{self._what}: {format_bytes(self.total_bytes)} {self._verb}", flush=True)

    def _draw(self) -> None:
        parts = []
        if self.items:
            parts.append(f"{self.items}" + (f"/{self.total_items}" if self.total_items else ""))
        if self.bytes:
            parts.append(
                format_bytes(self.bytes)
                + (f" of {format_bytes(self.total_bytes)}" if self.total_bytes else "")
            )
            if self.total_bytes:
                parts.append(f"{min(100, 100 * self.bytes // self.total_bytes)} %")
        line = f"{self._what}: {', '.join(parts)}" if parts else self._what
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def done(self) -> None:
        """Take the line away, so that what follows starts clean."""
        if self._live and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
            self._width = 0
