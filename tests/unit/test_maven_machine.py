"""Which repository the machine's own Maven is set to."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from manifests.errors import ConfigError
from manifests.zone import Connection, Repository, Upstream
from mirror.maven.machine import settled

SYSTEM = Repository(name="central", format="maven", upstream=Upstream(system=True))
OWN = "https://own.example.org/maven2"


@pytest.fixture
def machine(tmp_path: Path) -> dict[str, str]:
    """An environment with a Maven whose super POM names a repository of its own."""
    library = tmp_path / "maven" / "lib"
    library.mkdir(parents=True)
    (tmp_path / "maven" / "conf").mkdir()
    (tmp_path / ".m2").mkdir()
    with zipfile.ZipFile(library / "maven-model-builder-3.8.7.jar", "w") as jar:
        jar.writestr(
            "org/apache/maven/model/pom-4.0.0.xml",
            f"<project><repositories><repository><id>central</id><url>{OWN}</url></repository>"
            "</repositories><profiles><profile><id>x</id></profile></profiles></project>",
        )
    return {"HOME": str(tmp_path), "MAVEN_HOME": str(tmp_path / "maven"), "PATH": "/nowhere"}


def write(machine: dict[str, str], text: str, *, user: bool = True) -> None:
    place = Path(machine["HOME"], ".m2") if user else Path(machine["MAVEN_HOME"], "conf")
    (place / "settings.xml").write_text(f"<settings>{text}</settings>")


def mirror(pattern: str, url: str, more: str = "") -> str:
    return (f"<mirrors><mirror><id>m</id><mirrorOf>{pattern}</mirrorOf><url>{url}</url>{more}"
            "</mirror></mirrors>")  # fmt: skip


def url(machine: dict[str, str]) -> str:
    return settled(SYSTEM, machine).upstream.urls[0]


def test_without_settings_it_is_mavens_own(machine: dict[str, str]) -> None:
    assert url(machine) == f"{OWN}/"


@pytest.mark.parametrize("pattern", ["central", "*", "external:*", "other,central", "*,!other"])
def test_a_mirror_of_central_counts(machine: dict[str, str], pattern: str) -> None:
    write(machine, mirror(pattern, "https://mirror.example.org/all"))
    assert url(machine) == "https://mirror.example.org/all/"


@pytest.mark.parametrize("pattern", ["other", "*,!central", "external:http:*"])
def test_a_mirror_of_others_does_not(machine: dict[str, str], pattern: str) -> None:
    write(machine, mirror(pattern, "https://mirror.example.org/all"))
    assert url(machine) == f"{OWN}/"


def test_a_blocked_mirror_does_not(machine: dict[str, str]) -> None:
    write(machine, mirror("*", "http://0.0.0.0/", "<blocked>true</blocked>"), user=False)
    assert url(machine) == f"{OWN}/"


def test_an_exact_name_goes_before_a_pattern_and_the_user_before_the_machine(
    machine: dict[str, str],
) -> None:
    write(machine, mirror("*", "https://user.example.org/"))
    write(machine, mirror("*", "https://machine.example.org/"), user=False)
    assert url(machine) == "https://user.example.org/"
    write(machine, mirror("central", "https://machine.example.org/"), user=False)
    assert url(machine) == "https://machine.example.org/"


def test_an_active_profile_may_replace_central(machine: dict[str, str]) -> None:
    profile = (
        "<profiles><profile><id>{}</id><repositories><repository><id>central</id>"
        "<url>https://profile.example.org/</url></repository></repositories></profile></profiles>"
    )
    write(machine, profile.format("off"))
    assert url(machine) == f"{OWN}/"
    write(machine, profile.format("on")
          + "<activeProfiles><activeProfile>on</activeProfile></activeProfiles>")  # fmt: skip
    assert url(machine) == "https://profile.example.org/"


def test_login_and_proxy_come_along(machine: dict[str, str]) -> None:
    machine["SECRET"] = "from the environment"
    write(
        machine,
        mirror("*", "https://mirror.example.org/all")
        + "<servers><server><id>m</id><username>u</username><password>${env.SECRET}</password>"
        "</server></servers><proxies><proxy><protocol>http</protocol><host>px</host>"
        "<port>3128</port><nonProxyHosts>*.other.org|localhost</nonProxyHosts></proxy></proxies>",
    )
    connection = settled(SYSTEM, machine).connection
    assert (connection.username, connection.password) == ("u", "from the environment")
    assert connection.proxy == "http://px:3128"
    assert "environment" not in repr(connection)


def test_what_only_maven_can_read_is_said_so(machine: dict[str, str]) -> None:
    write(
        machine,
        mirror("*", "https://mirror.example.org/all")
        + "<servers><server><id>m</id><username>u</username><password>{abc=}</password>"
        "</server></servers>",
    )
    with pytest.raises(ConfigError, match="encrypted"):
        settled(SYSTEM, machine)


@pytest.mark.parametrize("text", ["<mirrors>", "<!DOCTYPE s><mirrors/>"])
def test_settings_that_cannot_be_read_are_named(machine: dict[str, str], text: str) -> None:
    (Path(machine["HOME"]) / ".m2" / "settings.xml").write_text(f"<settings>{text}")
    with pytest.raises(ConfigError) as caught:
        settled(SYSTEM, machine)
    assert "settings.xml" in caught.value.where


def test_without_maven_there_is_no_system_upstream(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no `mvn`"):
        settled(SYSTEM, {"HOME": str(tmp_path), "PATH": "/nowhere"})


def test_a_password_may_stand_in_the_environment() -> None:
    named = Repository(
        name="vendor-x",
        format="maven",
        upstream=Upstream(urls=("https://repo.example.org/",)),
        connection=Connection(username="sync"),
    )
    found = settled(named, {"SLUICE_PASSWORD_VENDOR_X": "one", "SLUICE_PASSWORD": "two"})
    assert found.connection.password == "one"
    assert settled(named, {"SLUICE_PASSWORD": "two"}).connection.password == "two"
    assert settled(named, {}).connection.password is None
