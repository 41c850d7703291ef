"""Two zones, the gap, the inside's server: what every part of the demo plays on."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.support import tools
from tests.support.maven import QUICK_START

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
Choice = Callable[[str], bool]
"""Which lines of a program are shown."""


class Stage:
    """One run; every step prints what it does and what came of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"
        self.out = folder / "OUT"
        self.inside = folder / "IN"
        self._step = 0
        self._bundles = 0
        self._sections: dict[tuple[Path, str], list[str]] = {}

    # --- the zones

    def repository(self, line: str) -> None:
        """Name one more repository outside."""
        self.setting(self.out, "repositories:", line)

    def setting(self, zone: Path, section: str, line: str) -> None:
        """Put one more line below a section of zone.yaml."""
        lines = self._sections.setdefault((zone, section), [])
        lines.append(f"  {line}")
        self._section(zone, section, lines)
        self._show(zone, section, f"  {line}")

    def cross(self, repository: str) -> int:
        """Sync one repository, seal a bundle, carry it, take it in; the bytes that crossed."""
        self.sluice("-z", self.out, "sync", repository)
        self.sluice("-z", self.out, "pack")
        self.sluice("-z", self.out, "send")
        carried = self._carry()
        self.sluice("-z", self.inside, "receive", "--once")
        return carried

    def _carry(self) -> int:
        """What a CDS does: take the files away on one side, put them down on the other."""
        total = 0
        for part in sorted((self.out / "outbox").iterdir()):
            total += part.stat().st_size
            print(f"    the CDS carries {part.name}, {part.stat().st_size} bytes")
            shutil.move(part, self.inside / "inbox" / part.name)
        if total == 0:
            raise SystemExit("nothing lay in the outbox")
        self._bundles += 1
        return total

    @contextmanager
    def server(self) -> Iterator[None]:
        """The inside's server, in the background."""
        self.say("Inside: serve over HTTP")
        command = [sys.executable, "-m", "sluice", "-z", str(self.inside), "serve"]
        print(f"    $ sluice -z {self.short(self.inside)} serve &")
        log = self.folder / "serve.log"
        process = tools.spawn(command, log=log, env=self._environment())
        try:
            tools.wait_for_port(int(self.url.rpartition(":")[2]), process, log=log)
            yield
        finally:
            tools.stop(process)

    def farewell(self, seconds: float) -> None:
        self.say(
            f"Done in {seconds:.0f} seconds: {self._bundles} bundles crossed,"
            " dnf, Maven, podman and skopeo have what they asked for"
        )
        if sys.stdout.isatty():
            print(f"    the inside server stays up: {self.url}/   (Ctrl-C ends it)")
            while True:
                time.sleep(3600)

    # --- telling and running

    def say(self, text: str) -> None:
        self._step += 1
        print(f"\n{self._step}. {text}", flush=True)

    def short(self, word: object) -> str:
        return str(word).replace(f"{self.folder}/", "")

    def sluice(self, *words: object, show: Choice = lambda line: True) -> None:
        """Run the real command line and show what it says."""
        print(f"    $ sluice {' '.join(self.short(word) for word in words)}", flush=True)
        done = self.run([sys.executable, "-m", "sluice", *words], show)
        if done.returncode != 0:
            print(done.stdout)
            raise SystemExit(f"the command ended with {done.returncode}")

    def run(
        self, words: Sequence[object], show: Choice, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program to its end; lines of its output that ``show`` takes are printed."""
        done = subprocess.run(
            [str(word) for word in words],
            env=self._environment(),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        done.stdout = _COLOURS.sub("", done.stdout)
        for line in done.stdout.splitlines():
            if show(line):
                print(f"      {self.short(line)}")
        return done

    def _environment(self) -> dict[str, str]:
        return dict(os.environ) | {
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent.parent),
            "PYTHONUNBUFFERED": "1",
            "MAVEN_OPTS": QUICK_START,
        }

    def _section(self, zone: Path, section: str, lines: Sequence[str]) -> None:
        """Make these lines a section of zone.yaml, in the place of what it had switched on."""
        path = zone / "zone.yaml"
        kept: list[str] = []
        inside = False
        for line in path.read_text().splitlines():
            if line == section:
                inside = True
                kept += [line, *lines]
                continue
            if inside and line and not line.startswith((" ", "#")):
                inside = False
            if not inside or line.lstrip().startswith("#") or not line.strip():
                kept.append(line)
        path.write_text("\n".join(kept) + "\n")

    def _show(self, zone: Path, *lines: str) -> None:
        for line in lines:
            print(f"    {self.short(zone)}/zone.yaml: {self.short(line)}")
