"""Programs that stand between the two halves of the TCP carrier and only pass bytes on.

``relay PORT TARGET`` passes from a port to a port of this host, in one direction.
``relay --to-datagrams PORT HOST:PORT`` and ``relay --from-datagrams HOST:PORT TARGET`` are
the two ends of a link on which nothing can come back: the first answers the handshake of
TCP in the receiver's place. A datagram is a flag (1: a new connection) and bytes.
"""

from __future__ import annotations

import socket
import sys
import threading
from contextlib import suppress

_DATAGRAM = 1400
_RECEIVE_BUFFER_FORCE = 33
"""SO_RCVBUFFORCE of Linux, which Python does not name: beyond the limit for others than root."""


def _pump(client: socket.socket, target: tuple[str, int]) -> None:
    with suppress(OSError), client, socket.create_connection(target) as onward:
        while data := client.recv(1 << 16):
            onward.sendall(data)


def relay(port: int, target: tuple[str, int]) -> None:
    """Pass on until killed."""
    with socket.create_server(("127.0.0.1", port)) as server:
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            threading.Thread(target=_pump, args=(client, target), daemon=True).start()


def to_datagrams(port: int, far: tuple[str, int]) -> None:
    """Accept, and send what comes as datagrams."""
    with (
        socket.create_server(("127.0.0.1", port)) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link,
    ):
        print("ready", flush=True)
        while True:
            client, _ = server.accept()
            with client:
                flag = b"\1"
                while data := client.recv(_DATAGRAM):
                    link.sendto(flag + data, far)
                    flag = b"\0"


def from_datagrams(near: tuple[str, int], target: tuple[str, int]) -> None:
    """Put datagrams together again as connections."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.setsockopt(socket.SOL_SOCKET, _RECEIVE_BUFFER_FORCE, 8 << 20)
        link.bind(near)
        print("ready", flush=True)
        onward: socket.socket | None = None
        while True:
            data = link.recv(2 * _DATAGRAM)
            if data[:1] == b"\1" or onward is None:
                if onward is not None:
                    onward.close()
                onward = socket.create_connection(target)
            onward.sendall(data[1:])


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host or "127.0.0.1", int(port)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--to-datagrams", port, far]:
            to_datagrams(int(port), _address(far))
        case ["--from-datagrams", near, target]:
            from_datagrams(_address(near), _address(target))
        case [port, target]:
            relay(int(port), _address(target))
