"""Bodies from files to sockets without passing through this process."""

from __future__ import annotations

import asyncio
import os
import socket

#: Bytes for one call, so that one fast client does not keep the others waiting.
_TURN = 2 << 20


class SendFile:
    """Sends a part of an open file. The socket's own transport must have nothing left to send.

    A descriptor of its own is waited on, since the event loop does not share the transport's.
    """

    def __init__(self, peer: socket.socket, fd: int, offset: int, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._out = os.dup(peer.fileno())
        self._fd = fd
        self._offset = offset
        self._left = count
        self._done: asyncio.Future[None] = self._loop.create_future()

    async def run(self, stall: float) -> None:
        """Send it all. Raises ConnectionError when the client is gone or takes nothing for
        ``stall`` seconds, or when the file ends early."""
        try:
            self._turn()
            if self._done.done():
                return self._done.result()
            self._loop.add_writer(self._out, self._turn)
            while not self._done.done():
                before = self._left
                await asyncio.wait([self._done], timeout=stall)
                if self._left == before and not self._done.done():
                    raise ConnectionAbortedError("the client takes nothing")
            return self._done.result()
        finally:
            self._loop.remove_writer(self._out)
            os.close(self._out)

    def _turn(self) -> None:
        if self._done.done():
            return
        try:
            sent = os.sendfile(self._out, self._fd, self._offset, min(self._left, _TURN))
        except BlockingIOError:
            return
        except OSError as error:
            self._loop.remove_writer(self._out)
            problem = error if isinstance(error, ConnectionError) else ConnectionAbortedError()
            self._done.set_exception(problem)
            return
        if sent == 0 and self._left:
            self._loop.remove_writer(self._out)
            self._done.set_exception(ConnectionAbortedError("the file ended early"))
            return
        self._offset += sent
        self._left -= sent
        if not self._left:
            self._done.set_result(None)
