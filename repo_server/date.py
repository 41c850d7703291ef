"""The Date header (RFC 9110, section 6.6.1)."""

from __future__ import annotations

import time
from email.utils import formatdate


class Date:
    """The Date line, made once a second."""

    def __init__(self) -> None:
        self._second = 0
        self._line = b""

    def line(self) -> bytes:
        now = int(time.time())
        if now != self._second:
            self._second = now
            self._line = f"Date: {formatdate(now, usegmt=True)}\r\n".encode("ascii")
        return self._line
