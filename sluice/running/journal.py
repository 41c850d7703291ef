"""Telling the service manager: log lines, and how the service is.

Under systemd each line goes to the journal with its fields (systemd's native journal
protocol, ``systemd.journal-fields(7)``); elsewhere it is a line on standard output.
``Manager`` speaks ``sd_notify(3)``. Neither needs a library, and neither can fail the
zone: a journal that cannot be reached costs a field, not a duty.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from manifests.state import format_time

_SOCKET = "/run/systemd/journal/socket"
_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3}
_LONGEST = 8192
_WHOLE = re.compile(r"[0-9]{1,18}")


class Log:
    """Lines with fields; those below ``level`` are dropped."""

    def __init__(self, level: str = "info", environ: Mapping[str, str] = os.environ) -> None:
        self.level = level
        self._journal: socket.socket | None = None
        if "JOURNAL_STREAM" in environ:
            self._journal = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            self._journal.setblocking(False)

    def __call__(self, level: str, duty: str, text: str, **fields: str) -> None:
        """Say ``text`` about ``duty`` (empty: about the whole zone)."""
        if _PRIORITY[level] > _PRIORITY[self.level]:
            return
        text = "".join(c if c.isprintable() else "?" for c in text[:_LONGEST])
        line = f"{duty}: {text}" if duty else text
        if self._journal is not None and self._to_journal(level, duty, line, fields):
            return
        print(f"{format_time(datetime.now(UTC))} {level} {line}", flush=True)

    def _to_journal(self, level: str, duty: str, line: str, fields: Mapping[str, str]) -> bool:
        record = {
            "MESSAGE": line,
            "PRIORITY": str(_PRIORITY[level]),
            "SYSLOG_IDENTIFIER": "sluice",
            "SLUICE_DUTY": duty,
            **{f"SLUICE_{key.upper()}": value for key, value in fields.items()},
        }
        data = "".join(f"{key}={value}\n" for key, value in record.items() if value)
        assert self._journal is not None
        try:
            self._journal.sendto(data.encode("utf-8", "replace"), _SOCKET)
        except OSError:
            return False
        return True


class Manager:
    """The service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        microseconds = environ.get("WATCHDOG_USEC", "")
        here = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(microseconds) / 1e6 if here and _WHOLE.fullmatch(microseconds) else None
        """Seconds after which silence counts as death; None: nobody listens for it."""

    def ready(self, status: str) -> None:
        """All services are up."""
        self._say("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """The settings are read again; ``ready`` ends it."""
        microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._say("RELOADING=1", f"MONOTONIC_USEC={microseconds}")

    def stopping(self) -> None:
        """All duties are being stopped."""
        self._say("STOPPING=1", "STATUS=stopping")

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._say(f"STATUS={text}")

    def alive(self) -> None:
        """The watchdog is fed."""
        self._say("WATCHDOG=1")

    def _say(self, *lines: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A manager that does not listen must not stop the zone.
            sender.setblocking(False)
            try:
                sender.sendto("\n".join(lines).encode(), address)
            except BlockingIOError:
                return
            except OSError as error:
                print(f"sluice: the service manager cannot be told: {error}", file=sys.stderr)
