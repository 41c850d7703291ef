"""Server programs on a free loopback port, each with a folder of its own while it runs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import tools


class Started:
    """What runs while a context is open."""

    def start(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()


class Daemon(Started):
    """A program that serves while the context is open. ``NAME`` is in its folder's name."""

    NAME = ""
    LOG = "log"
    """Where it says why it does not start, in its folder."""

    def __init__(self) -> None:
        self.port = 0
        self.pid = 0

    def _command(self) -> list[str | Path]:
        """Write what it reads into ``_home``; how to start it."""
        raise NotImplementedError

    def _environment(self) -> Mapping[str, str] | None:
        """Its own; None: ours."""
        return None

    def start(self) -> None:
        """Start, also again after ``stop`` (then on the same port)."""
        self._home = Path(tempfile.mkdtemp(prefix=f"sluice-{self.NAME}-"))
        self.port = self.port or tools.free_port()
        command = self._command()
        self._process = tools.spawn(command, log=self._home / "log", env=self._environment())
        self.pid = self._process.pid
        try:
            tools.wait_for_port(self.port, self._process, log=self._home / self.LOG)
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """End it; connections that are open break off."""
        tools.stop(self._process)
        shutil.rmtree(self._home, ignore_errors=True)
