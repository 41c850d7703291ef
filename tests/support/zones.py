"""An outside and an inside zone on disk, walked by the real command line, and the real server.

Commands run in this process (loading the program each time would take longer than most
of the work); the server is a process of its own with its workers.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sluice.cli import main
from tests.support import tools

_HERE = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Said:
    """How a command ended: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    def __str__(self) -> str:
        return f"exit {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def sluice(*words: object, expect: int | None = 0) -> Said:
    """Run one command; AssertionError with all it said unless it ends with ``expect``."""
    out, err = io.StringIO(), io.StringIO()
    main_thread = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(out), redirect_stderr(err):
        try:
            code = main([str(word) for word in words])
        finally:
            if main_thread:
                signal.signal(signal.SIGTERM, before)
    said = Said(code, out.getvalue(), err.getvalue())
    assert expect is None or code == expect, f"sluice {' '.join(map(str, words))}\n{said}"
    return said


class Zones:
    """``OUT`` and ``IN`` below ``folder``, one stream ``hq`` between them.

    ``repositories`` maps a name to what zone.yaml says of it; ``inside`` and ``outside``
    are further settings of the two zone.yaml.
    """

    def __init__(
        self,
        folder: Path,
        repositories: Mapping[str, Mapping[str, object]],
        *,
        inside: Mapping[str, object] | None = None,
        outside: Mapping[str, object] | None = None,
    ) -> None:
        self.folder = folder
        self.outside = folder / "OUT"
        self.inside = folder / "IN"
        folder.mkdir(parents=True, exist_ok=True)
        sluice("init", "outside", self.outside, "--stream", "hq")
        sluice("-z", self.outside, "trust", "export", folder / "root.json")
        sluice("init", "inside", self.inside, "--root", folder / "root.json", "--stream", "hq")
        self.repositories = {name: dict(values) for name, values in repositories.items()}
        self._extra = dict(outside or {})
        self.configure_outside()
        self.configure_inside(**dict(inside or {}))

    def configure_outside(self) -> None:
        """Write zone.yaml outside from ``repositories``."""
        self._write(
            self.outside,
            zone="outside",
            repositories=self.repositories,
            streams={"hq": {"carrier": "file", "outbox": "outbox"}},
            **self._extra,
        )

    def configure_inside(self, **settings: object) -> None:
        """Write zone.yaml inside; ``settings`` stand at its top level."""
        inbox = {"carrier": "file", "inbox": "inbox", "root": "trust/root.json", "settle": "0s"}
        self._write(self.inside, **{"zone": "inside", "streams": {"hq": inbox}, **settings})

    def _write(self, folder: Path, **settings: object) -> None:
        settings = {"reserve_free": "1MiB"} | settings
        # JSON is YAML, and never has the aliases that zone.yaml refuses.
        (folder / "zone.yaml").write_text(json.dumps(settings, indent=1), "utf-8")

    def out(self, *words: object, expect: int | None = 0) -> Said:
        """``sluice -z OUT WORDS``"""
        return sluice("-z", self.outside, *words, expect=expect)

    def within(self, *words: object, expect: int | None = 0) -> Said:
        """``sluice -z IN WORDS``"""
        return sluice("-z", self.inside, *words, expect=expect)

    def carry(self) -> int:
        """What a CDS does: take the parts away and put them down inside; how many."""
        parts = sorted((self.outside / "outbox").iterdir())
        for part in parts:
            shutil.move(part, self.inside / "inbox" / part.name)
        return len(parts)

    def cross(self, *repositories: str, expect: int | None = 0) -> Said:
        """Sync (all or only these), pack, send, carry, receive; what ``receive`` said."""
        self.out("sync", *repositories)
        self.out("pack")
        self.out("send")
        assert self.carry() > 0, "nothing lay in the outbox"
        return self.within("receive", "--once", expect=expect)

    def status(self, *, inside: bool = True) -> dict[str, Any]:
        """``status --json``"""
        said = (self.within if inside else self.out)("status", "--json", expect=None)
        result: dict[str, Any] = json.loads(said.out)
        return result

    @contextmanager
    def serving(self, *, workers: int = 1, access_log: bool = False) -> Iterator[Serving]:
        """The inside's server on a free port."""
        with Serving(self.inside, workers=workers, access_log=access_log) as server:
            yield server


class Serving:
    """``sluice -z ZONE serve``. Use as a context manager."""

    def __init__(self, zone: Path, *, workers: int = 1, access_log: bool = False) -> None:
        self.zone = zone
        self._words = ["--listen", "127.0.0.1:0", "--workers", str(workers)]
        if access_log:
            self._words.append("--access-log")
        self.log = zone.parent / f"{zone.name}-serve.log"
        self.url = ""
        """Without a trailing slash."""

    def start(self) -> None:
        self.log.write_bytes(b"")
        env = dict(os.environ) | {"PYTHONPATH": str(_HERE), "PYTHONUNBUFFERED": "1"}
        self._process = tools.spawn(self._command(), log=self.log, env=env)
        until = time.monotonic() + 60
        while not self.url:
            for line in self.log.read_text("utf-8", "replace").splitlines():
                if line.startswith("serving "):
                    self.url = line.split()[1]
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise AssertionError(f"the server did not start\n{self.log.read_text()}")
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        return self._process.pid

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "sluice", "-z", str(self.zone), "serve", *self._words]

    def stop(self) -> None:
        """End it by SIGTERM, as a service manager does."""
        tools.stop(self._process)

    def requests(self) -> list[dict[str, Any]]:
        """The access log so far, one object for each answer."""
        lines = self.log.read_text("utf-8", "replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def __enter__(self) -> Serving:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
