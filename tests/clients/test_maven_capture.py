"""Real builds with Sluice as their only repository, and real Maven to find closures.

The upstream is Debian's own Maven repository, so nothing here leaves this machine.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from manifests.formats import format_named
from manifests.formats.base import Missing, Request, SendBytes, SendEntry
from store.store import Store
from store.views import StoredView
from tests.support import tools
from tests.support.drive import Outside
from tests.support.javaproject import PLUGINS, java_project, plugin
from tests.support.maven import artifact, help_plugin, jar, mvn, place, pom
from tests.support.mavenweb import DebianRepository, Layers, MavenWeb


class Served:
    """A snapshot as the inside serves it: its files, derived metadata, checksums."""

    def __init__(self, view: StoredView, derived: dict[str, bytes]) -> None:
        self._view = view
        self._derived = derived
        self._format = format_named("maven")

    def get(self, path: str) -> bytes | None:
        if path in self._derived:
            return self._derived[path]
        answer = self._format.answer(Request(path), self._view)
        if isinstance(answer, SendEntry) and answer.body is not None:
            return answer.body
        if isinstance(answer, SendEntry):
            with self._view.open(path) as file:
                return file.read()
        assert isinstance(answer, Missing | SendBytes) or path.endswith("/")
        return None


def served(store: Store, name: str) -> Served:
    with store.ledger.read() as tx:
        newest = tx.newest_snapshot("", name)
    assert newest is not None
    view = store.view(newest.snapshot.tree)
    derived = {path: data for path, data in format_named("maven").derive(view, None, None)
               if isinstance(data, bytes) and data}  # fmt: skip
    return Served(view, derived)


@pytest.fixture
def debian() -> Iterator[MavenWeb]:
    web = MavenWeb(DebianRepository())
    with web.serving():
        yield web


def outside(folder: Path, web: MavenWeb, **more: Any) -> Outside:
    zone = Outside.make(folder / "OUT")
    zone.repositories["central"] = {
        "format": "maven", "upstream": web.url, "retries": 1, "parallel": 8, **more,
    }  # fmt: skip
    zone.configure()
    return zone


def roots(zone: Outside) -> dict[str, str]:
    rows = json.loads(zone.sluice("roots", "central", "--json").out)
    return {row["root"]: row["kind"] for row in rows}


def test_a_captured_build_is_built_again_from_its_snapshot_alone(
    tmp_path: Path, debian: MavenWeb
) -> None:
    zone = outside(tmp_path, debian)
    project = tmp_path / "app"
    java_project(project)
    done = zone.run("capture", "central", "--", "mvn", "-B", "-ntp", "-C", "-f", project, "verify")
    assert "Tests run: 1, Failures: 0" in done.out
    assert "captured" in done.err
    found = roots(zone)
    assert found[place("junit:junit:4.13.2", ".jar")] == "captured"
    assert not any(path.endswith((".sha1", "maven-metadata.xml")) for path in found)
    before = sum(debian.asked.values())
    zone.sluice("sync")
    assert sum(debian.asked.values()) == before, "what was captured is asked of nobody again"
    assert "unchanged" in zone.sluice("sync").out

    # A second build is answered by the store.
    zone.run("capture", "central", "--", "sh", "-c", f"cd {project} && mvn -B -q -ntp verify")
    jars = [path for path in debian.asked if path.endswith((".jar", ".pom"))]
    assert {debian.asked[path] for path in jars} == {1}

    with zone.store() as store:
        inside = MavenWeb(served(store, "central"), sums=())
        with inside.serving():
            built = mvn(
                tmp_path / "again", inside.url, java_project(tmp_path / "again"), "-C", "verify"
            )
    assert built.returncode == 0, built.stdout
    assert "Tests run: 1, Failures: 0" in built.stdout


def test_the_exit_code_is_the_builds_and_what_it_asked_for_stays(
    tmp_path: Path, debian: MavenWeb
) -> None:
    zone = outside(tmp_path, debian)
    project = tmp_path / "app"
    java_project(project, more=["no.such:thing:1"])
    failed = zone.run("capture", "central", "--", tools.need("mvn"), "-B", "-ntp", "-f", project,
                      "verify", expect=1)  # fmt: skip
    assert "no.such:thing:jar:1" in failed.out
    assert "the build ended with 1" in failed.err
    assert any(path.endswith("maven-compiler-plugin-3.10.1.pom") for path in roots(zone))
    missing = zone.run("capture", "central", "--", "no-such-program", expect=2)
    assert "no-such-program" in missing.err


def test_placeholders_stand_for_settings_and_init_script(tmp_path: Path, debian: MavenWeb) -> None:
    zone = outside(tmp_path, debian)
    show = "cat {settings} {init_script}; echo {url} {local_repository}; ls {local_repository}"
    said = zone.run("capture", "central", "--", "sh", "-c", show).out
    assert "<mirrorOf>*</mirrorOf>" in said
    assert said.count("<checksumPolicy>fail</checksumPolicy>") == 4
    assert "allowInsecureProtocol" in said
    assert "http://127.0.0.1:" in said
    folder = Path(said.splitlines()[-1].split()[1])
    assert not folder.exists(), "the build's folder is gone"


def test_a_gradle_build_is_captured_by_the_user_home_that_is_set_for_it(tmp_path: Path) -> None:
    files = artifact("org.example:used:1", dependencies=["org.example:below:1"])
    files |= artifact("org.example:below:1")
    web = MavenWeb(files)
    project = tmp_path / "app"
    (project / "lib").mkdir(parents=True)
    (project / "lib" / "ours-1.jar").write_bytes(b"")
    (project / "settings.gradle").write_text("rootProject.name = 'app'\n")
    (project / "build.gradle").write_text(
        "apply plugin: 'java'\n"
        "repositories { mavenLocal(); mavenCentral(); flatDir { dirs 'lib' } }\n"
        "dependencies { compile 'org.example:used:1', ':ours:1' }\n"
        "task show { doLast {\n"
        '    configurations.compileClasspath.files.each { println "path ${it.name}" }\n'
        '    repositories.each { println "repository ${it.name}" }\n} }\n'
    )
    with web.serving():
        zone = outside(tmp_path, web)
        done = zone.run("capture", "central", "--", tools.need("gradle"), "--no-daemon", "-q",
                        "-p", project, "show")  # fmt: skip
    assert "path below-1.jar" in done.out and "path ours-1.jar" in done.out
    named = {row for row in done.out.splitlines() if row.startswith("repository ")}
    assert {row.rstrip("0123456789") for row in named} == {
        "repository sluice",
        "repository flatDir",
    }
    assert set(roots(zone)) == set(files)


def test_removed_roots_leave_the_next_snapshot(tmp_path: Path) -> None:
    files = {**artifact("org.example:one:1"), **artifact("org.example:two:1")}
    web = MavenWeb(files)
    with web.serving():
        zone = outside(tmp_path, web, max_removals="100%")
        fetch = ("import os, sys, urllib.request as r\n"
                 "for p in sys.argv[1:]: r.urlopen(os.environ['SLUICE_URL'] + p)")  # fmt: skip
        zone.run("capture", "central", "--", "python3", "-c", fetch, *files)
        zone.sluice("sync")
        zone.sluice("roots", "central", "--remove", "org/example/two/*")
        assert sorted(roots(zone)) == sorted(artifact("org.example:one:1"))
        assert "2 removed" in zone.sluice("sync").out
        assert "no root" in zone.sluice("roots", "central", "--remove", "nothing", expect=2).err
        assert len(zone.events("roots.removed")) == 1


def test_nothing_asked_for_is_said_so(tmp_path: Path) -> None:
    web = MavenWeb({})
    with web.serving():
        zone = outside(tmp_path, web)
        assert "sluice capture central" in zone.sluice("sync", expect=2).err


def test_a_closure_is_resolved_once_and_what_cannot_be_is_named(
    tmp_path: Path, debian: MavenWeb
) -> None:
    own = {
        **artifact("org.example:top:1", dependencies=["org.example:below:1"]),
        **artifact("org.example:below:1"),
        place("org.example:below:1", "-sources.jar"): b"PK\5\6" + bytes(18),
    }
    debian.odd = dict(own)
    web = debian
    for path, data in own.items():
        web.odd[f"{path}.sha1"] = hashlib.sha1(data).hexdigest().encode()
    zone = outside(
        tmp_path, web, artifacts=["org.example:top:1", "no.such:thing:1"], include={"sources": True}
    )
    said = zone.sluice("sync")
    assert "no.such:thing:1" in said.err
    held = zone.holds()["central"]
    assert held["kind"] == "unresolved"
    assert "no.such:thing" in held["reason"]
    with zone.store() as store, store.ledger.read() as tx:
        newest = tx.newest_snapshot("", "central")
        assert newest is not None
        tree = {entry.path for entry in store.tree(newest.snapshot.tree).entries()}
    assert set(own) <= tree

    zone.repositories["central"]["artifacts"] = ["org.example:top:1"]
    zone.configure()
    zone.sluice("sync")
    assert "central" not in zone.holds()
    before = sum(web.asked.values())
    assert "unchanged" in zone.sluice("sync").out
    assert sum(web.asked.values()) == before, "releases are asked of nobody again"
    assert roots(zone) == {"org.example:top:1": "artifact"}
    refused = zone.sluice("roots", "central", "--remove", "org.example:top:1", expect=2)
    assert "zone.yaml" in refused.err


def test_a_projects_plugins_are_part_of_its_closure(tmp_path: Path, debian: MavenWeb) -> None:
    project = tmp_path / "app"
    data = java_project(project)
    # What Maven itself binds, in versions that Debian has; it has no plugin for sites.
    bound = {"maven-install-plugin": "3.1.0", "maven-deploy-plugin": "3.0.0"}
    more = "".join(plugin(name, version) for name, version in bound.items())
    (project / "pom.xml").write_bytes(data.replace(b"</plugins>", more.encode() + b"</plugins>"))
    zone = outside(tmp_path, debian, projects=[str(project / "pom.xml")])
    assert "maven-site-plugin" in zone.sluice("sync").err
    with zone.store() as store, store.ledger.read() as tx:
        newest = tx.newest_snapshot("", "central")
        assert newest is not None
        tree = {entry.path for entry in store.tree(newest.snapshot.tree).entries()}
    for name, version in PLUGINS.items():
        assert place(f"org.apache.maven.plugins:{name}:{version}", ".jar") in tree
    assert place("junit:junit:4.13.2", ".jar") in tree


def test_the_newest_build_of_a_snapshot_follows(tmp_path: Path) -> None:
    from manifests.formats.maven.metadata import Build, Metadata, write

    base = "org.example:moving:1.0-SNAPSHOT"
    index = "org/example/moving/1.0-SNAPSHOT/maven-metadata.xml"

    def published(stamp: str, number: int) -> dict[str, bytes]:
        build = f"1.0-{stamp}-{number}"
        builds = tuple(Build(kind, "", build, stamp.replace(".", "")) for kind in ("jar", "pom"))
        document = Metadata("org.example", "moving", "1.0-SNAPSHOT",
                            updated=stamp.replace(".", ""), moment=(stamp, number),
                            builds=builds)  # fmt: skip
        return {**artifact(base, build), index: write(document)}

    first = published("20240501.120000", 1)
    web = MavenWeb(dict(first))
    with web.serving():
        zone = outside(tmp_path, web, max_removals="100%")
        fetch = ("import os, sys, urllib.request as r\n"
                 "for p in sys.argv[1:]: r.urlopen(os.environ['SLUICE_URL'] + p)")  # fmt: skip
        zone.run("capture", "central", "--", "python3", "-c", fetch, *first)
        zone.sluice("sync")
        second = published("20240502.120000", 2)
        web.files = {**first, **second}
        zone.sluice("sync")
        with zone.store() as store, store.ledger.read() as tx:
            newest = tx.newest_snapshot("", "central")
            assert newest is not None
            tree = {entry.path for entry in store.tree(newest.snapshot.tree).entries()}
        assert {path for path in second if path != index} <= tree
        assert index not in tree


@pytest.mark.soak
def test_a_bom_whose_content_cannot_be_told_still_comes(tmp_path: Path, debian: MavenWeb) -> None:
    """Debian has no help plugin, and what was left out is named."""
    bom = pom("org.example:bom:1", packaging="pom")
    debian.odd = {place("org.example:bom:1", ".pom"): bom}
    zone = outside(tmp_path, debian, boms=["org.example:bom:1"])
    said = zone.sluice("sync")
    assert "org.example:bom:1" in said.err
    assert "maven-help-plugin" in said.err


def test_a_bom_brings_what_it_manages(tmp_path: Path, debian: MavenWeb) -> None:
    """Through its parent, an imported BOM and properties; with sources, whatever a type is for."""

    def managed(*rows: str) -> str:
        return f"<dependencyManagement><dependencies>{''.join(rows)}</dependencies>" \
               "</dependencyManagement>"  # fmt: skip

    def row(name: str, version: str, more: str = "") -> str:
        return (f"<dependency><groupId>org.example</groupId><artifactId>{name}</artifactId>"
                f"<version>{version}</version>{more}</dependency>")  # fmt: skip

    def bom(name: str, extra: str, **words: str) -> dict[str, bytes]:
        at = f"org.example:{name}:1"
        return {place(at, ".pom"): pom(at, packaging="pom", extra=extra, **words)}

    extra = place("org.example:one:2", "-linux.jar")
    libraries = artifact("org.example:one:2", dependencies=["org.example:deeper:1"])
    libraries |= artifact("org.example:two:3") | artifact("org.example:three:4")
    libraries |= artifact("org.example:deeper:1")
    libraries |= {place("org.example:two:3", "-tests.jar"): jar(), extra: jar()}
    libraries |= {place("org.example:one:2", "-sources.jar"): jar()}
    boms = bom("other", managed(row("three", "4")))
    boms |= bom("above", managed(row("two", "3", "<type>test-jar</type>"), row("two", "3")))
    boms |= bom(
        "bom",
        "<properties><of.one>2</of.one></properties>" + managed(
            row("one", "${of.one}"), row("one", "${of.one}", "<classifier>linux</classifier>"),
            row("other", "1", "<type>pom</type><scope>import</scope>"),
        ),
        parent="org.example:above:1",
    )  # fmt: skip
    unasked = artifact("org.example:unasked:1")
    debian.files = Layers(help_plugin() | libraries | boms | unasked, DebianRepository())
    zone = outside(tmp_path, debian, boms=["org.example:bom:1"], include={"sources": True})
    said = zone.sluice("sync")
    assert "central" not in zone.holds(), said.err
    with zone.store() as store, store.ledger.read() as tx:
        newest = tx.newest_snapshot("", "central")
        assert newest is not None
        tree = {entry.path for entry in store.tree(newest.snapshot.tree).entries()}
    assert {path for path in tree if path.startswith("org/example/")} == {*libraries, *boms}
    sources = [path for path in debian.asked if path.endswith("-sources.jar")]
    assert all(path.startswith("org/example/") for path in sources), "plugins go without"
