"""One connection of HTTP/1.1 (RFC 9112): aiohttp's parser, and as little as possible around it.

aiohttp's own server makes two tasks and several objects for each request, which costs more
than everything else that we do; here a request whose answer is at hand makes none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
import time
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpProcessingError, HttpRequestParser, HttpVersion11, RawRequestMessage
from multidict import CIMultiDictProxy

from manifests.errors import SluiceError
from repo_server.log import log_access, report
from repo_server.ready import Reply, Span, text_reply
from repo_server.secure import Secure
from repo_server.sendfile import SendFile, blocks_of, open_file
from repo_server.settings import Limits
from repo_server.tally import Tally

if TYPE_CHECKING:
    from repo_server.connections import Connections

_LINGER = 2.0
_NO_LINGER = struct.pack("ii", 1, 0)
_BODY_LIMIT = 1 << 20


@dataclass(frozen=True, slots=True)
class Call:
    """One request. ``target`` is as the client sent it; ``peer`` is the client's address;
    ``place`` is the repository whose own address it came to, empty for that of all."""

    method: str
    target: str
    headers: CIMultiDictProxy[str]
    peer: str
    local: tuple[str, int]
    place: str = ""


class Service(Protocol):
    """What answers."""

    @property
    def limits(self) -> Limits: ...
    @property
    def access_log(self) -> bool: ...
    @property
    def tally(self) -> Tally: ...
    def quick(
        self, message: RawRequestMessage, peer: str, place: str
    ) -> tuple[bytes, bytes] | None:
        """Head (without Date) and body of a GET, if they are at hand; else None."""

    async def answer(self, call: Call) -> Reply: ...


class Connection(BaseProtocol):
    """Reads requests, answers them in order, and keeps clients to their limits."""

    def __init__(self, all_of_them: Connections, place: str) -> None:
        loop = asyncio.get_running_loop()
        limits = all_of_them.service.limits
        parser = HttpRequestParser(
            self,
            loop,
            _BODY_LIMIT,
            max_line_size=limits.line,
            max_field_size=limits.line,
            max_headers=limits.headers,
            auto_decompress=False,
        )
        super().__init__(loop, parser)
        self._feed = parser.feed_data
        self._all = all_of_them
        self._place = place
        self._service = all_of_them.service
        self._limits = limits
        self._waiting: deque[RawRequestMessage] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._peer = ""
        self._local = ("", 0)
        self.deadline = time.monotonic() + limits.idle
        """When it is closed unless something happens, by the monotonic clock."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        local = transport.get_extra_info("sockname")
        self._peer = str(peer[0]) if peer else ""
        self._local = (str(local[0]), int(local[1])) if local else ("", 0)
        # A write that is not taken at once pauses us, so that nothing piles up.
        transport.set_write_buffer_limits(high=0)
        if self._all.stopping or len(self._all.open) >= self._limits.connections:
            transport.write(
                b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\n"
                b"Content-Length: 0\r\nConnection: close\r\n\r\n"
            )
            transport.close()
            self._closing = True
            return
        self._all.open.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._closing = True
        self._all.open.discard(self)
        self._waiting.clear()
        super().connection_lost(exc)

    def eof_received(self) -> bool:
        """A client may close its half and still take the answer."""
        if self._task is None and not self._paused:
            return False
        self._closing = True
        return True

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return  # a body that nobody asked for
        try:
            messages, upgraded, _ = self._feed(data)
        except HttpProcessingError:
            self._refuse()
            return
        for message, payload in messages:
            self._waiting.append(message)
            # Bodies and other protocols are not read: answer, then close.
            if upgraded or message.upgrade or not payload.is_eof():
                self._closing = True
                break
        self._work()

    def pause_writing(self) -> None:
        """Who takes no answers may ask nothing more."""
        super().pause_writing()
        if self._task is None and self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._task is None and self.transport is not None:
            self.transport.resume_reading()
            self._idle()
            self._work()

    def stop(self) -> None:
        """Close now if idle, else after the answer that is on its way."""
        self._waiting.clear()
        self._closing = True
        if self._task is None and not self._paused and self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close now; the client sees that something is missing, if something is."""
        if self._task is not None:
            self._task.cancel()
        elif not self._paused and self.transport is not None:
            self.transport.close()
            return
        self._reset()

    def _reset(self) -> None:
        """End the connection; what the kernel still holds for the client is dropped."""
        if self.transport is not None:
            line = self.transport.get_extra_info("socket")
            with contextlib.suppress(OSError):
                line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            self.transport.abort()

    # --- answering ------------------------------------------------------------

    def _work(self) -> None:
        """Answer what waits, as far as it goes without waiting; then close if that was all."""
        transport = self.transport
        while self._waiting and self._task is None and not self._paused and transport:
            message = self._waiting.popleft()
            end = (self._closing and not self._waiting) or message.should_close
            if message.version < HttpVersion11:
                end = True
            quick = None if end else self._service.quick(message, self._peer, self._place)
            if quick is not None:
                head, body = quick
                self._service.tally.count(message.path, 200)
                transport.write(b"%b%b\r\n%b" % (head, self._all.date.line(), body))
                self._idle()
                continue
            self._closing = self._closing or end
            if end:
                self._waiting.clear()
            self.deadline = float("inf")  # while the answer is made; sending has its own limit
            transport.pause_reading()
            self._task = self._loop.create_task(self._answer(message, end))
            return
        if self._closing and self._task is None and not self._paused:
            self._close()

    def _idle(self) -> None:
        wait = self._limits.stall if self._paused else self._limits.idle
        self.deadline = time.monotonic() + wait

    async def _answer(self, message: RawRequestMessage, end: bool) -> None:
        call = Call(
            message.method, message.path, message.headers, self._peer, self._local, self._place
        )
        began = time.monotonic()
        file: int | None = None
        reply: Reply | None = None
        complete = False
        try:
            try:
                reply = await self._service.answer(call)
                file = open_file(reply.body)
            except (SluiceError, OSError) as error:
                reply = _failed(call, str(error))
            except Exception as error:  # noqa: BLE001 - one bad request must not end the worker
                reply = _failed(call, f"{type(error).__name__}: {error}")
            self._service.tally.count(call.target, reply.status)
            end = await self._send(reply, file, end or reply.close or self._all.stopping, message)
            complete = True
        except (OSError, TimeoutError):
            end = True  # the client is gone, or takes nothing
        except SluiceError as error:
            report(str(error), target=call.target)
            end = True
        finally:
            if file is not None:
                os.close(file)
            self._task = None
            if self._service.access_log and reply is not None:
                _log(call, reply, time.monotonic() - began, complete)
            self._after(end, complete)

    def _after(self, end: bool, complete: bool) -> None:
        transport = self.transport
        if transport is None:
            return
        if not complete:
            self._reset()
            return
        self._idle()
        if end:
            self._closing = True
            self._waiting.clear()
            if not self._paused:
                self._close()
            return
        if not self._paused:
            transport.resume_reading()
        self._work()

    async def _send(
        self, reply: Reply, file: int | None, end: bool, message: RawRequestMessage
    ) -> bool:
        """Send it; whether the connection ends with it."""
        transport = self.transport
        if transport is None:
            raise ConnectionResetError
        chunked = reply.length is None and message.version >= HttpVersion11
        end = end or (reply.length is None and not chunked)
        head = b"%b%b%b%b\r\n" % (
            reply.head,
            self._all.date.line(),
            b"Connection: close\r\n" if end else b"",
            b"Transfer-Encoding: chunked\r\n" if chunked else b"",
        )
        body = reply.body
        if isinstance(body, bytes):
            transport.write(head + body)
            await self._drained()
        elif isinstance(body, Span):
            assert file is not None
            transport.write(head)
            await self._drained()
            peer: socket.socket = transport.get_extra_info("socket")
            if isinstance(transport, Secure):
                blocks = blocks_of(file, body.offset, body.count)
                await self._send_chunks(transport, b"", blocks, chunked=False)
            elif body.count:
                await SendFile(peer, file, body.offset, body.count).run(self._limits.stall)
        else:
            await self._send_chunks(transport, head, body, chunked)
        return end

    async def _send_chunks(
        self, transport: asyncio.Transport, head: bytes, body: AsyncIterator[bytes], chunked: bool
    ) -> None:
        transport.write(head)
        async for block in body:
            await self._drained()
            if not block:
                continue
            transport.write(b"%x\r\n%b\r\n" % (len(block), block) if chunked else block)
        if chunked:
            transport.write(b"0\r\n\r\n")
        await self._drained()

    async def _drained(self) -> None:
        """Wait until all is in the socket. Raises TimeoutError: it takes nothing for too long."""
        while True:
            transport = self.transport
            if transport is None or transport.is_closing():
                raise ConnectionResetError
            if not self._paused:
                return
            left = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(self._limits.stall):
                    await self._drain_helper()
            except TimeoutError:
                if transport.get_write_buffer_size() >= left:
                    raise

    def _refuse(self) -> None:
        """Answer bytes that are no request, after what was asked before them."""
        self._closing = True
        if self._task is None and self.transport is not None:
            reply = text_reply(400, "This is not a request of HTTP/1.1 that can be answered.")
            head = reply.head + self._all.date.line() + b"Connection: close\r\n\r\n"
            assert isinstance(reply.body, bytes)
            self.transport.write(head + reply.body)
            self._close()

    def _close(self) -> None:
        """Close our half, and all of it soon, so that a client that still sends reads the end."""
        transport = self.transport
        if transport is None or transport.is_closing():
            return
        self._closing = True
        self.deadline = min(self.deadline, time.monotonic() + _LINGER)
        if transport.can_write_eof() and transport.get_write_buffer_size() == 0:
            try:
                transport.write_eof()
                transport.resume_reading()
            except (OSError, RuntimeError):
                transport.close()
        else:
            transport.close()


def _failed(call: Call, what: str) -> Reply:
    report(what, target=call.target)
    text = "The server has a problem; its log says which."
    return text_reply(500, text, head_only=call.method == "HEAD")


def _log(call: Call, reply: Reply, seconds: float, complete: bool) -> None:
    log_access(
        {
            "client": call.peer,
            "method": call.method,
            "target": call.target,
            "status": reply.status,
            "bytes": reply.length,
            "seconds": round(seconds, 6),
            "complete": complete,
            "agent": call.headers.get("User-Agent", ""),
        }
    )
