"""An HTTP/1.1 upstream that does, path by path, what a test tells it to: also what is wrong.

It also stands in for a forward proxy: a client that uses it as one asks for a
whole URL, which is looked up like any path.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.daemon import Started


@dataclass(frozen=True)
class Seen:
    """A request as it came. Header names are in lower case; repeated ones stay apart."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = b""

    def header(self, name: str) -> str:
        """All values of one header, joined by ", "; empty if there is none."""
        return ", ".join(value for known, value in self.headers if known == name.lower())

    def values(self, name: str) -> list[str]:
        """The values of one header, one for each line that came."""
        return [value for known, value in self.headers if known == name.lower()]


@dataclass(frozen=True)
class Reply:
    """One answer, honest unless told otherwise. Times are in seconds, sizes in bytes."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """The Content-Length to claim instead of the true one."""
    chunked: bool = False
    """Send in chunks, without any Content-Length."""
    cut_at: int | None = None
    """Break the connection off after that many bytes of the body."""
    reset: bool = False
    """Break off by RST instead of FIN."""
    stall: float = 0
    """How long to keep silent before the answer, or at ``stall_at`` of the body."""
    stall_at: int | None = None
    repeat: int = 1
    """Send the body that many times over (counted in Content-Length, never held in memory)."""
    hang_up: bool = False
    """Close the connection without a byte."""


Answer = Reply | Callable[[Seen], Reply]


def redirect(target: str, status: int = 302) -> Reply:
    """A redirect to ``target``, absolute or relative."""
    return Reply(status, headers={"Location": target})


def document(
    body: bytes,
    *,
    etag: str = "",
    modified: float | None = None,
    headers: Mapping[str, str] | None = None,
) -> Callable[[Seen], Reply]:
    """A well-behaved file: Range with If-Range, If-None-Match, If-Modified-Since.

    ``modified`` is in seconds since 1970; ``etag`` includes its quotes.
    """
    fixed = dict(headers or {}) | {"Accept-Ranges": "bytes"}
    if etag:
        fixed["ETag"] = etag
    date = formatdate(modified, usegmt=True) if modified is not None else ""
    if date:
        fixed["Last-Modified"] = date

    def answer(seen: Seen) -> Reply:
        known = seen.header("if-none-match")
        if known:
            if etag and etag in (part.strip() for part in known.split(",")):
                return Reply(304, headers=fixed)
        elif date and seen.header("if-modified-since") == date:
            return Reply(304, headers=fixed)
        wanted = seen.header("range")
        condition = seen.header("if-range")
        if wanted.startswith("bytes=") and condition in ("", etag, date):
            return _part(body, wanted.removeprefix("bytes="), fixed)
        return Reply(200, body, fixed)

    return answer


def _part(body: bytes, wanted: str, headers: Mapping[str, str]) -> Reply:
    """RFC 9110 section 14: one range; several at once are answered with the whole."""
    first, dash, last = wanted.partition("-")
    if not dash or "," in wanted or not (first or last):
        return Reply(200, body, headers)
    start = int(first) if first else max(0, len(body) - int(last))
    end = min(int(last), len(body) - 1) if first and last else len(body) - 1
    if start >= len(body) or start > end:
        return Reply(416, headers=dict(headers) | {"Content-Range": f"bytes */{len(body)}"})
    place = {"Content-Range": f"bytes {start}-{end}/{len(body)}"}
    return Reply(206, body[start : end + 1], dict(headers) | place)


class HostileServer(Started):
    """``put`` what each path shall answer; ``requests`` tells who asked. A context manager."""

    def __init__(self) -> None:
        self.requests: list[Seen] = []
        self._answers: dict[str, list[Answer]] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._server = _Server(self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.daemon = True

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/``"""
        return f"http://127.0.0.1:{self.port}/"

    def put(self, path: str, *answers: Answer) -> None:
        """``path`` (with ``/`` and query, or ``*`` for the rest) gives these in turn.

        The last one is given again and again. Without any, the path is a 404.
        """
        with self._lock:
            self._answers[path] = list(answers)

    def asked(self, path: str, method: str = "") -> list[Seen]:
        """The requests for one path so far, of one method if told."""
        with self._lock:
            seen = list(self.requests)
        return [one for one in seen if one.path == path and method in ("", one.method)]

    def answer(self, seen: Seen) -> Reply:
        """Record a request and say what it gets."""
        with self._lock:
            self.requests.append(seen)
            answers = self._answers.get(seen.path) or self._answers.get("*") or []
            chosen = answers.pop(0) if len(answers) > 1 else (answers or [Reply(404)])[0]
        return chosen if isinstance(chosen, Reply) else chosen(seen)

    def pause(self, seconds: float) -> None:
        """Sleep, but not past the end of the server."""
        self._ended.wait(seconds)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(60)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # A client that keeps its connection open must not hold up the end of the test.
    block_on_close = False

    def __init__(self, owner: HostileServer) -> None:
        self.owner = owner
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave early are part of the tests; their tracebacks are noise."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: ``requests`` has it all."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        headers = tuple((name.lower(), value) for name, value in self.headers.items())
        seen = Seen(self.command, self.path, headers, self.rfile.read(size))
        owner = self.server.owner
        reply = owner.answer(seen)
        if reply.stall and reply.stall_at is None:
            owner.pause(reply.stall)
        if reply.hang_up:
            self._break_off(reply)
            return
        self._head(reply)
        if self.command != "HEAD" and reply.status not in (204, 304):
            self._body(reply, owner)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _head(self, reply: Reply) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if reply.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif reply.status not in (204, 304):
            true = len(reply.body) * reply.repeat
            self.send_header("Content-Length", str(true if reply.length is None else reply.length))
        self.end_headers()

    def _body(self, reply: Reply, owner: HostileServer) -> None:
        sent = 0
        stops = sorted({stop for stop in (reply.stall_at, reply.cut_at) if stop is not None})
        for _ in range(reply.repeat):
            rest = memoryview(reply.body)
            while rest:
                if reply.cut_at is not None and sent >= reply.cut_at:
                    self._break_off(reply)
                    return
                if reply.stall_at is not None and sent == reply.stall_at:
                    owner.pause(reply.stall)
                ahead = [stop - sent for stop in stops if stop > sent]
                piece = rest[: min([65536, *ahead])]
                self._send(piece, chunked=reply.chunked)
                sent += len(piece)
                rest = rest[len(piece) :]
        if reply.cut_at is not None and sent >= reply.cut_at:
            self._break_off(reply)
        elif reply.chunked:
            self.wfile.write(b"0\r\n\r\n")
        elif reply.length is not None and reply.length != sent:
            # A false length: what follows on this connection could not be told apart.
            self._break_off(reply)

    def _send(self, piece: memoryview, *, chunked: bool) -> None:
        if chunked:
            self.wfile.write(b"%x\r\n" % len(piece))
        self.wfile.write(piece)
        if chunked:
            self.wfile.write(b"\r\n")
        self.wfile.flush()

    def _break_off(self, reply: Reply) -> None:
        self.close_connection = True
        if reply.reset:
            off = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, off)
            self.connection.close()
        else:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
