"""The real Maven builds from what the Maven format derives, served by the real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from manifests.formats.base import Spec
from store.checks import check_tree, derive_overlay
from tests.support import maven
from tests.support.maven import artifact, jar, mvn, place, pom
from tests.support.served import Published, Serving

SNAP = "org.example:moving:1-SNAPSHOT"
BUILDS = ("1-20240501.120000-1", "1-20240502.120000-2")
LARGE = "org.example:large:1"
CONSTRAINT = "org.example:ranged:[1.0,2.0)"


def content() -> dict[str, bytes]:
    """No metadata and no checksum files, as Debian's own Maven repository."""
    files = maven.plugin("1.0") | maven.plugin("1.1")
    files |= artifact("org.codehaus.plexus:plexus-utils:1.1")  # Maven gives it to every plugin
    for version in ("1.2", "1.10", "1.9", "2.0"):
        files |= artifact(f"org.example:ranged:{version}")
    # Only read by the build that was captured: its JAR is not here.
    files[place("org.example:ranged:1.11", ".pom")] = pom("org.example:ranged:1.11")
    for build in BUILDS:
        files |= artifact(SNAP, build)
    parent, bom = "org.example:parent:7", "org.example:bom:1"
    files[place(parent, ".pom")] = pom(
        parent, packaging="pom", dependencies=["org.example:inherited:1"]
    )
    files |= artifact("org.example:inherited:1")
    files |= artifact("org.example:managed:5")
    files[place(bom, ".pom")] = pom(
        bom,
        packaging="pom",
        extra="<dependencyManagement><dependencies><dependency><groupId>org.example</groupId>"
        "<artifactId>managed</artifactId><version>5</version></dependency></dependencies>"
        "</dependencyManagement>",
    )
    files[place("org.example:managed:5", "-extra.jar")] = jar({"extra": b"1"})
    files |= artifact(LARGE)
    files[place(LARGE, ".jar")] = jar({"data": bytes(range(256)) * 4096}) + b"x" * (1 << 20)
    return files


@dataclass
class Repository:
    published: Published
    server: Serving

    @property
    def url(self) -> str:
        return f"{self.server.url}/maven/central/"

    def publish(self, files: dict[str, bytes]) -> None:
        """As an import does: check, derive, publish."""
        store, spec = self.published.store, Spec("central")
        tree = self.published.keep(files)
        checked = check_tree(store, "maven", spec, tree.digest)
        assert checked.complete, checked.problems
        with store.locks.shared():
            made = derive_overlay(store, "maven", spec, tree.digest)
        assert made is not None
        view = store.view(made.digest)
        overlay = {entry.path: view.open(entry.path).read() for entry in view.entries()}
        self.published.publish("central", files, format="maven", overlay=overlay)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repository]:
    folder = tmp_path_factory.mktemp("maven")
    published = Published(folder / "store")
    with Serving(folder / "store") as server:
        found = Repository(published, server)
        found.publish(content())
        yield found
    published.close()


def shown(repository: Repository, folder: Path, *dependencies: str, extra: str = "") -> list[str]:
    """The names of the JARs that Maven resolves for these dependencies."""
    project = pom("org.example:project:1", dependencies=dependencies, extra=extra)
    result = mvn(folder, repository.url, project, "-C", "reveal:paths")
    assert result.returncode == 0, result.stdout
    lines = [line.partition("path ")[2] for line in result.stdout.splitlines() if "path " in line]
    return [Path(line).name for line in lines if line.endswith(".jar")]


def test_a_range_and_a_plugin_by_its_prefix(repository: Repository, tmp_path: Path) -> None:
    project = pom("org.example:project:1", dependencies=[CONSTRAINT])
    result = mvn(tmp_path, repository.url, project, "-C", "reveal:paths")
    assert result.returncode == 0, result.stdout
    assert "ranged-1.10.jar" in result.stdout
    assert "edition 1.1" in result.stdout


def test_latest_release_snapshot_classifier_parent_and_bom(
    repository: Repository, tmp_path: Path
) -> None:
    bom = (
        "<dependencyManagement><dependencies><dependency><groupId>org.example</groupId>"
        "<artifactId>bom</artifactId><version>1</version><type>pom</type><scope>import</scope>"
        "</dependency></dependencies></dependencyManagement>"
    )
    project = pom(
        "org.example:project:1",
        parent="org.example:parent:7",
        dependencies=[
            "org.example:ranged:RELEASE", SNAP, "org.example:managed:5:jar:extra",
            "org.example:managed",
        ],
        extra=bom,
    )  # fmt: skip
    result = mvn(tmp_path, repository.url, project, "-C", "reveal:paths")
    assert result.returncode == 0, result.stdout
    for name in ("ranged-2.0.jar", "moving-1-SNAPSHOT.jar", "managed-5-extra.jar",
                 "managed-5.jar", "inherited-1.jar"):  # fmt: skip
        assert name in result.stdout, name
    local = tmp_path / "local" / "org" / "example" / "moving" / "1-SNAPSHOT"
    assert (local / f"moving-{BUILDS[1]}.jar").exists()
    assert not (local / f"moving-{BUILDS[0]}.jar").exists()
    assert shown(repository, tmp_path / "latest", "org.example:ranged:LATEST") == ["ranged-2.0.jar"]


def test_what_is_missing_becomes_a_want_and_no_probe_does(
    repository: Repository, tmp_path: Path
) -> None:
    repository.server.misses.clear()
    project = pom("org.example:project:1", dependencies=["org.absent:lib:3"])
    result = mvn(tmp_path, repository.url, project, "-C", "reveal:paths")
    assert result.returncode != 0
    assert "org.absent:lib:jar:3" in result.stdout
    wants = wait_for_wants(repository, "org.absent:lib:3")
    assert {want for want in wants if "absent" in want} == {"org.absent:lib:3"}
    assert not any("metadata" in want or "sha1" in want for want in wants)


def wait_for_wants(repository: Repository, expected: str) -> set[str]:
    deadline = time.monotonic() + 60
    while expected not in {miss.want for miss in repository.server.misses}:
        assert time.monotonic() < deadline, repository.server.misses
        time.sleep(0.1)
    time.sleep(1.5)  # workers tell once a second
    return {miss.want for miss in repository.server.misses}


def test_a_version_that_was_withdrawn_is_resolved_no_more(
    repository: Repository, tmp_path: Path
) -> None:
    less = {path: data for path, data in content().items() if "/ranged/1.10/" not in path}
    try:
        repository.publish(less)
        assert shown(repository, tmp_path, CONSTRAINT) == ["ranged-1.9.jar"]
    finally:
        repository.publish(content())


def test_damaged_bytes_on_the_disk_fail_a_strict_build(
    repository: Repository, tmp_path: Path
) -> None:
    project = pom("org.example:project:1", dependencies=[LARGE])
    result = mvn(tmp_path / "sound", repository.url, project, "-C", "reveal:paths")
    assert result.returncode == 0, result.stdout
    store = repository.published.store
    data = content()[place(LARGE, ".jar")]
    with store.blobs.batch() as batch:
        digest, _ = batch.put_bytes(data)
    blob = store.blobs.path(digest)
    blob.chmod(0o644)
    try:
        with blob.open("r+b") as file:
            file.seek(-1000, 2)
            file.write(b"y" * 1000)
        result = mvn(tmp_path / "damaged", repository.url, project, "-C", "reveal:paths")
        assert result.returncode != 0
        assert "hecksum validation failed" in result.stdout
    finally:
        blob.write_bytes(data)
        blob.chmod(0o444)
