"""Builds over the repository that this machine's own Maven is set to.

These need that repository, as a developer's machine does; where it cannot be reached they fail
and say so.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.clients.test_maven_setup import NAME, mvn
from tests.support.drive import Inside, Outside, environment
from tests.support.maven import SPACE, place

BOOT = "3.3.5"
PROJECT = f"""<project xmlns="{SPACE}"><modelVersion>4.0.0</modelVersion>
<parent><groupId>org.springframework.boot</groupId><artifactId>spring-boot-starter-parent</artifactId>
<version>{BOOT}</version><relativePath/></parent>
<groupId>org.example</groupId><artifactId>web</artifactId><version>1</version>
<properties><java.version>17</java.version>
<project.build.outputTimestamp>2024-05-01T12:00:00Z</project.build.outputTimestamp></properties>
<dependencies><dependency><groupId>org.springframework.boot</groupId>
<artifactId>spring-boot-starter-web</artifactId></dependency></dependencies>
<build><plugins><plugin><groupId>org.springframework.boot</groupId>
<artifactId>spring-boot-maven-plugin</artifactId></plugin></plugins></build></project>
""".encode()
SOURCE = """package org.example;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;
@SpringBootApplication
@RestController
public class App {
    @GetMapping("/") public String hello() { return "hello"; }
    public static void main(String[] words) { SpringApplication.run(App.class, words); }
}
"""


def application(folder: Path) -> Path:
    source = folder / "src/main/java/org/example/App.java"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE)
    (folder / "pom.xml").write_bytes(PROJECT)
    return folder


def zones(folder: Path, **asked: object) -> tuple[Outside, Inside]:
    outside = Outside.make(folder / "OUT")
    outside.repositories["central"] = {
        "format": "maven", "upstream": "system", "parallel": 8, **asked,
    }  # fmt: skip
    outside.configure()
    return outside, outside.inside(folder / "IN")


def needs_upstream(zone: Outside, *words: object) -> None:
    """Run a command that asks the machine's repository; says so where it fails."""
    done = subprocess.run(
        zone.command(*words), env=environment(), stdin=subprocess.DEVNULL, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=250, check=False,
    )  # fmt: skip
    if done.returncode:
        pytest.fail(
            "this test needs the Maven repository that this machine is set to (its settings.xml,"
            f" else Maven's own). sluice {words[0]} ended with {done.returncode}:\n"
            + done.stdout[-4000:],
            pytrace=False,
        )


def test_a_spring_boot_application_is_built_inside(tmp_path: Path) -> None:
    outside, inside = zones(tmp_path)
    app = application(tmp_path / "app")
    needs_upstream(outside, "capture", "central", "--",
                   "mvn", "-B", "-q", "-ntp", "-C", "-f", app, "package")  # fmt: skip
    built = (app / "target" / "web-1.jar").read_bytes()
    inside.receive(*outside.cycle())
    # Names are looked up in a file that knows the inside server and no other host.
    with inside.server() as server:
        settings = server.get("/setup/maven/settings.xml", Host=f"{NAME}:{server.port}")
        again = application(tmp_path / "again")
        done = mvn(again, settings.body.decode(), PROJECT, "-q", "package")
    assert done.returncode == 0, done.stdout
    assert (again / "target" / "web-1.jar").read_bytes() == built


@pytest.mark.soak
def test_a_bom_brings_all_that_it_manages(tmp_path: Path) -> None:
    outside, _ = zones(tmp_path, boms=["org.ow2.asm:asm-bom:9.6"], include={"sources": True})
    needs_upstream(outside, "sync", "central")
    with outside.store() as store:
        with store.ledger.read() as tx:
            newest = tx.newest_snapshot("", "central")
        assert newest is not None
        tree = store.tree(newest.snapshot.tree)
        for name in ("asm", "asm-tree", "asm-analysis", "asm-util", "asm-commons"):
            for ending in (".pom", ".jar", "-sources.jar"):
                assert tree.lookup(place(f"org.ow2.asm:{name}:9.6", ending)), (name, ending)
        sources = [entry.path for entry in tree.entries() if entry.path.endswith("-sources.jar")]
        assert len(sources) == 5, "those of the tools that resolve are not asked for"
    assert "central" not in outside.holds()
