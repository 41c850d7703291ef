"""A real Nexus Repository 3: in front of a server inside, and as an upstream outside."""

from __future__ import annotations

import base64
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.clients.test_maven_setup import EXPECTED, PROJECT, REVEAL, SNAP, seen
from tests.support.drive import Outside
from tests.support.maven import artifact, mvn, overlay, place, plugin, pom
from tests.support.mavenweb import MavenWeb, Said
from tests.support.realnexus import LOGIN, RealNexus
from tests.support.served import Published, Serving

pytestmark = pytest.mark.soak


@pytest.fixture(scope="module")
def nexus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealNexus]:
    with RealNexus(tmp_path_factory.mktemp("nexus")) as running:
        yield running


def secured(url: str) -> str:
    return url.replace("http://", f"http://{':'.join(LOGIN)}@")


def test_builds_through_a_nexus_that_proxies_the_inside(nexus: RealNexus, tmp_path: Path) -> None:
    files = artifact("org.codehaus.plexus:plexus-utils:1.1")  # Maven gives it to every plugin
    files |= artifact("org.example:ranged:1.4") | artifact("org.example:plain:1") | plugin("1.0")
    files |= artifact(SNAP, "1-20240502.120000-2")
    published = Published(tmp_path / "store")
    published.publish("central", files, format="maven", overlay=overlay(files))
    with Serving(published.store.folder) as server:
        nexus.create("proxy", "inside", remote=f"{server.url}/maven/central/")
        url = f"{secured(nexus.url)}/repository/inside/"
        assert seen(mvn(tmp_path / "one", url, PROJECT, "-C", REVEAL)) == EXPECTED

        # It compares with what we say, and keeps our times.
        jar = place("org.example:plain:1", ".jar")
        answer = head(nexus, f"repository/inside/{jar}")
        ours = urllib.request.urlopen(f"{server.url}/maven/central/{jar}", timeout=60)
        assert answer["Last-Modified"] == ours.headers["Last-Modified"]
        assert answer["Content-Length"] == str(len(files[jar]))

        # A new publication shows at once, as metadata is asked for again each time.
        files |= artifact("org.example:ranged:1.5")
        published.publish("central", files, format="maven", overlay=overlay(files))
        later = mvn(tmp_path / "two", url, PROJECT, "-C", "-U", REVEAL)
        assert seen(later) == EXPECTED - {"ranged-1.4.jar"} | {"ranged-1.5.jar"}

        missing = pom("org.example.apps:app:1", dependencies=["org.example:absent:1.0"])
        failed = mvn(tmp_path / "missing", url, missing, REVEAL)
        assert failed.returncode != 0 and "org.example:absent:jar:1.0" in failed.stdout
    assert any("org.example:absent" in miss.want for miss in server.misses)
    published.close()


def head(nexus: RealNexus, path: str) -> dict[str, str]:

    login = base64.b64encode(":".join(LOGIN).encode()).decode()
    request = urllib.request.Request(
        f"{nexus.url}/{path}", headers={"Authorization": f"Basic {login}"}, method="HEAD"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(answer.headers)


def outside(folder: Path, url: str, **repositories: str) -> Outside:
    """A zone that mirrors these repositories of a Nexus: ours = theirs."""
    zone = Outside.make(folder / "OUT")
    secret = folder / "nexus.password"
    secret.write_text(LOGIN[1])
    secret.chmod(0o600)
    for name, theirs in repositories.items():
        zone.repositories[name] = {
            "format": "maven", "max_removals": "100%", "retries": 0,
            "upstream": {"nexus": url, "repository": theirs, "username": LOGIN[0],
                         "password_file": str(secret)},
        }  # fmt: skip
    zone.configure()
    return zone


def tree(zone: Outside, name: str) -> set[str]:
    with zone.store() as store, store.ledger.read() as tx:
        newest = tx.newest_snapshot("", name)
        assert newest is not None
        found = {entry.path for entry in store.tree(newest.snapshot.tree).entries()}
    return {path for path in found if not path.startswith(".sluice/")}


def test_hosted_proxy_and_group_are_mirrored(nexus: RealNexus, tmp_path: Path) -> None:
    own: dict[str, bytes] = {}
    for number in range(12):
        own |= artifact(f"com.corp:lib{number}:1")
    moving = artifact("com.corp:moving:1-SNAPSHOT", "1-20240502.120000-2")
    theirs = artifact("org.example:far:1") | artifact("org.example:farther:1")
    with MavenWeb(theirs).serving() as web:
        nexus.create("hosted", "ours")
        nexus.create("proxy", "remote", remote=web.url)
        nexus.create("group", "all", members=["ours", "remote"])
        nexus.put("ours", own | moving)
        nexus.ask("GET", f"repository/remote/{place('org.example:far:1', '.jar')}")
        zone = outside(tmp_path, nexus.url, hosted="ours", proxied="remote", grouped="all")
        zone.sluice("sync")
        assert tree(zone, "hosted") == {*own, *moving}
        assert tree(zone, "proxied") == {place("org.example:far:1", ".jar")}
        assert tree(zone, "grouped") == {*own, *moving, place("org.example:far:1", ".jar")}
        assert zone.sluice("sync").out.count("unchanged") == 3

        # A capture makes the proxy fetch what it has not got; it crosses with the next sync.
        far = place("org.example:farther:1", ".jar")
        fetch = (
            "import os, sys, urllib.request as r; r.urlopen(os.environ['SLUICE_URL'] + sys.argv[1])"
        )
        zone.run("capture", "proxied", "--", "python3", "-c", fetch, far)
        nexus.put("ours", artifact("com.corp:lib0:2"))
        nexus.delete("ours", place("com.corp:lib1:1", ".jar"))
        zone.sluice("sync")
        assert far in tree(zone, "proxied") and far in tree(zone, "grouped")
        changed = {*own, *moving, *artifact("com.corp:lib0:2")}
        assert tree(zone, "hosted") == changed - {place("com.corp:lib1:1", ".jar")}
        assert not zone.holds()


def test_a_listing_that_broke_off_goes_on(nexus: RealNexus, tmp_path: Path) -> None:
    own: dict[str, bytes] = {}
    for number in range(14):
        own |= artifact(f"com.corp:part{number}:1")
    nexus.create("hosted", "parted")
    nexus.put("parted", own)
    asked: list[str] = []
    broken = [True]

    def passed_on(request: BaseHTTPRequestHandler) -> Said:
        if "/assets" in request.path:
            asked.append(request.path.partition("continuationToken=")[2])
            if broken[0] and len(asked) > 1:
                return Said(503)
        onward = urllib.request.Request(
            nexus.url + request.path, headers={"Authorization": request.headers["Authorization"]}
        )
        try:
            with urllib.request.urlopen(onward, timeout=60) as answer:
                kind = {"Content-Type": answer.headers["Content-Type"]}
                return Said(200, answer.read(), kind)
        except HTTPError as error:
            return Said(error.code, error.read())

    with MavenWeb({}, handlers={"": passed_on}).serving() as web:
        zone = outside(tmp_path, web.url.rstrip("/"), parted="parted")
        zone.sluice("sync", expect=None)
        first = len(asked)
        assert "parted" in zone.holds()
        broken[0] = False
        zone.sluice("sync")
        assert tree(zone, "parted") == set(own)
    assert "" not in asked[first:], "pages that were read are not asked for again"
    assert not zone.holds()
