"""The capturing proxy: a Maven repository over HTTP whose every answer comes by ``Pull``.

``/maven/NAME/PATH`` is answered as a repository would: 200, or 404 for what the upstream does
not have either. What the upstream gave and could not be believed is a 502, whose reason phrase
says why, since Maven and Gradle show that to whoever builds.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import unquote_to_bytes

from aiohttp import web

from manifests import errors
from manifests.formats.base import content_type
from manifests.formats.maven.layout import checksum_of, safe_path
from manifests.tree import check_path
from mirror.maven.pull import Pull
from mirror.report import printable
from store.records import Fetched
from store.store import Store

_log = logging.getLogger("sluice.capture")
_THREADS = 32
"""Requests that may wait for the upstream at a time."""
_READY_SECONDS = 30
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Sluice", charset="UTF-8"'}
_WRONG_SECONDS = 1.0
_WARNED_SECONDS = 60.0


class Proxy:
    """Serves one repository. ``url`` is what a build is set to, with a slash at its end.

    ``login`` is the name and password that every request must bring (RFC 7617); None: nothing.
    """

    def __init__(
        self, store: Store, name: str, pull: Pull, login: tuple[str, str] | None = None
    ) -> None:
        self._store = store
        self._prefix = f"/maven/{name}/"
        self._pull = pull
        self._login = None if login is None else ":".join(login).encode()
        self._warned = float("-inf")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="pull")
        self.url = ""

    @contextmanager
    def serving(self, host: str = "127.0.0.1", port: int = 0) -> Iterator[Proxy]:
        """Listen while the context lasts. Raises ConfigError where that is not possible."""
        sock = _listen(host, port)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{sock.getsockname()[1]}{self._prefix}"
        loop = asyncio.new_event_loop()
        ready = threading.Event()
        thread = threading.Thread(
            target=self._run, args=(loop, sock, ready), name="capture", daemon=True
        )
        thread.start()
        try:
            if not ready.wait(_READY_SECONDS):
                raise errors.ConfigError("the capturing proxy did not start", where=self.url)
            yield self
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            # Who is told to stop does not wait for what an upstream has not sent.
            self._threads.shutdown(wait=not errors.is_stop(sys.exception()), cancel_futures=True)

    def _run(
        self, loop: asyncio.AbstractEventLoop, sock: socket.socket, ready: threading.Event
    ) -> None:
        asyncio.set_event_loop(loop)

        async def start() -> web.ServerRunner:
            runner = web.ServerRunner(web.Server(self._handle), shutdown_timeout=1.0)
            await runner.setup()
            await web.SockSite(runner, sock).start()
            return runner

        try:
            runner = loop.run_until_complete(start())
            ready.set()
            loop.run_forever()
            loop.run_until_complete(runner.cleanup())
        finally:
            loop.close()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._login is not None and not await self._may(request):
            return _told(401, "this repository asks for a login", **_CHALLENGE)
        if request.method not in ("GET", "HEAD"):
            return _told(405, "this repository is read only", Allow="GET, HEAD")
        raw = request.raw_path.partition("?")[0]
        if not raw.startswith(self._prefix):
            return _told(404, f"repositories here: {self._prefix}")
        try:
            path = _decoded(raw.removeprefix(self._prefix))
        except errors.TreeError as error:
            self._pull.tally.failures[printable(raw)] = error.what
            return _told(400, error.what)
        if not path or path.endswith("/"):
            return _told(404, "no folder is listed here")
        file, algorithm = checksum_of(path) or (path, "")
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(
                self._threads, lambda: self._pull.get(file, record=not algorithm)
            )
            if found is None:
                return _told(404, "the upstream does not have it")
            if algorithm:
                value = await loop.run_in_executor(
                    self._threads, self._pull.checksum, found.digest, algorithm
                )
                return web.Response(text=value, content_type="text/plain")
            return self._file(path, found)
        except errors.TreeError as error:
            return _told(400, error.what)
        except (errors.UpstreamError, errors.FormatError) as error:
            return _told(502, error.what)
        except errors.NoSpace as error:
            return _told(507, error.what)
        except errors.SluiceError as error:
            _log.error("%s", error)
            return _told(500, error.what)

    async def _may(self, request: web.BaseRequest) -> bool:
        """Whether the request has the login. A wrong one waits, so that nobody tries many."""
        kind, _, given = request.headers.get("Authorization", "").partition(" ")
        if kind.lower() != "basic":
            return False  # clients ask without it first
        try:
            found = base64.b64decode(given.strip(), validate=True)
        except ValueError:
            found = b""
        if hmac.compare_digest(found, self._login or b""):
            return True
        if time.monotonic() - self._warned > _WARNED_SECONDS:
            self._warned = time.monotonic()
            _log.warning(
                "a wrong login at %s from %s", self._prefix, printable(str(request.remote))
            )
        await asyncio.sleep(_WRONG_SECONDS)
        return False

    def _file(self, path: str, found: Fetched) -> web.StreamResponse:
        headers = {"Content-Type": content_type(path), "ETag": f'"{found.digest}"'}
        return web.FileResponse(self._store.blobs.path(found.digest), headers=headers)


def _decoded(raw: str) -> str:
    """The tree's path for a request's; raises BadPath for escapes that hide a slash or more."""
    lower = raw.lower()
    if "%2f" in lower or "%5c" in lower or "%25" in lower or "%00" in lower:
        raise errors.BadPath("an escaped slash or percent sign in a path", where=printable(raw))
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeError:  # of its escapes, or of bytes that were not escaped
        raise errors.BadPath("a path that is not UTF-8", where=printable(raw)) from None
    if path and not path.endswith("/"):
        safe_path(check_path(path))
    return path


def _told(status: int, reason: str, **headers: str) -> web.Response:
    """A short answer in text, with the reason also in the status line (RFC 9112, section 4)."""
    line = "".join(c if " " <= c <= "~" else "?" for c in reason)[:200]
    return web.Response(status=status, reason=line, text=f"{reason}\n", headers=headers)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(128)
    except OSError as error:
        raise errors.ConfigError(
            f"cannot listen: {error.strerror}",
            where=f"{host}:{port}",
            remedy="choose another address in `capture: {listen: HOST:PORT}`",
        ) from error
    return sock
