"""One worker process: ``python -m repo_server.worker CONTROL MARKS LISTEN:NAME...``.

The words are descriptors that the parent left open: a socket to the parent, the shared marks,
and listening sockets, each with the repository that stands alone there, or none. The settings
come as JSON on standard input. On the control socket the worker writes lines of JSON:
``{"ready": true}``,
``{"misses": [[format, repository, want, count], ...]}``, ``{"failed": ..., "remedy": ...}``.
The parent says ``{"pair": {"cert": PEM, "key": PEM}}`` when the certificate was renewed.
When the parent is gone the worker ends, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from manifests.errors import SluiceError
from repo_server.connections import Connections
from repo_server.follow import Follower
from repo_server.log import report
from repo_server.marks import Marks
from repo_server.pair import Pair
from repo_server.service import RepoService
from repo_server.settings import Limits, Settings
from repo_server.tally import Tally
from store.store import Store

#: Characters of wants in one line to the parent, roughly.
_LINE = 8192
#: Descriptors for the ledger, mapped trees and the like.
_OTHER_FILES = 256


class Control:
    """The way to the parent. What cannot be sent at once is not sent, but no line is cut."""

    def __init__(self, line: socket.socket) -> None:
        self.line = line
        self._rest = b""
        line.setblocking(False)

    def say(self, **words: object) -> None:
        text = self._rest or json.dumps(words).encode() + b"\n"
        with contextlib.suppress(BlockingIOError, ConnectionError):
            sent = self.line.send(text)
            again = bool(self._rest) and sent == len(text)
            self._rest = text[sent:]
            if again:
                self.say(**words)

    async def until_parent_ends(self, hear: Callable[[dict[str, Any]], None]) -> None:
        """``hear`` what the parent says until then."""
        loop = asyncio.get_running_loop()
        rest = b""
        with contextlib.suppress(ConnectionError):
            while data := await loop.sock_recv(self.line, 1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    hear(json.loads(line))


async def work(
    settings: Settings,
    listeners: Sequence[tuple[socket.socket, str]],
    control: Control,
    marks: Marks,
) -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    with Store.open_read_only(
        settings.store, settings.ledger_url, ledger_password=settings.ledger_password
    ) as store:
        follower = Follower(store, settings)
        tally = Tally(settings.tally, settings.serve.workers, settings.number)
        service = RepoService(store, settings, follower, marks, tally)
        connections = Connections(service)
        if settings.pair is not None:
            connections.context = settings.pair.context()

        def hear(words: dict[str, Any]) -> None:
            try:
                connections.context = Pair(**words["pair"]).context()
            except OSError as error:  # the parent could use it
                report(f"a worker shows the old certificate: {error}")

        servers = [
            await loop.create_server(connections.at(place), sock=listener, backlog=1024)
            for listener, place in listeners
        ]
        tasks = [
            loop.create_task(follower.run()),
            loop.create_task(connections.watch()),
            loop.create_task(_tell_misses(service, control)),
        ]
        parent = loop.create_task(control.until_parent_ends(hear))
        parent.add_done_callback(lambda _: stop.set())
        control.say(ready=True)
        waiting = loop.create_task(stop.wait())
        done, _ = await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
        for server in servers:
            server.close()
        await connections.stop(settings.limits.drain)
        _tell(service, control)
        for task in (*tasks, parent, waiting):
            task.cancel()
        await asyncio.gather(*tasks, parent, waiting, return_exceptions=True)
        service.close()
        follower.close()
        for task in done:
            if task is not waiting:
                task.result()  # a duty that ended is a fault


async def _tell_misses(service: RepoService, control: Control) -> None:
    while True:
        await asyncio.sleep(1.0)
        _tell(service, control)


def _tell(service: RepoService, control: Control) -> None:
    """What was missed since the last call, in lines that are not too long."""
    rows: list[list[object]] = []
    size = 0
    for miss, count in service.take_misses():
        rows.append([miss.format, miss.repository, miss.want, count])
        size += len(miss.want) + 200
        if size > _LINE:
            control.say(misses=rows)
            rows, size = [], 0
    if rows:
        control.say(misses=rows)


def _room_for_connections(limits: Limits) -> Limits:
    """Raise the limit of open files as far as allowed; as many connections as that carries.

    A connection that is sent a file needs three descriptors.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    other = _OTHER_FILES + limits.handshakes
    wanted = 3 * limits.connections + other
    files = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, most))
    return replace(limits, connections=max(1, (files - other) // 3))


def main() -> int:
    """Run one worker; the exit code of the process."""
    line, memory, *listen = sys.argv[1:]
    listeners = [
        (socket.socket(fileno=int(number)), place)
        for number, _, place in (word.partition(":") for word in listen)
    ]
    settings = Settings.from_json(sys.stdin.buffer.read())
    settings = replace(settings, limits=_room_for_connections(settings.limits))
    control = Control(socket.socket(fileno=int(line)))
    try:
        asyncio.run(work(settings, listeners, control, Marks.attach(int(memory))))
    except SluiceError as error:
        control.say(failed=str(error), remedy=error.remedy)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
