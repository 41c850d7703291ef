"""Java: a build is captured outside and repeated inside; what it lacks later comes as a want."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack

from tests.demo.stage import Stage
from tests.support import tools
from tests.support.javaproject import APP, TESTED, WISH, java_project
from tests.support.mavenweb import DEBIAN, DebianRepository, MavenWeb

_SHOWN = re.compile(r"Tests run: .* in |BUILD |Could not (find|resolve)|central: |kept out")
_PATIENCE = 30.0
"""Seconds after which a miss must stand among the wants."""


class MavenPart:
    """One project, a real Maven on both sides. Use as a context manager: the upstream runs."""

    def __init__(self, stage: Stage, upstream: str | None) -> None:
        self.stage = stage
        self._embedded = upstream is None and DEBIAN.is_dir()
        self._upstream = upstream or "system"
        self._open = ExitStack()
        self._project = stage.folder / "app"
        self._inside = stage.folder / "developer"
        self._local = stage.folder / "client-m2"
        self._settings = stage.folder / "settings.xml"

    def __enter__(self) -> MavenPart:
        self.stage.say("A Java project outside: one class, one JUnit test")
        java_project(self._project, debian=self._embedded)
        if self._embedded:
            web = self._open.enter_context(MavenWeb(DebianRepository()).serving())
            self._upstream = web.url
            print(
                "    its upstream is the Maven repository that Debian's packages installed here;\n"
                "    `upstream: system` would be the one that this machine's Maven is set to"
            )
        self.stage.repository(f'central: {{format: maven, upstream: "{self._upstream}"}}')
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def capture(self) -> None:
        stage = self.stage
        stage.say("Outside: build it with Sluice as Maven's only repository, and keep what it asks")
        words = ["mvn", "-B", "-ntp", "-f", self._project, "verify"]
        stage.sluice("-z", stage.out, "capture", "central", "--", *words, show=_is_news)
        stage.say("Across the gap: artifacts, parents, plugins and what the plugins need")
        stage.cross("central")

    def build_inside(self) -> None:
        self.stage.say("A developer inside: one settings.xml, an empty local repository, mvn -C")
        url = f"{self.stage.url}/setup/maven/settings.xml"
        print(f"    $ curl -o {self.stage.short(self._settings)} {url}")
        with urllib.request.urlopen(url, timeout=10) as answer:
            self._settings.write_bytes(answer.read())
        java_project(self._inside, debian=self._embedded)
        self._passes("-C")

    def want_and_get(self) -> None:
        stage = self.stage
        stage.say(f"The project grows: it wants {WISH}, which nobody captured")
        java_project(self._inside, more=[WISH], debian=self._embedded)
        if self._mvn("-C").returncode == 0:
            raise SystemExit("the build passed without what it needs")
        wants = self._wants()
        if wants != [WISH]:
            raise SystemExit(f"the wants are {wants}")
        slip = stage.folder / "wants.txt"
        stage.sluice("-z", stage.inside, "wants")
        stage.sluice("-z", stage.inside, "wants", "export", slip)
        stage.say(
            "Outside: a person reads the file and accepts; the closure comes at the next sync"
        )
        stage.sluice("-z", stage.out, "wants", "import", slip, "--accept")
        stage.cross("central")
        stage.say("The developer: the same build again")
        self._passes("-C", "-U")
        stage.sluice("-z", stage.inside, "wants")
        if self._wants(some=False):
            raise SystemExit("a want that was fulfilled still stands on the list")

    # --- Maven and the project

    def _passes(self, *words: str) -> None:
        done = self._mvn(*words)
        if done.returncode != 0 or TESTED not in done.stdout:
            print(done.stdout)
            raise SystemExit(f"the build of {APP} did not pass")

    def _mvn(self, *words: str) -> subprocess.CompletedProcess[str]:
        given = ["-s", self._settings, f"-Dmaven.repo.local={self._local}", "-f", self._inside]
        shown = " ".join(self.stage.short(word) for word in [*words, *given])
        print(f"    $ mvn -B {shown} verify", flush=True)
        return self.stage.run([tools.need("mvn"), "-B", "-ntp", *words, *given, "verify"], _is_news)

    def _wants(self, *, some: bool = True) -> list[str]:
        """What the inside lists; with ``some`` as soon as there is anything: the server

        writes misses down a few seconds later.
        """
        command = [sys.executable, "-m", "sluice", "-z", self.stage.inside, "wants", "--json"]
        until = time.monotonic() + _PATIENCE
        while True:
            said = self.stage.run(command, lambda line: False).stdout
            wants = [each["want"] for each in json.loads(said)["wants"]]
            if wants or not some or time.monotonic() > until:
                return wants
            time.sleep(0.3)


def _is_news(line: str) -> bool:
    return _SHOWN.search(line) is not None
