"""Notices that the server's certificate was renewed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

from manifests.errors import ConfigError
from manifests.zone.served import ServerTls
from repo_server.pair import Pair, read_pair, warnings

_EVERY = 1.0
_SETTLE = 3.0
"""Seconds: certificate and key are replaced one after the other, so that a pair that does not
fit is worth a word only when it has not changed for so long."""

Seen = tuple[object, ...]


class Renewal:
    """Watches the two files. ``report`` gets one line for a person."""

    def __init__(
        self,
        files: ServerTls,
        external_url: str | None,
        report: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Reads the pair. Raises ConfigError."""
        self._files = files
        self._external_url = external_url
        self._report = report
        self._clock = clock
        self._seen = self._look()
        self._broken_since: float | None = None
        self._next = clock() + _EVERY
        self.pair = read_pair(files)
        """What the server shows."""
        self._warn()

    def poll(self, *, at_once: bool = False) -> Pair | None:
        """The new pair, if there is one. ``at_once``: a person asked for it, so say how it went.

        A broken pair is reported once, and the old one stays.
        """
        now = self._clock()
        if now < self._next and not at_once:
            return None
        self._next = now + _EVERY
        seen = self._look()
        changed = seen != self._seen
        self._seen = seen
        if changed:
            self._broken_since = now
        elif self._broken_since is None and not at_once:
            return None
        try:
            fresh = read_pair(self._files)
        except ConfigError as error:
            settled = self._broken_since is not None and now - self._broken_since >= _SETTLE
            if at_once or settled:
                self._broken_since = None
                self._report(f"the certificate stays the old one: {error}; {error.remedy}")
            return None
        self._broken_since = None
        if fresh == self.pair and not at_once:
            return None
        self.pair = fresh
        until = f"{fresh.leaf().not_valid_after_utc:%Y-%m-%d}"
        self._report(f"the certificate was read again, it is valid until {until}")
        self._warn()
        return fresh

    def _warn(self) -> None:
        for line in warnings(self._files, self.pair, self._external_url, datetime.now(UTC)):
            self._report(line)

    def _look(self) -> Seen:
        """What changes when a file is written, replaced, or a link to it is switched."""
        found: list[object] = []
        for path in (self._files.cert, self._files.key):
            try:
                status = path.stat()
            except OSError as error:
                found.append(error.errno)
            else:
                found.append(
                    (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns,
                     status.st_ctime_ns)
                )  # fmt: skip
        return tuple(found)
