"""A small Java project with a JUnit test, which a real Maven builds without a network.

Plugins are named in the versions that Debian packages, since Debian's own Maven repository is
the upstream; the same project builds from any other that has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.support.maven import SPACE
from tests.support.mavenweb import DEBIAN

APP = "org.example:app:1"
WISH = "org.apache.commons:commons-text:1.10.0"
"""What the code uses if it is among ``more``; it needs commons-lang3 itself."""
TESTED = "Tests run: 1, Failures: 0, Errors: 0"
PLUGINS = {
    "maven-clean-plugin": "3.2.0",
    "maven-resources-plugin": "3.3.0",
    "maven-compiler-plugin": "3.10.1",
    "maven-surefire-plugin": "2.22.3",
    "maven-jar-plugin": "3.3.0",
}
_ELSEWHERE = {"maven-surefire-plugin": "2.22.2"}
"""Versions that only Debian has, and what stands for them anywhere else."""

_POM = """\
<project xmlns="{space}">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.example</groupId>
  <artifactId>app</artifactId>
  <version>1</version>
  <properties>
    <maven.compiler.source>8</maven.compiler.source>
    <maven.compiler.target>8</maven.compiler.target>
    <project.build.sourceEncoding>UTF-8</project.build.sourceEncoding>
    <forkCount>0</forkCount>
  </properties>
  <dependencies>
    {dependencies}
  </dependencies>
  <build>
    <plugins>
      {plugins}
    </plugins>
  </build>
</project>
"""
_MAIN = """\
package org.example;

public class App {
    public static String greet(String name) {
        return %s;
    }
}
"""
_TEST = """\
package org.example;

public class AppTest {
    @org.junit.Test
    public void greets() {
        org.junit.Assert.assertEquals("Hello World", App.greet("world"));
    }
}
"""
_PLAIN = '"Hello " + name.substring(0, 1).toUpperCase() + name.substring(1)'
_WISHFUL = '"Hello " + org.apache.commons.text.WordUtils.capitalize(name)'


def java_project(folder: Path, *, more: Iterable[str] = (), debian: bool = True) -> bytes:
    """Write the project (again); its POM. ``more`` are coordinates that it also depends on."""
    for name, version in PLUGINS.items() if debian else ():
        place = DEBIAN / "org/apache/maven/plugins" / name / version
        assert place.is_dir(), f"install Debian's package of {name} (see .ci/system-packages)"
    plugins = PLUGINS if debian else PLUGINS | _ELSEWHERE
    wanted = [("junit:junit:4.13.2", "test"), *((each, "compile") for each in more)]
    data = _POM.format(
        space=SPACE,
        dependencies="\n    ".join(_dependency(text, scope) for text, scope in wanted),
        plugins="\n      ".join(plugin(name, version) for name, version in plugins.items()),
    ).encode()
    for kind, name, text in (
        ("main", "App", _MAIN % (_WISHFUL if (WISH, "compile") in wanted else _PLAIN)),
        ("test", "AppTest", _TEST),
    ):
        source = folder / f"src/{kind}/java/org/example/{name}.java"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(text)
    (folder / "pom.xml").write_bytes(data)
    return data


def plugin(name: str, version: str) -> str:
    """A line of ``plugins``."""
    return f"<plugin><artifactId>{name}</artifactId><version>{version}</version></plugin>"


def _dependency(coordinates: str, scope: str) -> str:
    group, name, version = coordinates.split(":")
    return (
        f"<dependency><groupId>{group}</groupId><artifactId>{name}</artifactId>"
        f"<version>{version}</version><scope>{scope}</scope></dependency>"
    )
