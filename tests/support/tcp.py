"""Peers, relays and links for the TCP carrier."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from blake3 import blake3

from cds.tcp import Listener
from cds.tcp.frames import Damage, Decoder, Frame, Kind, frame, header
from manifests.zone import TcpListening
from store.seam import Seam

HERE = Path(__file__).resolve().parents[2]


def part_frames(
    name: str, data: bytes, transfer: bytes = b"t" * 16, size: int = 1 << 16
) -> list[bytes]:
    """All frames of one part, as a sender makes them, from the document alone."""
    digests = blake3()
    made = [frame(Kind.BEGIN, transfer, len(data), name.encode())]
    for at in range(0, len(data), size):
        body = data[at : at + size]
        digests.update(blake3(body).digest())
        made.append(header(Kind.DATA, transfer, at, body) + body)
    made.append(frame(Kind.END, transfer, len(data), digests.digest()))
    return made


def decode(stream: bytes, sizes: Iterator[int] | None = None) -> list[Frame | Damage]:
    """Everything a decoder finds in ``stream``, given in pieces; bodies are copied."""
    decoder = Decoder()
    found: list[Frame | Damage] = []
    at = 0
    while True:
        piece = b""
        if at < len(stream):
            space = decoder.space()
            count = min(len(space), next(sizes) if sizes is not None else len(space))
            piece = stream[at : at + count]
            space[: len(piece)] = piece
            decoder.received(len(piece))
            at += len(piece)
        else:
            decoder.end()
        while (item := decoder.next()) is not None:
            if isinstance(item, Frame):
                body = memoryview(bytes(item.body))
                item = Frame(item.kind, item.transfer, item.offset, body, item.digest)
            found.append(item)
        if not piece:
            return found


@contextmanager
def listener(
    folder: Path, reserve_free: int = 0, files: Seam | None = None, **settings: object
) -> Iterator[Listener]:
    """A running listener on a free port."""
    values: dict[str, object] = {"host": "127.0.0.1", "port": 0, "timeout": 60.0} | settings
    tcp = TcpListening(**values)  # type: ignore[arg-type]
    made = Listener(files or Seam(), folder, tcp, reserve_free=reserve_free)
    with made:
        yield made


def landed(folder: Path) -> dict[str, bytes]:
    """Name (without the tag) and bytes of every part that arrived."""
    return {
        path.name.rpartition(".")[0]: path.read_bytes()
        for path in folder.iterdir()
        if not path.name.startswith(".")
    }


def until(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait for something; AssertionError if it does not come."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def push(address: tuple[str, int], *pieces: bytes) -> None:
    """Send bytes on a connection of their own and end it."""
    with socket.create_connection(address) as connection:
        for piece in pieces:
            connection.sendall(piece)


class OneWay:
    """Passes bytes from one port to another address, and nothing back.

    ``gone`` swallows: the client sees a connection, nobody gets its bytes. ``alter`` may
    change each piece on the way.
    """

    def __init__(
        self, target: tuple[str, int] | None, alter: Callable[[bytes], bytes] = lambda b: b
    ) -> None:
        self._target = target
        self._alter = alter
        self.passed = 0
        self.connections = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._server.getsockname()
        self._open: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self.connections += 1
                self._open.append(client)
                if self._closed:  # what was accepted in that very moment is broken, too
                    self.break_all()
                threading.Thread(target=self._pump, args=(client,), daemon=True).start()

    def _pump(self, client: socket.socket) -> None:
        with suppress(OSError), client:
            if self._target is None:
                while data := client.recv(1 << 16):
                    self.passed += len(data)
                return
            with socket.create_connection(self._target) as onward:
                self._open.append(onward)
                while data := client.recv(1 << 16):
                    onward.sendall(self._alter(data))
                    self.passed += len(data)

    def break_all(self) -> None:
        """Break what is open; new connections are welcome."""
        for each in self._open:
            with suppress(OSError):
                # A thread that waits on it would keep a closed one alive.
                each.shutdown(socket.SHUT_RDWR)
        self._open.clear()

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.break_all()

    def __enter__(self) -> OneWay:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RelayProcess:
    """A relay of its own process, which can be killed as processes are."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self._target = target
        self.start()

    def start(self) -> None:
        words = [sys.executable, "-m", "tests.support.relay", str(self.port), str(self._target)]
        self._process = subprocess.Popen(
            words, cwd=HERE, env=os.environ | {"PYTHONPATH": str(HERE)}, stdout=subprocess.PIPE
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> RelayProcess:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
