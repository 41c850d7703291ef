"""All connections of one worker: made, counted, kept to their time, and ended."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable

from repo_server.connection import Connection, Service
from repo_server.date import Date
from repo_server.ready import text_reply
from repo_server.secure import Secure

_PLAIN = "This port speaks HTTPS: write https:// in front of the address."


class Connections:
    """All connections of one worker; they begin with TLS where ``context`` is set."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.context: ssl.SSLContext | None = None
        """What new connections begin with; those that are open keep theirs."""
        self.date = Date()
        self.open: set[Connection] = set()
        self.greeting: dict[Secure, float] = {}
        """Handshakes that are not done, oldest first, and until when they must be."""
        self.stopping = False

    def at(self, place: str) -> Callable[[], asyncio.Protocol]:
        """What makes a protocol for a new connection to an address (see ``Call.place``)."""
        if self.context is None:
            return lambda: Connection(self, place)
        reply = text_reply(400, _PLAIN)
        assert isinstance(reply.body, bytes)
        head, body = reply.head, reply.body
        return lambda: Secure(
            self,
            lambda: Connection(self, place),
            b"%b%bConnection: close\r\n\r\n%b" % (head, self.date.line(), body),
        )

    def greet(self, line: Secure) -> None:
        """Note who began a handshake. Where too many do so at once the oldest has to go: an
        honest one is done within milliseconds."""
        limits = self.service.limits
        if len(self.greeting) >= limits.handshakes:
            oldest = next(iter(self.greeting))
            del self.greeting[oldest]
            oldest.abort()
        self.greeting[line] = time.monotonic() + limits.handshake

    async def watch(self) -> None:
        """Close those that are late, for ever."""
        while True:
            await asyncio.sleep(1.0)
            now = time.monotonic()
            for connection in [each for each in self.open if each.deadline < now]:
                connection.abort()
            for line in [each for each, until in self.greeting.items() if until < now]:
                line.abort()

    async def stop(self, seconds: float) -> None:
        """Close idle connections at once and the others after their answer, or ``seconds``."""
        self.stopping = True
        for line in list(self.greeting):
            line.abort()
        for connection in list(self.open):
            connection.stop()
        until = time.monotonic() + seconds
        while self.open and time.monotonic() < until:
            await asyncio.sleep(0.02)
        for connection in list(self.open):
            connection.abort()
