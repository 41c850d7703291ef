"""The init script in the newest Gradle that can be had: the branches that Debian's never takes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.test_maven_setup import NAME, fetch
from tests.clients.test_maven_system import needs_upstream, zones
from tests.support import tools
from tests.support.drive import Outside
from tests.support.gradle import VERSION, NewGradle
from tests.support.maven import artifact, jar, overlay, place, pom
from tests.support.mavenweb import MavenWeb
from tests.support.served import Published, Serving

pytestmark = pytest.mark.soak
Site = tuple[Serving, str, dict[str, bytes]]
"""A server inside, its init script, and the files that it serves."""

PLUGIN = """package org.example;
public class Greeting implements org.gradle.api.Plugin<org.gradle.api.Project> {
    public void apply(org.gradle.api.Project project) { System.out.println("plugin applied"); }
}
"""
MARKER = "org.example.greeting:org.example.greeting.gradle.plugin:1"
BUILD = """
buildscript {
    repositories { mavenCentral() }
    dependencies { classpath 'org.example:plugged:1' }
}
plugins {
    id 'java-library'
    id 'org.example.greeting' version '1'
}
%s
dependencies { implementation %s }
task show {
    doLast {
        println "version ${gradle.gradleVersion}"
        configurations.compileClasspath.files.each { println "path ${it.name}" }
        buildscript.configurations.classpath.files.each { println "plugin ${it.name}" }
        repositories.each { println "repository ${it.name}" }
    }
}
"""
OWN = """repositories {
    mavenCentral()
    maven { url 'http://127.0.0.1:9/never/asked' }
    flatDir { dirs 'lib' }
}"""
CENTRAL = """
pluginManagement { repositories { gradlePluginPortal() } }
dependencyResolutionManagement {
    repositoriesMode = RepositoriesMode.FAIL_ON_PROJECT_REPOS
    repositories { mavenCentral(); maven { url 'http://127.0.0.1:9/never/asked' } }
}
"""


@pytest.fixture(scope="module")
def gradle(tmp_path_factory: pytest.TempPathFactory) -> NewGradle:
    return NewGradle(tmp_path_factory.mktemp("gradle"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, gradle: NewGradle) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("repository")
    source = folder / "Greeting.java"
    source.write_text(PLUGIN)
    tools.run([tools.need("javac"), "-nowarn", "-cp", gradle.classpath, "-d", folder, source])
    code = (folder / "org/example/Greeting.class").read_bytes()
    plugin = {
        place(MARKER, ".pom"): pom(
            MARKER, packaging="pom", dependencies=["org.example:greeting:1"]
        ),
        place("org.example:greeting:1", ".pom"): pom("org.example:greeting:1"),
        place("org.example:greeting:1", ".jar"): jar({
            "org/example/Greeting.class": code,
            "META-INF/gradle-plugins/org.example.greeting.properties":
                b"implementation-class=org.example.Greeting",
        }),
    }  # fmt: skip
    files = plugin | artifact("org.example:plugged:1") | artifact("org.example:plain:1")
    files |= artifact("org.example:ranged:1.0") | artifact("org.example:ranged:1.1")
    published = Published(folder / "store")
    published.publish("central", files, format="maven", overlay=overlay(files))
    with Serving(published.store.folder) as running:
        host = f"{NAME}:{running.address[1]}"
        yield running, fetch(running, "/setup/gradle/init.gradle", host), files
    published.close()


def project(folder: Path, repositories: str, settings: str, *dependencies: str) -> Path:
    (folder / "lib").mkdir(parents=True)
    (folder / "lib" / "ours-1.jar").write_bytes(b"")
    listed = ", ".join(f"'{each}'" for each in dependencies)
    (folder / "build.gradle").write_text(BUILD % (repositories, listed))
    (folder / "settings.gradle").write_text(f"{settings}\nrootProject.name = 'app'\n")
    (folder.parent / "hosts").write_text(f"127.0.0.1 {NAME}\n")
    return folder


def test_projects_with_repositories_of_their_own(
    gradle: NewGradle, server: Site, tmp_path: Path
) -> None:
    script = server[1].encode()
    wanted = ("org.example:plain:1", "org.example:ranged:[1.0,2.0)", ":ours:1")
    app = project(tmp_path / "app", OWN, "", *wanted)
    done = gradle.run(app, script, "show")
    assert done.returncode == 0, done.stdout
    rows = set(done.stdout.splitlines())
    assert {f"version {VERSION}", "plugin applied", "plugin plugged-1.jar"} <= rows
    assert {"path plain-1.jar", "path ranged-1.1.jar", "path ours-1.jar"} <= rows
    assert {row for row in rows if row.startswith("repository")} == {
        "repository sluice", "repository flatDir",
    }  # fmt: skip
    # Without our word that plain HTTP is meant, this Gradle stops: so that branch is needed.
    again = project(tmp_path / "again", OWN, "", *wanted)
    untold = script.replace(b"setAllowInsecureProtocol", b"noSuchMethod")
    stopped = gradle.run(again, untold, "show")
    assert stopped.returncode != 0 and "insecure" in stopped.stdout, stopped.stdout


def test_builds_whose_settings_name_the_repositories(
    gradle: NewGradle, server: Site, tmp_path: Path
) -> None:
    script = server[1].encode()
    app = project(tmp_path / "app", "", CENTRAL, "org.example:plain:1")
    done = gradle.run(app, script, "show")
    assert done.returncode == 0, done.stdout
    rows = set(done.stdout.splitlines())
    assert {"path plain-1.jar", "plugin applied"} <= rows
    assert not any(row.startswith("repository") for row in rows)
    missing = project(tmp_path / "missing", "", CENTRAL, "org.example:absent:1")
    failed = gradle.run(missing, script, "show")
    assert failed.returncode != 0 and "org.example:absent:1" in failed.stdout, failed.stdout
    assert "never/asked" not in failed.stdout
    until = time.monotonic() + 60
    while not any("org.example:absent" in miss.want for miss in server[0].misses):
        assert time.monotonic() < until, "no want"
        time.sleep(0.05)


@pytest.mark.parametrize("settings", ["", CENTRAL], ids=["projects", "settings"])
def test_a_captured_build(gradle: NewGradle, server: Site, tmp_path: Path, settings: str) -> None:
    with MavenWeb(server[2]).serving() as web:
        zone = Outside.make(tmp_path / "OUT")
        zone.repositories["central"] = {"format": "maven", "upstream": web.url, "retries": 1}
        zone.configure()
        app = project(tmp_path / "app", "" if settings else OWN, settings, "org.example:plain:1")
        home = tmp_path / "home"
        home.mkdir()
        done = zone.run("capture", "central", "--",
                        *gradle.command(home, app, "{init_script}", "show"))  # fmt: skip
        assert {"path plain-1.jar", "plugin plugged-1.jar"} <= set(done.out.splitlines())
    found = json.loads(zone.sluice("roots", "central", "--json").out)
    assert {place("org.example:plain:1", ".jar"), place("org.example:plugged:1", ".jar"),
            place("org.example:greeting:1", ".jar"), place(MARKER, ".pom")} <= {
        row["root"] for row in found
    }  # fmt: skip


PLATFORM = """
apply plugin: 'java-library'
repositories { mavenCentral() }
dependencies {
    implementation platform('com.fasterxml.jackson:jackson-bom:2.17.2')
    implementation 'com.fasterxml.jackson.core:jackson-databind'
}
task show { doLast { configurations.runtimeClasspath.each { println "path ${it.name}" } } }
"""


def test_modules_with_metadata_of_gradle_cross(gradle: NewGradle, tmp_path: Path) -> None:
    """Captured from the machine's own upstream: a platform, ``.module`` files, capabilities."""
    outside, inside = zones(tmp_path)
    app = tmp_path / "app"
    app.mkdir()
    (app / "build.gradle").write_text(PLATFORM)
    (app / "settings.gradle").write_text("rootProject.name = 'app'\n")
    home = tmp_path / "home"
    home.mkdir()
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 localhost\n")
    words = gradle.command(home, app, "{init_script}", "show")
    needs_upstream(outside, "capture", "central", "--", *words)
    inside.receive(*outside.cycle())
    hosts.write_text(f"127.0.0.1 {NAME}\n")
    with inside.server() as server:
        script = server.get("/setup/gradle/init.gradle", Host=f"{NAME}:{server.port}").body
        done = gradle.run(app, script, "show")
    assert done.returncode == 0, done.stdout
    rows = {row for row in done.stdout.splitlines() if row.startswith("path ")}
    assert rows == {
        f"path jackson-{name}-2.17.2.jar" for name in ("databind", "core", "annotations")
    }
    found = json.loads(outside.sluice("roots", "central", "--json").out)
    assert any(row["root"].endswith(".module") for row in found)
