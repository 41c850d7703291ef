"""The capturing proxy that stays up for build servers of the outside network."""

from __future__ import annotations

import base64
import json
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

from manifests.formats.maven.settings import settings_xml
from tests.clients.test_maven_setup import mvn, seen
from tests.support import tools
from tests.support.drive import Outside
from tests.support.maven import artifact, place, plugin, pom
from tests.support.mavenweb import MavenWeb, Said

SHOW = "org.example.tools:show-maven-plugin:1.0:paths"
PASSWORD = "geheim: ä"


@contextmanager
def standing(folder: Path, web: MavenWeb, **login: str) -> Iterator[tuple[Outside, str]]:
    """``sluice capture central`` and where it listens."""
    port = tools.free_port()
    zone = Outside.make(folder / "OUT")
    zone.repositories["central"] = {
        "format": "maven", "upstream": web.url, "retries": 1,
        "capture": {"listen": f"127.0.0.1:{port}", **login},
    }  # fmt: skip
    zone.configure()
    process = zone.start("capture", "central")
    try:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        assert url == f"http://127.0.0.1:{port}/maven/central/"
        yield zone, url
    finally:
        process.terminate()
        process.communicate(timeout=60)
    assert process.returncode == 143


def roots(zone: Outside) -> set[str]:
    return {row["root"] for row in json.loads(zone.sluice("roots", "central", "--json").out)}


def answered(url: str, login: str) -> tuple[int, bytes]:
    """Status and body of a GET with this login."""
    request = urllib.request.Request(url)
    if login:
        text = base64.b64encode(login.encode()).decode()
        request.add_header("Authorization", f"Basic {text}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        assert error.headers["WWW-Authenticate"].startswith("Basic ")
        return error.code, error.read()


def test_on_this_machine_it_needs_no_login(tmp_path: Path) -> None:
    files = artifact("org.example:tool:1.0")
    jar = place("org.example:tool:1.0", ".jar")
    web = MavenWeb(files, odd={jar: Said(200, files[jar], before=0.2)})
    with web.serving(), standing(tmp_path, web) as (zone, url):
        assert answered(url + jar, "") == (200, files[jar])
        assert answered(url + jar, "some:body") == (200, files[jar])
    assert roots(zone) == {jar}


def test_nobody_adds_roots_without_the_login(tmp_path: Path) -> None:
    """A real Maven brings it by its settings."""
    files = artifact("org.example:tool:1.0") | plugin("1.0")
    files |= artifact("org.codehaus.plexus:plexus-utils:1.1")  # Maven gives it to every plugin
    jar = place("org.example:tool:1.0", ".jar")
    secret = tmp_path / "secret"
    secret.write_text(f"{PASSWORD}\n", "utf-8")
    web = MavenWeb(files)
    login = {"username": "build", "password_file": str(secret)}
    with web.serving(), standing(tmp_path, web, **login) as (zone, url):
        wrong = ("", "build:geheim", "build", f"other:{PASSWORD}")
        assert {answered(url + jar, text)[0] for text in wrong} == {401}
        assert not web.asked, "nobody is asked on behalf of somebody who may not"
        assert answered(url + jar, f"build:{PASSWORD}") == (200, files[jar])
        server = (
            "<servers><server><id>sluice</id><username>build</username>"
            f"<password>{PASSWORD}</password></server></servers></settings>"
        )
        settings = settings_xml(url)
        wanted = pom("org.example.apps:app:1", dependencies=["org.example:tool:1.0"])
        refused = mvn(tmp_path / "without", settings, wanted, SHOW)
        assert refused.returncode != 0 and "401" in refused.stdout, refused.stdout
        known = settings.replace("</settings>", server)
        assert seen(mvn(tmp_path / "with", known, wanted, SHOW)) == {"tool-1.0.jar"}
    assert set(artifact("org.example:tool:1.0")) | set(plugin("1.0")) <= roots(zone)
