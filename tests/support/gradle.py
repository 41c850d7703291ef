"""A newer Gradle than Debian's, put together from what lies where Maven looks.

No registry has Gradle's distribution. ``dev.gradleplugins:gradle-api`` has nearly all of its
classes in one JAR, with the list of modules, but not the start program. Around it a folder is made
that Gradle takes for its installation, and ``Embedded8.java`` runs a build in it.
"""

from __future__ import annotations

import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.maven import pom

VERSION = "8.11.1"
_LIBRARIES = ("ant", "annotations", "gradle-api", "groovy", "kotlin-stdlib", "slf4j-api")
_OPENED = (
    "java.base/java.util", "java.base/java.lang", "java.base/java.lang.invoke",
    "java.base/java.nio.charset", "java.base/java.net", "java.base/java.util.concurrent.atomic",
    "java.prefs/java.util.prefs",
)  # fmt: skip
_MODULE = "-classpath.properties"


class NewGradle:
    """An installation in ``folder``; about 200 MB come by Maven the first time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._library = folder / "installation" / "lib"
        (self._library / "plugins").mkdir(parents=True)
        self.jars = self._fetched()
        self._modules()
        tools.run([tools.need("javac"), "-nowarn", "-cp", self.classpath, "-d", folder,
                   Path(__file__).with_name("Embedded8.java")])  # fmt: skip

    @property
    def classpath(self) -> str:
        return os.pathsep.join(str(self._library / name) for name in self.jars)

    def _fetched(self) -> list[str]:
        project = self._folder / "pom.xml"
        project.write_bytes(
            pom("org.example:gradle:1", packaging="pom",
                dependencies=[f"dev.gradleplugins:gradle-api:{VERSION}"])
        )  # fmt: skip
        done = tools.run(
            [tools.need("mvn"), "-B", "-ntp", "-q", "-f", project, "dependency:copy-dependencies",
             "-DincludeTypes=jar", f"-DoutputDirectory={self._library}"],
            check=False, timeout=900,
        )  # fmt: skip
        if done.returncode:
            pytest.fail(
                "this test needs the Maven repository that this machine is set to:\n"
                + tools.describe(done),
                pytrace=False,
            )
        for path in self._library.glob("*.jar"):
            if not path.name.startswith(_LIBRARIES):
                path.unlink()
        return sorted(path.name for path in self._library.glob("*.jar"))

    def _modules(self) -> None:
        """Gradle looks its modules up by JAR: here each has a list that names the one JAR."""
        with zipfile.ZipFile(self._library / f"gradle-api-{VERSION}.jar") as whole:
            for name in whole.namelist():
                if "/" in name or not name.endswith(_MODULE):
                    continue
                rows = [row for row in whole.read(name).decode().splitlines()
                        if not row.startswith("runtime=")]  # fmt: skip
                rows.append(f"runtime={','.join(self.jars)}\n")
                self._jar(f"{name.removesuffix(_MODULE)}-{VERSION}", name, "\n".join(rows))
        self._jar("javax.inject-1", "none", "")  # in the one JAR

    def _jar(self, jar: str, name: str, text: str) -> None:
        with zipfile.ZipFile(self._library / f"{jar}.jar", "w") as archive:
            archive.writestr(name, text)

    def command(self, home: Path, project: Path, init: object, *tasks: str) -> list[str]:
        """Words that run a build; ``init`` is the init script."""
        opened = [f"--add-opens={name}=ALL-UNNAMED" for name in _OPENED]
        path = os.pathsep.join([self.classpath, str(self._folder)])
        hosts = f"-Djdk.net.hosts.file={project.with_name('hosts')}"
        return [tools.need("java"), *opened, hosts, "-cp", path, "Embedded8",
                str(home), str(project), str(init), *tasks]  # fmt: skip

    def run(self, project: Path, script: bytes, *tasks: str) -> subprocess.CompletedProcess[str]:
        """A build with an empty home; output and errors.

        Names are looked up in ``hosts`` beside the project, and nowhere else.
        """
        home = project.with_name(f"{project.name}-home")
        home.mkdir()
        init = project.with_name(f"{project.name}.init.gradle")
        init.write_bytes(script)
        return subprocess.run(
            self.command(home, project, init, *tasks), cwd=project, env=tools.clean_env(home),
            text=True, timeout=280, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
