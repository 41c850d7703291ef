"""The parent: opens the sockets, starts the workers, and starts a dead one again.

Each worker has its own listening socket on each address (``SO_REUSEPORT``, so that the
kernel shares out connections), which the parent keeps: while a worker is started again,
clients wait in its queue instead of being turned away. Workers are new processes, not
forks, so the parent may have threads and open databases.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

from manifests.errors import ConfigError, SluiceError, StoreError
from repo_server.log import report
from repo_server.marks import Marks
from repo_server.misses import Miss
from repo_server.pair import Pair
from repo_server.renewal import Renewal
from repo_server.settings import Settings
from repo_server.tally import Tally

_TICK = 0.1
_LINE_LIMIT = 1 << 20
#: A worker that ends sooner than this many seconds after its start waits longer each time.
_SETTLED = 10.0
_LONGEST_PAUSE = 30.0
_START_SECONDS = 60.0
_HIGHER = "this account may not use that port (below 1024 only root may): choose a higher one"

OnMiss = Callable[[Sequence[tuple[Miss, int]]], None]


class _Worker:
    """One place for a worker, and the process that fills it now."""

    def __init__(
        self, settings: Settings, listeners: Sequence[tuple[socket.socket, str]], marks: int
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self._marks = marks
        self.process: subprocess.Popen[bytes] | None = None
        self.line: socket.socket | None = None
        self.ready = False
        self.failed: SluiceError | None = None
        self.started = 0.0
        self.again = 0.0
        self._pause = _TICK
        self._text = b""
        self._unsaid = b""

    def start(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        listening = [each.fileno() for each, _ in self._listeners]
        inherited = (theirs.fileno(), self._marks, self._settings.tally, *listening)
        words = [str(theirs.fileno()), str(self._marks)]
        words += [f"{each.fileno()}:{place}" for each, place in self._listeners]
        root = str(Path(__file__).resolve().parents[1])
        paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "repo_server.worker", *words],
                stdin=subprocess.PIPE,
                pass_fds=inherited,
                process_group=0,  # a Ctrl-C is the parent's to pass on
                env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
            )
        assert self.process.stdin is not None
        try:
            with self.process.stdin as pipe:
                pipe.write(self._settings.to_json())
        except BrokenPipeError:
            pass  # it ended already; its exit code says so
        self.line, self.ready, self._text, self._unsaid = ours, False, b"", b""
        self.started = time.monotonic()

    def show(self, pair: Pair) -> None:
        """New connections, and all of a process started later, are to see this certificate."""
        self._settings = replace(self._settings, pair=pair)
        self._unsaid += json.dumps({"pair": asdict(pair)}).encode() + b"\n"

    def say(self) -> None:
        """Send what there is to say, as far as it is taken now."""
        if self.line is not None and self._unsaid:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                self._unsaid = self._unsaid[self.line.send(self._unsaid) :]

    def read(self) -> list[dict[str, object]]:
        """What it said since the last call."""
        assert self.line is not None
        try:
            data = self.line.recv(1 << 16)
        except (BlockingIOError, ConnectionError):
            return []
        *lines, self._text = (self._text + data).split(b"\n")
        if len(self._text) > _LINE_LIMIT:
            self._text = b""
        return [json.loads(line) for line in lines]

    def ended(self) -> int | None:
        """The exit code of a process that ended; it is put away."""
        if self.process is None or (code := self.process.poll()) is None:
            return None
        age = time.monotonic() - self.started
        self._pause = _TICK if age > _SETTLED else min(self._pause * 2, _LONGEST_PAUSE)
        self.again = time.monotonic() + self._pause
        self.process = None
        if self.line is not None:
            self.line.close()
            self.line = None
        return code


class Server:
    """The parent's side of serving. ``run`` blocks; ``stop`` may be called from anywhere."""

    def __init__(
        self,
        settings: Settings,
        *,
        on_miss: OnMiss | None = None,
        announce: Callable[[str], None] | None = None,
    ) -> None:
        self._settings = settings
        self._on_miss = on_miss
        self._announce = announce or _print
        self._stopping = False
        self._renewal: Renewal | None = None
        self._read_again = False
        self.url = ""
        """Where it serves; set before the workers are started."""
        self.urls: dict[str, str] = {}
        """The same for repositories that have an address of their own, by name."""
        self.pids: list[int] = []

    def stop(self) -> None:
        """Let ``run`` end: running answers are finished, up to ``limits.drain`` seconds."""
        self._stopping = True

    def reload(self) -> None:
        """Read the certificate again now, and say how it went."""
        self._read_again = True

    def run(self) -> None:
        """Serve until ``stop``. Raises ConfigError if the address cannot be listened on or the
        certificate not be shown, and what a worker said that could not start at all."""
        with ExitStack() as stack:
            settings, serve = self._settings, self._settings.serve
            count = serve.workers
            if serve.tls is not None:
                self._renewal = Renewal(serve.tls, serve.external_url, report)
                settings = replace(settings, pair=self._renewal.pair)
            addresses = {"": (serve.host, serve.port)}
            addresses |= {
                name: each.listen for name, each in serve.registries.items() if each.listen
            }
            places: dict[str, list[socket.socket]] = {}
            for place, address in addresses.items():
                places[place] = _listen(address, count)
                for listener in places[place]:
                    stack.callback(listener.close)
            self.urls = {
                place: _url(settings.scheme, listeners[0]) for place, listeners in places.items()
            }
            self.url = self.urls.pop("")
            marks = Marks.create()
            stack.callback(os.close, marks)
            tally = Tally.create(count)
            stack.callback(os.close, tally)
            workers = [
                _Worker(
                    replace(settings, tally=tally, number=number),
                    [(each[number], place) for place, each in places.items()],
                    marks,
                )
                for number in range(count)
            ]
            try:
                self._watch(workers)
            finally:
                for listeners in places.values():
                    for listener in listeners:
                        listener.close()
                self._end(workers)

    def _watch(self, workers: list[_Worker]) -> None:
        announced = False
        began = time.monotonic()
        with selectors.DefaultSelector() as selector:
            while not self._stopping:
                for worker in workers:
                    code = worker.ended()
                    if code is not None and not announced:
                        raise worker.failed or StoreError(
                            f"a worker of the server ended with {code} before it served",
                            remedy="see its messages above",
                        )
                    if code is not None:
                        report(f"a worker ended with {code} and is started again")
                    if worker.process is None and time.monotonic() >= worker.again:
                        worker.start()
                self._renew(workers)
                self.pids = [each.process.pid for each in workers if each.process is not None]
                self._listen_to(selector, workers)
                if not announced and all(worker.ready for worker in workers):
                    announced = True
                    self._announce(f"serving {self.url}")
                    for name, url in self.urls.items():
                        self._announce(f"{name} alone at {url}")
                if not announced and time.monotonic() - began > _START_SECONDS:
                    raise StoreError("the workers of the server did not start in time")

    def _renew(self, workers: list[_Worker]) -> None:
        if self._renewal is None:
            return
        at_once, self._read_again = self._read_again, False
        fresh = self._renewal.poll(at_once=at_once)
        for worker in workers:
            if fresh is not None:
                worker.show(fresh)
            worker.say()

    def _listen_to(self, selector: selectors.BaseSelector, workers: list[_Worker]) -> None:
        lines = {worker.line: worker for worker in workers if worker.line is not None}
        for line in lines:
            selector.register(line, selectors.EVENT_READ)
        ready = selector.select(_TICK)
        for line in lines:
            selector.unregister(line)
        for key, _ in ready:
            worker = lines[key.fileobj]  # type: ignore[index]
            said = worker.read()
            if not said:
                time.sleep(_TICK)  # it ends; its exit code comes soon
            for words in said:
                self._hear(worker, words)

    def _hear(self, worker: _Worker, words: dict[str, object]) -> None:
        if "ready" in words:
            worker.ready = True
        if "failed" in words:
            worker.failed = _failure(words)
        rows = words.get("misses")
        if isinstance(rows, list) and self._on_miss is not None:
            self._on_miss([(Miss(str(f), str(r), str(w)), int(n)) for f, r, w, n in rows])

    def _end(self, workers: list[_Worker]) -> None:
        processes = [worker.process for worker in workers if worker.process is not None]
        for process in processes:
            process.terminate()
        until = time.monotonic() + self._settings.limits.drain + 2.0
        for process in processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for worker in workers:
            if worker.line is not None:
                while said := worker.read():  # what was missed last
                    for words in said:
                        self._hear(worker, words)
                worker.line.close()
                worker.line = None


def serve(
    settings: Settings,
    *,
    on_miss: OnMiss | None = None,
    check: Callable[[], None] | None = None,
) -> None:
    """Serve a store until SIGTERM or SIGINT; nothing in it is written. With TLS, SIGHUP reads
    the certificate again.

    Prints ``serving URL`` when all workers listen, then where single repositories
    have an address of their own. ``on_miss`` is called in
    this process, about once a second, with what clients asked for and did not get, and
    how often. ``check`` is called when signals come here, to raise what a signal before that
    asked for. To be called from the main thread. Raises what ``Server.run`` raises.
    """
    server = Server(settings, on_miss=on_miss)
    before = {
        number: signal.signal(number, lambda *_: server.stop())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    if settings.serve.tls is not None:
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, lambda *_: server.reload())
    try:
        if check is not None:
            check()
        server.run()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _url(scheme: str, listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _listen(wanted: tuple[str, int], count: int) -> list[socket.socket]:
    """``count`` listening sockets, all on the same address."""
    host, port = wanted
    listeners: list[socket.socket] = []
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without SO_REUSEPORT: another server on this address must not share it unnoticed.
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            address = probe.getsockname()
        for _ in range(count):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind(address)
            listener.listen(1024)
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise ConfigError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            remedy=_HIGHER
            if isinstance(error, PermissionError)
            else "choose another `serve: listen:` or stop what listens there (`ss -ltnp`)",
        ) from error
    return listeners


def _failure(words: dict[str, object]) -> SluiceError:
    return StoreError(str(words["failed"]), remedy=str(words.get("remedy", "")))


def _print(line: str) -> None:
    print(line, flush=True)
