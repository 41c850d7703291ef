"""A duty as a process: started, listened to, stopped, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mirror import leash

_BLOCK = 1 << 16
_STOP_SECONDS = 45.0
_LONGEST_LINE = 1 << 15

Tell = Callable[[str, str], None]
"""Called with a level and a line."""


async def carry_out(zone: Path, words: Sequence[str], tell: Tell) -> tuple[int, bool]:
    """Run ``sluice -z ZONE WORDS...`` to its end; its lines go to ``tell``.

    Cancelled, it lets the process end in order, however far its start had come. Returns
    the exit code (minus the number of the signal that ended it) and whether it was
    cancelled. Raises OSError when it cannot be started.
    """
    starting = asyncio.ensure_future(_Child.start(zone, words, tell))
    try:
        child = await asyncio.shield(starting)
        return await child.wait(), False
    except asyncio.CancelledError:
        child = await starting
        return await child.end(), True


class _Child:
    """One running command."""

    def __init__(self, process: asyncio.subprocess.Process, reading: list[asyncio.Task[None]]):
        self._process = process
        self._reading = reading

    @classmethod
    async def start(cls, zone: Path, words: Sequence[str], tell: Tell) -> _Child:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sluice", "-z", str(zone), *words),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C on a terminal reaches only us; we stop the children in order.
            start_new_session=True,
            preexec_fn=partial(leash.tie, os.getpid()),
            env={**os.environ, "PYTHONUNBUFFERED": "1", "NOTIFY_SOCKET": ""},
        )
        assert process.stdout is not None
        assert process.stderr is not None
        reading = [
            asyncio.create_task(_lines(process.stdout, "info", tell)),
            asyncio.create_task(_lines(process.stderr, "warning", tell)),
        ]
        return cls(process, reading)

    async def wait(self) -> int:
        code = await self._process.wait()
        # A grandchild that holds the pipe open must not keep us waiting.
        _, open_still = await asyncio.wait(self._reading, timeout=5)
        for task in open_still:
            task.cancel()
        return code

    async def end(self) -> int:
        """Ask it to end, and insist after a while: then all that it started goes, too."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            return await asyncio.wait_for(self.wait(), _STOP_SECONDS)
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            return await self.wait()


async def _lines(stream: asyncio.StreamReader, level: str, tell: Tell) -> None:
    rest = b""
    while block := await stream.read(_BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            _tell(line, level, tell)
        if len(rest) > _LONGEST_LINE:
            _tell(rest, level, tell)
            rest = b""
    _tell(rest, level, tell)


def _tell(line: bytes, level: str, tell: Tell) -> None:
    text = line.decode("utf-8", "replace").rstrip()
    if text:
        tell(level, text)
