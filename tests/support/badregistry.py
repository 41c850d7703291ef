"""A registry on loopback that can be told to misbehave, for what a real one never does.

It serves what a ``Layout`` holds. ``moods`` (by path of the request, without ``/v2/``) change one
answer; Bearer tokens are asked for when ``token_life`` is set.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.images import Descriptor, Layout
from tests.support.loopback import WebServer


@dataclass
class Mood:
    """How one answer differs. Counted down at each use, forgotten at 0; -1 stays."""

    times: int = -1
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    stop_after: int | None = None
    """Bytes of the body after which the connection breaks."""
    stall: float = 0.0
    """Seconds of silence before it does."""
    revoke: bool = False
    """With the break, all tokens become worthless."""


@dataclass(frozen=True)
class Asked:
    """One request. ``path`` is without ``/v2/``."""

    method: str
    path: str
    range: str
    authorization: str
    status: int


class BadRegistry(WebServer):
    """See above; ``url`` while the context is open."""

    def __init__(self, layout: Layout, *, token_life: float | None = None) -> None:
        self.layout = layout
        self.token_life = token_life
        self.users: dict[str, str] = {}
        """Who gets tokens; nobody named: anybody."""
        self.tags: dict[str, dict[str, Descriptor]] = {}
        self.moods: dict[str, Mood] = {}
        self.catalog: list[str] | None = None
        self.asked: list[Asked] = []
        self.tokens: dict[str, float] = {}
        self.given = 0
        self._guard = threading.Lock()

    def push(self, image: str, what: Descriptor, *tags: str) -> None:
        for tag in tags:
            self.tags.setdefault(image, {})[tag] = what

    def paths(self, word: str = "") -> list[str]:
        """Paths of requests that were answered with success."""
        return [one.path for one in self.asked if one.status < 400 and word in one.path]

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(_Handler):
            registry = outer

        return Handler

    # --- what the handler asks

    def mood(self, path: str) -> Mood:
        with self._guard:
            mood = self.moods.get(path)
            if mood is None:
                return Mood()
            mood.times -= 1
            if mood.times == 0:
                del self.moods[path]
            return mood

    def token(self) -> str:
        with self._guard:
            self.given += 1
            name = f"t{self.given}"
            self.tokens[name] = time.monotonic() + (self.token_life or 0)
            return name

    def lets_in(self, authorization: str) -> bool:
        if self.token_life is None:
            return True
        return self.tokens.get(authorization.removeprefix("Bearer "), 0) > time.monotonic()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body, as a good registry gives them."""
        if path == "":
            return 200, {}, b"{}"
        if path == "_catalog":
            names = sorted(self.tags) if self.catalog is None else self.catalog
            return 200, {}, json.dumps({"repositories": names}).encode()
        image, sign, _ = path.partition("/tags/list")
        if sign:
            if image not in self.tags:
                return 404, {}, b"{}"
            return 200, {}, json.dumps({"tags": sorted(self.tags[image])}).encode()
        for word in ("/manifests/", "/blobs/"):
            image, sign, reference = path.partition(word)
            if sign:
                return self._content(image, word, reference)
        return 404, {}, b"{}"

    def _content(self, image: str, word: str, reference: str) -> tuple[int, dict[str, str], bytes]:
        known = self.tags.get(image, {}).get(reference)
        digest = known.digest if known else reference
        try:
            data = self.layout.read(digest)
        except OSError:
            return 404, {}, b"{}"
        if word == "/blobs/":
            return 200, {}, data
        kind = json.loads(data).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        return 200, {"content-type": kind, "docker-content-digest": digest}, data


class _Handler(BaseHTTPRequestHandler):
    registry: BadRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._handle()

    def do_HEAD(self) -> None:
        self._handle()

    def log_message(self, *_: Any) -> None:
        """Quiet."""

    def _handle(self) -> None:
        parts = urlsplit(self.path)
        if parts.path == "/token":
            self._token(parse_qs(parts.query))
            return
        path = parts.path.removeprefix("/v2/")
        registry = self.registry
        if not registry.lets_in(self.headers.get("authorization", "")):
            image = path.rsplit("/", 2)[0]
            challenge = (
                f'Bearer realm="{registry.url}/token",service="bad",scope="repository:{image}:pull"'
            )
            self._send(path, 401, {"www-authenticate": challenge}, b"{}", Mood())
            return
        mood = registry.mood(path)
        status, headers, body = registry.answer(path)
        if mood.body is not None:
            status, body = 200, mood.body
        if mood.status != 200:
            status, body = mood.status, b"{}"
        self._send(path, status, {**headers, **mood.headers}, body, mood)

    def _token(self, query: dict[str, list[str]]) -> None:
        registry = self.registry
        if registry.users:
            import base64

            pairs = {
                "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
                for user, password in registry.users.items()
            }
            if self.headers.get("authorization", "") not in pairs:
                self._send("token", 401, {}, b"{}", Mood())
                return
        # As some servers do, it says that its tokens live longer than they do.
        body = json.dumps({"token": registry.token(), "expires_in": 300}).encode()
        self._send(f"token {query.get('scope', [''])[0]}", 200, {}, body, Mood())

    def _send(
        self, path: str, status: int, headers: dict[str, str], body: bytes, mood: Mood
    ) -> None:
        start = 0
        asked = self.headers.get("range", "")
        if asked and status == 200 and mood.body is None:
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            headers["content-range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
            status, body = 206, body[start:]
        self.registry.asked.append(
            Asked(self.command, path, asked, self.headers.get("authorization", ""), status)
        )
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if mood.stop_after is None:
            self.wfile.write(body)
            return
        self.wfile.write(body[: mood.stop_after])
        self.wfile.flush()
        if mood.revoke:
            self.registry.tokens.clear()
        time.sleep(mood.stall)
        self.close_connection = True
        self.connection.shutdown(2)
