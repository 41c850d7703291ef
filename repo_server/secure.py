"""TLS between a connection and its socket: what ``Connection`` writes to instead of a socket.

asyncio's own TLS keeps two buffers whose size nobody outside learns, drops what is written
after the client closed its half, and counts no connection before its handshake has ended.
Here nothing waits but in the socket's transport, whose pauses reach the connection unchanged.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Protocol

_HANDSHAKE = 0x16
"""First byte of a TLS connection: ContentType handshake (RFC 8446, section 5.1)."""
_TURN = 256 << 10


class Greetings(Protocol):
    """Those who shake hands; see ``connection.Connections``."""

    context: ssl.SSLContext | None
    greeting: dict[Secure, float]

    def greet(self, line: Secure) -> None: ...


class Secure(asyncio.Transport, asyncio.Protocol):
    """A transport for ``inner``, and the protocol of the transport below.

    ``inner`` learns of the connection when the handshake is done. ``refusal`` is what a client
    gets that speaks something else.
    """

    def __init__(
        self, all_of_them: Greetings, inner: Callable[[], asyncio.Protocol], refusal: bytes
    ) -> None:
        super().__init__()
        assert all_of_them.context is not None
        self._all = all_of_them
        self._make_inner = inner
        self._inner: asyncio.Protocol | None = None
        self._refusal = refusal
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = all_of_them.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._below: asyncio.Transport | None = None
        self._begun = False
        self._over = False

    # --- the protocol of the transport below ----------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._below = transport
        self._all.greet(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._all.greeting.pop(self, None)
        self._over = True
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._inner = self._below = None

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def eof_received(self) -> bool:
        return bool(self._inner.eof_received()) if self._inner is not None else False

    def data_received(self, data: bytes) -> None:
        if not self._begun:
            self._begun = True
            if data[0] != _HANDSHAKE:
                self._turn_away()
                return
        if self._over:
            return
        self._incoming.write(data)
        try:
            if self._inner is None and not self._shake_hands():
                return
            self._read()
        except ssl.SSLError:
            self._fail()

    def _turn_away(self) -> None:
        """Plain HTTP, or noise."""
        assert self._below is not None
        self._over = True
        self._below.write(self._refusal)
        self._below.close()

    def _shake_hands(self) -> bool:
        """Go on with the handshake; whether it is done. Raises ssl.SSLError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return False
        self._flush()
        self._all.greeting.pop(self, None)
        self._inner = self._make_inner()
        self._inner.connection_made(self)
        return not self._over

    def _read(self) -> None:
        """Hand on what came. Raises ssl.SSLError."""
        assert self._inner is not None
        blocks = []
        ended = False
        try:
            while not ended:
                block = self._tls.read(_TURN)
                blocks.append(block)
                ended = not block
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        self._flush()
        if data := b"".join(blocks):
            self._inner.data_received(data)
        if ended and self._inner is not None and not self._inner.eof_received():
            self.close()

    def _fail(self) -> None:
        """What came is not TLS as we speak it: say so (an alert), and end."""
        assert self._below is not None
        self._over = True
        self._flush()
        self._below.close()

    def _flush(self) -> None:
        if self._below is not None and self._outgoing.pending:
            self._below.write(self._outgoing.read())

    # --- the transport of ``inner`` -------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._over or not data:
            return
        try:
            self._tls.write(data)
        except ssl.SSLError:
            self.abort()
            return
        self._flush()

    def _say_goodbye(self) -> None:
        """close_notify (RFC 8446, section 6.1): what comes after it is not from us."""
        if not self._over:
            self._over = True
            with contextlib.suppress(ssl.SSLError):  # it waits for the other's, we do not
                self._tls.unwrap()
            self._flush()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self._say_goodbye()
        if self._below is not None:
            self._below.write_eof()

    def close(self) -> None:
        self._say_goodbye()
        if self._below is not None:
            self._below.close()

    def abort(self) -> None:
        self._over = True
        if self._below is not None:
            self._below.abort()

    def is_closing(self) -> bool:
        return self._below is None or self._below.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "ssl_object":
            return self._tls
        return default if self._below is None else self._below.get_extra_info(name, default)

    def pause_reading(self) -> None:
        if self._below is not None:
            self._below.pause_reading()

    def resume_reading(self) -> None:
        if self._below is not None:
            self._below.resume_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._below is not None:
            self._below.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return 0 if self._below is None else self._below.get_write_buffer_size()
