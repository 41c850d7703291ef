"""The sending half: opens a connection, sends parts as frames, and reads nothing.

What the kernel took is not what arrived: a relay may acknowledge bytes and lose them. So
a part counts as sent once every byte of it was acknowledged by whoever holds the other end
of the connection, and when the connection breaks later, the last parts are sent again
together with the one that was under way. The other side throws away what it has twice.
What is lost without a break, the next bundle tells the inside.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import select
import socket
import struct
import termios
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from blake3 import blake3

from cds.base import Outstanding, Sent, check_name
from cds.outbox import open_part
from cds.tcp.frames import MAX_BODY, TRANSFER, Kind, digest, frame, header
from cds.tcp.pinning import Pinned
from manifests import errors
from manifests.zone import TcpSending

FRAME = MAX_BODY
"""Bytes of a part in one frame; less on a slow link, so that one takes a second at most."""

_SMALLEST = 4 << 10
_MOST_KEPT = 256
_BREAKS = 10
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0
_FAREWELL = 1.0
_ALIVE = 10.0


@dataclass(slots=True)
class _Part:
    name: str
    file: io.FileIO
    """Kept open, so that it can be sent again when its file is gone. Not a bare descriptor:
    closing it twice is no error, wherever a signal comes between."""
    size: int
    transfer: bytes


class _BrokenError(Exception):
    """The connection is of no use any more."""


class Pace:
    """Holds a sender back to ``rate`` bytes a second (None: not at all)."""

    def __init__(
        self,
        rate: int | None,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._pause = pause
        self._free = 0.0

    def take(self, count: int) -> None:
        """Wait until ``count`` bytes more may go."""
        if self._rate is None:
            return
        now = self._clock()
        self._free = max(self._free, now)
        if self._free > now:
            self._pause(self._free - now)
        self._free += count / self._rate


class TcpOutlet:
    """The :class:`cds.base.Outlet` over a TCP connection. One thread calls it."""

    def __init__(self, settings: TcpSending) -> None:
        self._settings = settings
        self._tls = None if settings.tls is None else Pinned(settings.tls, server=False)
        self._pace = Pace(settings.rate)
        least = FRAME if settings.rate is None else min(FRAME, settings.rate)
        self._block = memoryview(bytearray(max(_SMALLEST, least)))
        self._connection: socket.socket | None = None
        self._doubtful: deque[_Part] = deque()
        # Parts of this connection that a break would put in doubt, oldest first.
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._alive: threading.Thread | None = None
        self._progress = 0.0
        self._given_up = False

    def offer(self, name: str, source: Path) -> Sent:
        """Send ``source`` as ``name``; see :class:`cds.base.Outlet`.

        Raises ``CarrierError`` when nothing went away for the time-out, ``PeerRefused``
        when the other side shows another certificate.
        """
        check_name(name)
        file = io.FileIO(open_part(source))
        part = _Part(name, file, os.fstat(file.fileno()).st_size, os.urandom(TRANSFER))
        try:
            self._deliver(part)
        except BaseException:
            file.close()
            raise
        return Sent(name, part.size)

    def outstanding(self) -> list[Outstanding]:
        """Nothing: what was sent is gone."""
        return []

    def expire(self, now: float, sent: Mapping[str, float]) -> list[str]:
        """Nothing lies out that could be withdrawn."""
        return []

    def in_doubt(self) -> list[str]:
        """Parts that went out before the connection broke, and not again after it."""
        return [part.name for part in self._doubtful] if self._given_up else []

    def close(self) -> None:
        """Say good-bye, and send again what a break put in doubt meanwhile.

        Raises ``CarrierError`` if that cannot be done: then the last parts are in doubt.
        """
        try:
            if self._given_up or (self._connection is not None and self._farewell()):
                return
            if self._doubtful:
                self._drop()
                self._deliver(None)
                self._farewell()
        finally:
            self._closed.set()
            self._drop()
            if not self._given_up:
                self._forget(0)
            for part in self._doubtful:
                part.file.close()
            if self._alive is not None:
                self._alive.join()

    # Delivering

    def _deliver(self, new: _Part | None) -> None:
        """Send ``new``, and before it what a broken connection put in doubt."""
        self._progress = time.monotonic()
        self._given_up = False
        waiting = [] if new is None else [new]
        breaks = 0
        try:
            while True:
                try:
                    if self._connection is None:
                        waiting[:0] = self._doubtful
                        self._doubtful.clear()
                        self._connect()
                    while waiting:
                        self._send(waiting[0])
                        self._doubtful.append(waiting.pop(0))
                    break
                except _BrokenError as exc:
                    self._drop()
                    breaks += 1
                    if breaks >= _BREAKS:
                        self._refuse(f"the connection broke {breaks} times, last: {exc}")
                    longest = min(_LONGEST_PAUSE, self._settings.timeout / 4)
                    time.sleep(min(_FIRST_PAUSE * 2 ** (breaks - 1), longest))
        except errors.SluiceError:
            self._given_up = self._connection is None
            self._doubtful.extend(part for part in waiting if part is not new)
            raise
        self._forget(self._settings.repeat)

    def _forget(self, bytes_kept: int) -> None:
        """Let go of parts that lie wholly before the last ``bytes_kept`` bytes."""
        total = sum(part.size for part in self._doubtful)
        while self._doubtful and (
            not bytes_kept
            or total - self._doubtful[0].size >= bytes_kept
            or len(self._doubtful) > _MOST_KEPT
        ):
            gone = self._doubtful.popleft()
            total -= gone.size
            gone.file.close()

    def _send(self, part: _Part) -> None:
        self._put(frame(Kind.BEGIN, part.transfer, part.size, part.name.encode("ascii")))
        digests = blake3()
        at = 0
        while at < part.size:
            count = os.preadv(part.file.fileno(), [self._block], at)
            if not count:
                raise errors.CarrierError(
                    f"the part ended at {at} of {part.size} bytes while it was sent",
                    where=part.name,
                    remedy="find out who writes in the spool, then send again",
                )
            body = self._block[: min(count, part.size - at)]
            found = digest(body)
            digests.update(found)
            self._put(header(Kind.DATA, part.transfer, at, body, found), body)
            at += len(body)
        self._put(frame(Kind.END, part.transfer, part.size, digests.digest()))
        self._drain()

    def _put(self, head: bytes, body: bytes | memoryview = b"") -> None:
        """Send a frame."""
        self._pace.take(len(head) + len(body))
        with self._lock:
            connection = self._connection
            if connection is None:
                raise _BrokenError("it broke while nothing was sent")
            try:
                # The other side wakes for the frame, not for its header; TLS knows no such flag.
                more = socket.MSG_MORE if body and self._tls is None else 0
                connection.sendall(head, more)
                connection.sendall(body)
            except OSError as exc:
                raise _BrokenError(exc.strerror or str(exc)) from exc
        self._progress = time.monotonic()

    def _drain(self) -> None:
        """Wait until all bytes were acknowledged at the other end of the connection."""
        pause = 0.0005
        while True:
            with self._lock:
                waiting = _unacknowledged(self._connection)
            if not waiting:
                self._progress = time.monotonic()
                return
            if time.monotonic() - self._progress > self._settings.timeout:
                raise _BrokenError("nothing was acknowledged")
            time.sleep(pause)
            pause = min(2 * pause, 0.02)

    # The connection

    def _connect(self) -> None:
        """Connect, with growing pauses. Raises ``CarrierError`` after the time-out."""
        pause = _FIRST_PAUSE
        while True:
            left = self._settings.timeout - (time.monotonic() - self._progress)
            try:
                connection = self._open(max(0.05, left))
            except OSError as exc:
                if left <= pause:
                    self._refuse(f"nobody takes the connection ({exc.strerror or exc})")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            with self._lock:
                self._connection = connection
            if self._alive is None:
                self._alive = threading.Thread(target=self._keep_alive, daemon=True)
                self._alive.start()
            return

    def _open(self, timeout: float) -> socket.socket:
        settings = self._settings
        connection = socket.create_connection((settings.host, settings.port), timeout)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(settings.timeout * 1000)
            )
            connection.settimeout(settings.timeout)
            if self._tls is not None:
                connection = secured = self._tls.wrap(connection)
                self._tls.shake_hands(secured)
            return connection
        except BaseException:
            connection.close()
            raise

    def _refuse(self, why: str) -> NoReturn:
        raise errors.CarrierError(
            why,
            where=f"{self._settings.host}:{self._settings.port}",
            remedy="see that `sluice receive` runs inside and that the relays are up, then send"
            " again: it goes on where it stopped",
        )

    def _drop(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def _farewell(self) -> bool:
        """End the connection; False if it broke. Waits a moment for the other side to end too.

        That the other side ends is no byte, and where it cannot be seen nothing depends on it.
        """
        connection = self._connection
        assert connection is not None
        try:
            # Who is gone acknowledges nothing more, but answers with a reset.
            self._put(frame(Kind.ALIVE))
            self._drain()
            connection.shutdown(socket.SHUT_WR)
        except (OSError, _BrokenError):
            return False
        watch = select.poll()
        watch.register(connection.fileno(), 0)  # only errors and hang-up
        events = watch.poll(_FAREWELL * 1000)
        broken = any(event & select.POLLERR for _, event in events)
        return not broken

    def _keep_alive(self) -> None:
        """Send something now and then, so that relays and the receiver keep the connection."""
        interval = min(_ALIVE, self._settings.timeout / 4)
        while not self._closed.wait(interval):
            if time.monotonic() - self._progress < interval:
                continue
            with self._lock:
                if self._connection is None:
                    continue
                try:
                    self._connection.sendall(frame(Kind.ALIVE))
                except OSError:
                    # The next part finds it gone, and repeats what is in doubt.
                    with contextlib.suppress(OSError):
                        self._connection.close()
                    self._connection = None


def _unacknowledged(connection: socket.socket | None) -> int:
    """Bytes that the other end has not acknowledged."""
    if connection is None:
        raise _BrokenError("it broke while nothing was sent")
    (count,) = struct.unpack("i", fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4)))
    if error := connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
        raise _BrokenError(os.strerror(error))
    return int(count)
