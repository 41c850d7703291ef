"""A process that has Sluice loaded, and forks once for each command.

So a command begins its work at once, and can be killed at any moment of that work, not
of the loading of its libraries; and hundreds of such kills take minutes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.drive import environment
from tests.support.places import Passed, Place, signal_at

_TOLD = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class Ended:
    """``code`` is None for a command that was killed. ``seconds`` is how long it ran,

    ``stopping`` for how much of that it had been told to stop. ``reached`` is whether it
    came to the place where it was to be stopped.
    """

    code: int | None
    out: str
    err: str
    seconds: float
    stopping: float
    reached: bool


class Forker:
    """Use as a context manager; ``folder`` is for what the commands say."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def run(
        self,
        *words: object,
        kill_after: float | None = None,
        by: signal.Signals = signal.SIGKILL,
        place: tuple[Place, int] | None = None,
    ) -> Ended:
        """Run one command; ``by`` is sent to it after so many seconds, if it still runs,

        or when it passes ``place`` for the given time.
        """
        return self._asked(words, {"kill_after": kill_after, "by": by.value, "place": place})

    def places(self, *words: object) -> tuple[Ended, list[tuple[Place, int]]]:
        """Run one command; the places that its main thread passed, and how often each."""
        notes = self._folder / "places"
        ended = self._asked(words, {"kill_after": None, "by": 0, "notes": str(notes)})
        found = json.loads(notes.read_text())
        return ended, [((place[0], place[1], place[2], place[3]), count) for place, count in found]

    def _asked(self, words: tuple[object, ...], how: dict[str, object]) -> Ended:
        assert self._process.stdin
        assert self._process.stdout
        said = [str(self._folder / name) for name in ("out", "err", "reached")]
        for name in said:
            Path(name).write_text("")
        request = {"words": [str(word) for word in words], "said": said, **how}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the forking process ended"
        answer = json.loads(line)
        out, err, reached = (Path(name).read_text() for name in said)
        assert "Traceback" not in err, err
        return Ended(answer["code"], out, err, answer["seconds"], answer["stopping"], bool(reached))

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.forker"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)
        assert self._process.stdout
        self._process.stdout.close()


def serve() -> None:
    """Read requests, one line of JSON each, until the input ends."""
    from sluice.cli import main, parser

    parser()  # loads every command's libraries
    for line in sys.stdin:
        request = json.loads(line)
        started = time.monotonic()
        # Python's own work around a fork must not be what a signal interrupts.
        signal.pthread_sigmask(signal.SIG_BLOCK, _TOLD)
        child = os.fork()
        if child == 0:
            _become(main, request)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
        limit, told = request["kill_after"], 0.0
        while not (found := os.waitpid(child, os.WNOHANG))[0]:
            if limit is not None and time.monotonic() - started >= limit:
                told, limit = time.monotonic(), None
                os.kill(child, request["by"])  # not reaped yet: it is ours
            time.sleep(0.001)
        now = time.monotonic()
        code = os.waitstatus_to_exitcode(found[1])
        answer = {
            "code": None if code == -signal.SIGKILL else code,
            "seconds": now - started,
            "stopping": now - told if told else 0.0,
        }
        print(json.dumps(answer), flush=True)


def _become(main: Callable[[list[str]], int], request: dict[str, Any]) -> None:
    code = 70
    try:
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        *said, reached = request["said"]
        for number, name in enumerate(said, 1):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _TOLD)
            if request.get("place"):
                place, turn = request["place"]
                by = signal.Signals(request["by"])
                signal_at(tuple(place), turn, by, lambda: Path(reached).write_text("yes"))
            code = _noted(main, request) if request.get("notes") else main(request["words"])
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        except KeyboardInterrupt:
            code = 130  # before it had begun
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _noted(main: Callable[[list[str]], int], request: dict[str, Any]) -> int:
    passed = Passed()
    passed.begin()
    try:
        return main(request["words"])
    finally:
        Path(request["notes"]).write_text(json.dumps(passed.end()))


if __name__ == "__main__":
    serve()
