"""A bandwidth limit that all connections of one repository share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Throttle:
    """Token bucket of one second. ``rate`` is bytes a second; None does not limit."""

    def __init__(
        self,
        rate: int | None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._pause = pause
        self._guard = threading.Lock()
        self._free_at = clock()

    @property
    def block(self) -> int:
        """How much to read at once, in bytes: small enough to keep the rate even."""
        return 256 << 10 if self._rate is None else max(1024, min(256 << 10, self._rate // 4))

    def spend(self, size: int) -> None:
        """Wait as long as ``size`` bytes that were just read must last."""
        if self._rate is None:
            return
        with self._guard:
            now = self._clock()
            self._free_at = max(self._free_at, now - 1.0) + size / self._rate
            wait = self._free_at - now
        if wait > 0:
            self._pause(wait)
