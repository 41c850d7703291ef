"""A Maven repository over HTTP: files from memory or a folder, and every way to misbehave.

Debian's own Maven repository has neither checksums nor metadata; ``DebianRepository`` adds both,
which makes it a complete upstream for a real build without a network.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from manifests.formats.maven.metadata import Metadata, write
from manifests.formats.maven.version import in_order

DEBIAN = Path("/usr/share/maven-repo")


class Files(Protocol):
    """What a path holds; None for nothing."""

    def get(self, path: str) -> bytes | None: ...


@dataclass(frozen=True)
class Said:
    """An answer that is not just a file."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    before: float = 0.0
    """Seconds of silence first."""
    promised: int | None = None
    """A Content-Length that is not the body's; after the body comes silence."""


Odd = Said | bytes | Callable[[], "Said | bytes"]


@dataclass
class MavenWeb:
    """A running server. ``odd`` answers go before files; ``asked`` counts paths."""

    files: Files
    sums: tuple[str, ...] = ("sha1",)
    odd: dict[str, Odd] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    handlers: dict[str, Callable[[BaseHTTPRequestHandler], Said]] = field(default_factory=dict)
    """By the beginning of a path: answers that need the whole request."""
    validators: bool = True
    url: str = ""

    @contextmanager
    def serving(self) -> Iterator[MavenWeb]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                said = web._answer(self)
                time.sleep(said.before)
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                length = len(said.body) if said.promised is None else said.promised
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(said.body)
                    if said.promised is not None:
                        self.wfile.flush()
                        web.stalled.wait(30)
                        self.close_connection = True

            do_HEAD = do_GET

        self.stalled = threading.Event()

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # clients go away in the middle: that is no failure of the test

        server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self.stalled.set()
            server.shutdown()
            server.server_close()
            thread.join()

    def _answer(self, request: BaseHTTPRequestHandler) -> Said:
        path = unquote(urlsplit(request.path).path).removeprefix("/")
        self.asked[path] += 1
        for start, handler in self.handlers.items():
            if path.startswith(start):
                return handler(request)
        odd = self.odd.get(path)
        if odd is not None:
            found = odd() if callable(odd) else odd
            return found if isinstance(found, Said) else self._file(found, request)
        data = self.files.get(path)
        if data is None:
            file, _, kind = path.rpartition(".")
            whole = self.files.get(file) if kind in self.sums else None
            if whole is None:
                return Said(404, b"not here")
            data = hashlib.new(kind, whole).hexdigest().encode()
        return self._file(data, request)

    def _file(self, data: bytes, request: BaseHTTPRequestHandler) -> Said:
        if not self.validators:
            return Said(200, data)
        etag = f'"{hashlib.md5(data).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(1_700_000_000, usegmt=True)}
        if request.headers.get("If-None-Match") == etag:
            return Said(304, b"", headers)
        return Said(200, data, headers)


class DebianRepository:
    """``/usr/share/maven-repo`` with artifact-level metadata."""

    def __init__(self, folder: Path = DEBIAN) -> None:
        self._folder = folder

    def get(self, path: str) -> bytes | None:
        place = self._folder / path
        if ".." in path.split("/"):
            return None
        if place.is_file():
            return place.read_bytes()
        if place.name == "maven-metadata.xml" and place.parent.is_dir():
            name = place.parent.name
            versions = [
                each.name
                for each in place.parent.iterdir()
                if (each / f"{name}-{each.name}.pom").is_file()
            ]
            if versions:
                group = str(place.parent.parent.relative_to(self._folder)).replace("/", ".")
                return write(Metadata(group, name, versions=tuple(in_order(versions))))
        return None


class Layers:
    """The first of several places that has a file."""

    def __init__(self, *places: Files | Mapping[str, bytes]) -> None:
        self._places = places

    def get(self, path: str) -> bytes | None:
        found = (place.get(path) for place in self._places)
        return next((data for data in found if data is not None), None)
