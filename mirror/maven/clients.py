"""What builds are given so that they ask one repository and no other."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from manifests.formats.maven.settings import init_gradle, settings_xml

_MAVEN = frozenset(("mvn", "mvnDebug", "mvnw"))


@dataclass(frozen=True)
class Workplace:
    """A build's private folder: settings, an empty local repository, wrappers."""

    folder: Path
    url: str

    @property
    def settings(self) -> Path:
        return self.folder / "settings.xml"

    @property
    def init_script(self) -> Path:
        return self.folder / "gradle" / "init.d" / "sluice.gradle"

    @property
    def local(self) -> Path:
        return self.folder / "repository"

    def lay_out(self, environ: Mapping[str, str] = os.environ) -> None:
        """Write everything."""
        self.local.mkdir()
        self.init_script.parent.mkdir(parents=True)
        self.settings.write_text(
            settings_xml(self.url, local=str(self.local), strict=True), encoding="utf-8"
        )
        self.init_script.write_text(init_gradle(self.url, strict=True), encoding="utf-8")
        wrappers = self.folder / "bin"
        wrappers.mkdir()
        for name in sorted(_MAVEN - {"mvnw"}):
            real = shutil.which(name, path=environ.get("PATH"))
            if real is None:
                continue
            words = " ".join(quote(word) for word in [real, *self._options()])
            wrapper = wrappers / name
            wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)

    def _options(self) -> list[str]:
        # -gs too: a mirror of the installation that names a repository exactly would win.
        settings = str(self.settings)
        return ["-s", settings, "-gs", settings, f"-Dmaven.repo.local={self.local}"]

    def command(self, words: Sequence[str]) -> list[str]:
        """``words`` with their placeholders filled in.

        Where there is none and Maven is called by its path, its options are added; a plain
        ``mvn``, here or in a script, finds a wrapper that adds them.
        """
        places = {
            "{settings}": str(self.settings),
            "{init_script}": str(self.init_script),
            "{local_repository}": str(self.local),
            "{url}": self.url,
        }
        filled = []
        for word in words:
            for name, value in places.items():
                word = word.replace(name, value)
            filled.append(word)
        program = filled[0]
        if filled == list(words) and "/" in program and Path(program).name in _MAVEN:
            return [program, *self._options(), *filled[1:]]
        return filled

    def environment(self, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The build's environment: tools without placeholders are led here, too."""
        path = environ.get("PATH", os.defpath)
        return {
            **environ,
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{path}",
            # Maven 3.9 and newer, also where a script calls it by its path.
            "MAVEN_ARGS": " ".join([environ.get("MAVEN_ARGS", ""), *self._options()]).strip(),
            "MVNW_REPOURL": self.url.rstrip("/"),
            "GRADLE_USER_HOME": str(self.folder / "gradle"),
            "SLUICE_SETTINGS": str(self.settings),
            "SLUICE_INIT_SCRIPT": str(self.init_script),
            "SLUICE_URL": self.url,
        }
