"""The receiving half: listens, and puts the parts that come into a folder.

Whoever can reach the port can send: what comes is opaque here and proved by its reader.
So a peer may cost little: connections, size, time and disk are bounded, and nothing a
peer does ends the listener or another peer's part.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from cds.tcp.behind import WriteBehind
from cds.tcp.frames import Damage, Decoder, Kind
from cds.tcp.landing import Field, Landing
from cds.tcp.pinning import Pinned
from manifests import errors
from manifests.durable import Durable
from manifests.zone import TcpListening

MOST_PROBLEMS = 50
"""Different problems that are kept until somebody asks; further ones are only counted."""

_TICK = 0.25
_BACKLOG = 512
_ROOM_TICK = 0.2


class _Peer:
    """One connection and its thread."""

    def __init__(self, connection: socket.socket, name: str, deadline: float) -> None:
        self.connection = connection
        self.name = name
        self.deadline: float | None = deadline
        """Until when a whole frame must have come; None while we are at work ourselves."""
        self.proved = False
        """Whether one good frame came."""
        self.behind: WriteBehind | None = None
        self.ended = ""
        """Why we ended it."""
        self.thread: threading.Thread | None = None

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        with contextlib.suppress(OSError):
            # Not TLS's own: it would go on to read from the bare connection.
            socket.socket.shutdown(self.connection, socket.SHUT_RDWR)


class Listener:
    """Takes parts in until it is closed; use as a context manager.

    ``reserve_free`` bytes stay free on the disk. ``landed`` is called from another thread
    for each new part. Only one listener may work on a folder.
    """

    def __init__(
        self,
        files: Durable,
        folder: Path,
        settings: TcpListening,
        *,
        reserve_free: int = 0,
        landed: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self._settings = settings
        self._landed = landed
        self._field = Field(files, folder, settings.max_part, reserve_free)
        self._tls = None if settings.tls is None else Pinned(settings.tls, server=True)
        self._peers: set[_Peer] = set()
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._numbers = itertools.count(1)
        self._problems: dict[str, tuple[errors.SluiceError, int]] = {}
        self._last = time.monotonic()
        self._seen = False
        self.parts = 0
        """New parts since the start."""

    def start(self) -> None:
        """Bind and begin. Raises ``CarrierError`` if the address cannot be had."""
        settings = self._settings
        self._field.prepare()
        family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
        try:
            self._socket = socket.create_server(
                (settings.host, settings.port), family=family, backlog=_BACKLOG
            )
        except OSError as exc:
            raise errors.CarrierError(
                f"cannot listen: {exc.strerror or exc}",
                where=f"{settings.host}:{settings.port}",
                remedy="end the other program on that port (perhaps another `sluice receive`),"
                " or change `listen`",
            ) from exc
        self._socket.settimeout(_TICK)
        self._thread = threading.Thread(target=self._accept, name="listener", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End all connections; parts under way are given up."""
        self._stopping.set()
        self._thread.join()
        self._socket.close()
        with self._lock:
            peers = list(self._peers)
        for peer in peers:
            peer.end("we stop")
        for peer in peers:
            if peer.thread is not None:
                peer.thread.join()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that it really listens on."""
        name = self._socket.getsockname()
        return str(name[0]), int(name[1])

    def problems(self) -> list[tuple[errors.SluiceError, int]]:
        """What went wrong with peers since the last call, each with how often."""
        with self._lock:
            found, self._problems = list(self._problems.values()), {}
        return found

    def wait_quiet(self, first: float, quiet: float) -> None:
        """Return once nothing but keep-alives came for ``quiet`` seconds.

        For the first peer it waits ``first`` seconds at most.
        """
        until = time.monotonic() + first
        while not self._stopping.wait(min(_TICK, quiet / 4)):
            now = time.monotonic()
            with self._lock:
                busy = any(peer.behind is not None and peer.behind.busy for peer in self._peers)
            if self._seen and not busy and now - self._last > quiet:
                return
            if not self._seen and now > until:
                return

    # The accepting thread

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, address = self._socket.accept()
            except TimeoutError:
                self._end_slow()
                continue
            except OSError as exc:
                # Out of descriptors, or the peer was gone before we looked: not the end.
                self._note(errors.CarrierError(f"a connection was lost: {exc.strerror}"), "")
                self._stopping.wait(_TICK)
                continue
            self._end_slow()
            self._admit(connection, f"{address[0]}")

    def _end_slow(self) -> None:
        now = time.monotonic()
        with self._lock:
            late = [p for p in self._peers if p.deadline is not None and p.deadline < now]
        for peer in late:
            peer.end(f"no whole frame came for {self._settings.timeout:g} s")

    def _admit(self, connection: socket.socket, name: str) -> None:
        peer = _Peer(connection, name, time.monotonic() + self._settings.timeout)
        with self._lock:
            full = len(self._peers) >= self._settings.connections
            # Who has shown nothing yet makes room, the one that has been silent longest first.
            silent = [p for p in self._peers if not p.proved and not p.ended] if full else []
            if not full or silent:
                self._peers.add(peer)
        if full:
            self._note(
                errors.PeerRefused(
                    f"more than {self._settings.connections} connections",
                    remedy="find out who connects; `connections` is the limit",
                ),
                name,
            )
        if full and not silent:
            connection.close()
            return
        if silent:
            min(silent, key=lambda p: p.deadline or 0.0).end("others wait and it sent nothing")
        peer.thread = threading.Thread(
            target=self._serve, args=(peer,), name=f"peer {name}", daemon=True
        )
        peer.thread.start()

    # One connection

    def _serve(self, peer: _Peer) -> None:
        landing = Landing(
            self._field,
            str(next(self._numbers)),
            lambda error: self._note(error, peer.name),
            self._waiting_for_room(),
        )
        peer.behind = WriteBehind(landing, self._came)
        why = "the connection ended"
        try:
            try:
                self._secure(peer)
                self._read(peer, peer.behind)
            finally:
                peer.deadline = None
                peer.behind.close()
        except errors.SluiceError as exc:
            self._note(exc, peer.name)
        except OSError as exc:
            why = f"the connection broke ({exc.strerror or exc})"
        finally:
            landing.give_up(peer.ended or why)
            if peer.ended and not self._stopping.is_set():
                self._note(
                    errors.PeerRefused(
                        f"disconnected: {peer.ended}",
                        remedy="nothing, if the outside sends: it connects again;"
                        " else find out who connects",
                    ),
                    peer.name,
                )
            peer.connection.close()
            with self._lock:
                self._peers.discard(peer)

    def _secure(self, peer: _Peer) -> None:
        if self._tls is not None:
            secured = self._tls.wrap(peer.connection)
            peer.connection = secured  # before the handshake, which may have to be cut short
            self._tls.shake_hands(secured)

    def _came(self, path: Path) -> None:
        with self._lock:
            self.parts += 1
        self._landed(path)

    def _read(self, peer: _Peer, behind: WriteBehind) -> None:
        decoder = Decoder()
        while not peer.ended:
            # Woken once for a frame, not for every piece of it; TLS knows no such flag.
            flags = socket.MSG_WAITALL if decoder.promised and self._tls is None else 0
            count = peer.connection.recv_into(decoder.space(), flags=flags)
            if count:
                decoder.received(count)
            else:
                decoder.end()
            while (found := decoder.next()) is not None:
                if isinstance(found, Damage):
                    self._note(found.error, peer.name)
                    continue
                peer.deadline = None
                peer.proved = True
                behind.put(found, decoder)
                peer.deadline = time.monotonic() + self._settings.timeout
                if found.kind != Kind.ALIVE:
                    self._seen, self._last = True, time.monotonic()
            if not count:
                return

    def _waiting_for_room(self) -> Callable[[], bool]:
        """Waits a little at each call, half of the time-out in all."""
        state = {"until": 0.0, "last": 0.0}

        def wait() -> bool:
            now = time.monotonic()
            if now - state["last"] > 4 * _ROOM_TICK:
                state["until"] = now + self._settings.timeout / 2
            state["last"] = now
            return now < state["until"] and not self._stopping.wait(_ROOM_TICK)

        return wait

    def _note(self, error: errors.SluiceError, peer: str) -> None:
        """Keep a problem until somebody asks; of a flood of them only the count grows."""
        if peer:
            error.where = f"{peer}: {error.where}" if error.where else peer
        key = f"{type(error).__name__} {error}"
        with self._lock:
            if key not in self._problems and len(self._problems) >= MOST_PROBLEMS:
                key = type(error).__name__
            first, count = self._problems.get(key, (error, 0))
            self._problems[key] = (first, count + 1)
