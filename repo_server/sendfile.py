"""Bodies from files: to sockets without passing through this process, or in blocks for TLS."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from pathlib import Path

from manifests.errors import BlobDamaged
from repo_server.ready import Span
from store.layout import open_regular

#: Bytes for one call, so that one fast client does not keep the others waiting.
_TURN = 2 << 20
_BLOCK = 64 << 10


def open_file(body: object) -> int | None:
    """The descriptor of a body that is a file. Raises StoreError, OSError."""
    if not isinstance(body, Span):
        return None
    fd, size = open_regular(Path(body.path))
    if size != body.size:
        os.close(fd)
        raise BlobDamaged(
            f"the blob has {size} bytes, not {body.size}",
            where=body.path,
            remedy="run `sluice verify --repair`",
        )
    return fd


async def blocks_of(fd: int, offset: int, count: int) -> AsyncIterator[bytes]:
    """A part of an open file, for a transport that must see the bytes.

    Raises ConnectionAbortedError when the file ends early.
    """
    end, turn = offset + count, 0
    while offset < end:
        block = os.pread(fd, min(_BLOCK, end - offset), offset)
        if not block:
            raise ConnectionAbortedError("the file ended early")
        offset += len(block)
        turn += len(block)
        yield block
        if turn >= _TURN:
            turn = 0
            await asyncio.sleep(0)


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
