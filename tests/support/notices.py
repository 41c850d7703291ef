"""Those who are told: syslog daemons and web servers on this machine, good and bad."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.certs import Pair

PATIENCE = 30.0


class Datagrams:
    """A syslog daemon on a socket of this machine, or on UDP."""

    def __init__(self, path: Path | None = None) -> None:
        self._socket = socket.socket(
            socket.AF_INET if path is None else socket.AF_UNIX, socket.SOCK_DGRAM
        )
        self._socket.bind(("127.0.0.1", 0) if path is None else str(path))
        self.address = f"udp://127.0.0.1:{self._socket.getsockname()[1]}"
        if path is not None:
            self.address = str(path)

    def take(self, count: int = 0) -> list[str]:
        """All messages that came: a datagram is there as soon as it is sent."""
        found = []
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(65536).decode())
        return found

    def close(self) -> None:
        self._socket.close()


class Streams:
    """A syslog daemon on TCP that reads frames with octet counts (RFC 6587, 3.4.1)."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._socket.getsockname()[1]}"
        self._found: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                peer, _ = self._socket.accept()
                # The sender goes on when we close: by then all is there.
                with peer, peer.makefile("rb") as stream:
                    self._keep(stream.read())

    def _keep(self, data: bytes) -> None:
        while data:
            match = re.match(rb"([1-9][0-9]*) ", data)
            assert match is not None
            end = match.end() + int(match[1])
            self._found.append(data[match.end() : end].decode())
            data = data[end:]

    def take(self, count: int) -> list[str]:
        """All messages that came, ``count`` at least."""
        until = time.monotonic() + PATIENCE
        while len(self._found) < count and time.monotonic() < until:
            time.sleep(0.01)
        found, self._found = self._found, []
        return found

    def close(self) -> None:
        self._socket.close()


@dataclass
class Web:
    """A web server that keeps what is posted to it."""

    url: str
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None

    def take(self) -> list[tuple[dict[str, str], bytes]]:
        found = self.posts[:]
        self.posts.clear()
        return found


@contextmanager
def web(pair: Pair | None = None) -> Iterator[Web]:
    """Answers 204 unless ``answer`` says otherwise."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.posts.append(({k.lower(): v for k, v in self.headers.items()}, body))
            if here.answer is None:
                self.send_response(204)
                self.end_headers()
            else:
                with suppress(OSError):
                    here.answer(self)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if pair is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.cert, pair.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    scheme = "http" if pair is None else "https"
    here = Web(f"{scheme}://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield here
    finally:
        server.shutdown()
        server.server_close()
