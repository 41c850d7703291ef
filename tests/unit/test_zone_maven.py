"""What zone.yaml says of Maven repositories, and every way to say it wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.formats import FORMATS
from manifests.zone import Login, Maven, Nexus, OutsideZone, Repository, Upstream, parse

FOLDER = Path("/zone")


def repository(text: str) -> Repository:
    zone = parse(f"zone: outside\nrepositories:\n  r: {{{text}}}\n", FOLDER, FORMATS)
    assert isinstance(zone, OutsideZone)
    return zone.repositories["r"]


def test_everything_that_can_be_asked_for() -> None:
    found = repository(
        "format: maven, upstream: system, artifacts: ['junit:junit:4.13.2', 'g:a:jar:tests:1'],"
        " boms: 'g:bom:1', projects: [builds/app/pom.xml], include: {sources: true},"
        " capture: {listen: '127.0.0.1:8082'}"
    )
    assert found.upstream == Upstream(system=True)
    assert found.upstream.transport == "http"
    assert found.maven == Maven(
        artifacts=("junit:junit:4.13.2", "g:a:jar:tests:1"),
        boms=("g:bom:1",),
        projects=(FOLDER / "builds/app/pom.xml",),
        sources=True,
        listen=("127.0.0.1", 8082),
    )


def test_signatures_come_along_when_they_are_to_be_checked() -> None:
    assert repository("format: maven, upstream: system, include: {signatures: true}").maven == (
        Maven(signatures=True)
    )
    checked = "signed_by: keys/vendor.asc, check_packages: true"
    assert repository(f"format: maven, upstream: system, {checked}").maven.signatures
    # A folder is copied whole, with whatever signatures it has.
    assert repository(f"format: maven, upstream: 'file:///srv/maven/', {checked}").maven.signatures


def test_a_nexus_with_its_user() -> None:
    found = repository(
        "format: maven, upstream: {nexus: 'http://127.0.0.1:8081/', repository: maven-releases,"
        " username: sync, password_file: secrets/nexus}"
    )
    assert found.upstream.nexus == Nexus(url="http://127.0.0.1:8081", repository="maven-releases")
    assert found.upstream.urls == ("http://127.0.0.1:8081/repository/maven-releases/",)
    assert found.connection.username == "sync"
    assert found.connection.password_file == FOLDER / "secrets/nexus"


def test_a_whole_folder_or_module() -> None:
    assert repository("format: maven, upstream: 'file:///srv/maven/'").upstream.transport == "file"


@pytest.mark.parametrize(
    "text",
    [
        "format: yum, upstream: 'http://h/', artifacts: ['a:b:1']",
        "format: files, upstream: 'http://h/', capture: {listen: '127.0.0.1:1'}",
        "format: yum, upstream: system",
        "format: maven, upstream: system, arches: [noarch]",
        "format: maven, upstream: system, include: ['*.jar']",
        "format: maven, upstream: system, include: {source: true}",
        "format: maven, upstream: system, metadata: verbatim",
        "format: maven, upstream: systems",
        "format: maven, upstream: {nexus: 'http://h'}",
        "format: maven, upstream: {repository: r}",
        "format: maven, upstream: {nexus: 'ftp://h', repository: r}",
        "format: maven, upstream: {nexus: 'http://u:p@h', repository: r}",
        "format: maven, upstream: {nexus: 'http://h', repository: '../x'}",
        "format: maven, upstream: {nexus: 'http://h', repository: r, password: p}",
        "format: maven, upstream: {nexus: 'http://h', repository: r, username: u}, username: v",
        "format: maven, upstream: {nexus: 'http://h', repository: r, password_file: f}",
        "format: maven, upstream: {url: 'http://h/', username: u}",
        "format: maven, upstream: system, artifacts: ['a:b']",
        "format: maven, upstream: system, artifacts: ['../a:b:1']",
        "format: maven, upstream: system, artifacts: []",
        "format: maven, upstream: system, boms: ['a:b:jar:1']",
        "format: maven, upstream: system, capture: {listen: here}",
        "format: maven, upstream: system, capture: {}",
        "format: maven, upstream: system, capture: {username: u, password_file: f}",
        "format: maven, upstream: system, capture: {listen: '127.0.0.1:1', username: u}",
        "format: maven, upstream: system, capture: {listen: '127.0.0.1:1', password_file: f}",
        "format: maven, upstream: system, capture: {listen: '127.0.0.1:1', password: p}",
        "format: maven, upstream: system,"
        " capture: {listen: '127.0.0.1:1', username: 'u:v', password_file: f}",
        "format: maven, upstream: system,"
        " capture: {listen: '0.0.0.0:1', username: u, password_file: f, anonymous: true}",
        "format: maven, upstream: 'file:///srv/maven', artifacts: ['a:b:1']",
        "format: maven, upstream: 'rsync://h/m/', capture: {listen: '127.0.0.1:1'}",
    ],
)
def test_mistakes_are_told_with_their_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        repository(text)
    assert "line" in caught.value.where
    assert caught.value.remedy


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "build.example.org"])
def test_no_network_gets_a_capture_without_a_login_by_mistake(host: str) -> None:
    start = f"format: maven, upstream: system, capture: {{listen: '{host}:8082'"
    with pytest.raises(ConfigError) as caught:
        repository(f"{start}}}")
    assert "password_file" in caught.value.remedy and "anonymous" in caught.value.remedy
    with pytest.raises(ConfigError):
        repository(f"{start}, anonymous: false}}")
    assert repository(f"{start}, anonymous: true}}").maven.login is None
    found = repository(f"{start}, username: build, password_file: secrets/capture}}").maven
    assert found.login == Login("build", FOLDER / "secrets/capture")


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "[::1]", "localhost"])
def test_this_machine_alone_needs_no_login(host: str) -> None:
    found = repository(f"format: maven, upstream: system, capture: {{listen: '{host}:8082'}}")
    assert found.maven.login is None and found.maven.listen is not None
