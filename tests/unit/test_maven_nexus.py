"""Mirroring a Nexus by its REST API, against a server that pages, fails and wants a login."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from tests.support.drive import Outside
from tests.support.maven import artifact, place
from tests.support.mavenweb import MavenWeb, Said
from tests.support.nexus import Nexus


def outside(folder: Path, nexus: Nexus, **more: Any) -> Outside:
    zone = Outside.make(folder / "OUT")
    upstream = {"nexus": nexus.url, "repository": nexus.repository}
    if nexus.login is not None:
        upstream["username"] = nexus.login[0]
    zone.repositories["vendor"] = {"format": "maven", "upstream": upstream, "retries": 0, **more}
    zone.configure()
    return zone


def many(count: int) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for number in range(count):
        files |= artifact(f"org.example:tool{number}:1.0")
    return files


def tree(zone: Outside) -> dict[str, str]:
    with zone.store() as store, store.ledger.read() as tx:
        newest = tx.newest_snapshot("", "vendor")
        assert newest is not None
        entries = store.tree(newest.snapshot.tree).entries()
        return {one.path: one.digest for one in entries if not one.path.startswith(".sluice/")}


@pytest.mark.parametrize("era", [313, 360, 380])
def test_everything_is_mirrored_and_then_only_what_changed(tmp_path: Path, era: int) -> None:
    files = many(12)
    index = {"org/example/tool1/maven-metadata.xml": b"<metadata/>",
             place("org.example:tool1:1.0", ".jar.sha1"): b"0" * 40,
             ".index/nexus-maven-repository-index.gz": b"index"}  # fmt: skip
    nexus = Nexus({**files, **index}, era=era, page=7)
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        zone.sluice("sync")
        assert set(tree(zone)) == set(files)
        assert sorted(nexus.fetched) == sorted(files)
        assert len(nexus.pages) == 4

        nexus.fetched.clear()
        assert "unchanged" in zone.sluice("sync").out
        assert nexus.fetched == []

        new = artifact("org.example:late:1.0")
        nexus.files |= new
        changed = place("org.example:tool3:1.0", ".jar")
        nexus.files[changed] = artifact("org.example:other:9")[place("org.example:other:9", ".jar")]
        zone.sluice("sync")
        assert sorted(nexus.fetched) == sorted([*new, changed])
        assert set(tree(zone)) == {*files, *new}

        nexus.files.pop(changed)
        zone.sluice("sync")
        assert changed not in tree(zone)


def test_what_was_left_out_once_stays_out(tmp_path: Path) -> None:
    """Its bytes are in the store by then, and are no better for it."""
    files = many(1)
    page = place("org.example:page:1", ".pom")
    nexus = Nexus({**files, page: b"<html>log in</html>"})
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        for _ in range(3):
            said = zone.sluice("sync")
            assert "org.example:page:pom:1" in said.err
            assert set(tree(zone)) == set(files)
            nexus.files |= artifact("org.example:more:1")
            files |= artifact("org.example:more:1")


def test_what_the_upstream_failed_to_give_is_asked_for_until_it_comes(tmp_path: Path) -> None:
    """Though its listing says the same each time."""
    files = many(3)
    late = place("org.example:tool1:1.0", ".jar")
    nexus = Nexus(files, gone={late})
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        zone.sluice("sync")
        assert set(tree(zone)) == set(files) - {late}
        nexus.fetched.clear()
        assert "org.example:tool1:1.0" in zone.sluice("sync").err
        assert nexus.fetched == []
        nexus.gone.clear()
        zone.sluice("sync")
        assert nexus.fetched == [late]
        assert set(tree(zone)) == set(files)
        assert "unchanged" in zone.sluice("sync").out


def test_a_listing_without_changes_leaves_nothing_behind_and_asks_for_nothing(
    tmp_path: Path,
) -> None:
    """Also where it broke off in between; a snapshot that is asked for is no change."""
    newest = place("org.example:tool:1.0-SNAPSHOT", ".jar", "1.0-20240501.120000-1")
    nexus = Nexus({**many(20), newest: b"PK\x03\x04"}, page=10)
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        zone.sluice("sync")
        nexus.fetched.clear()
        nexus.pages.clear()
        nexus.break_at = 3
        zone.sluice("sync", expect=1)
        nexus.break_at = None
        assert "unchanged" in zone.sluice("sync").out
        assert nexus.fetched == []
        assert len(nexus.pages) == 6, "five pages, one of them twice"
        assert list(zone.folder.rglob("listing")) == []


def test_a_listing_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    nexus = Nexus(many(20), page=10, break_at=3)
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        assert "500" in zone.sluice("sync", expect=1).err
        first = list(nexus.pages)
        assert len(first) == 3
        nexus.break_at = None
        nexus.pages.clear()
        zone.sluice("sync")
        assert nexus.pages[0] == first[-1], "the first two pages are not asked for again"
        assert len(tree(zone)) == 40


@pytest.mark.parametrize("era", [360, 371])
def test_a_forgotten_token_begins_the_listing_anew(tmp_path: Path, era: int) -> None:
    nexus = Nexus(many(20), page=10, break_at=3, era=era)
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        zone.sluice("sync", expect=1)
        nexus.break_at, nexus.page = None, 9
        nexus.pages.clear()
        zone.sluice("sync")
        assert "" in nexus.pages
        assert len(tree(zone)) == 40


def test_logins_come_from_a_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nexus = Nexus(many(1), login=("sync", "pa:ss wörd"))
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        failed = zone.sluice("sync", expect=1)
        assert "401" in failed.err
        assert "password_file" in failed.err
        monkeypatch.setenv("SLUICE_PASSWORD_VENDOR", "pa:ss wörd")
        zone.sluice("sync")
        assert len(tree(zone)) == 2
        monkeypatch.delenv("SLUICE_PASSWORD_VENDOR")
        secret = tmp_path / "secret"
        secret.write_text("pa:ss wörd\n")
        zone.repositories["vendor"]["password_file"] = str(secret)
        zone.configure()
        assert "unchanged" in zone.sluice("sync").out


def test_an_unknown_repository_is_said_so(tmp_path: Path) -> None:
    nexus = Nexus(many(1))
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        zone.repositories["vendor"]["upstream"]["repository"] = "no-such"
        zone.configure()
        failed = zone.sluice("sync", expect=1)
        assert "no-such" in failed.err
        assert "privilege" in failed.err


def test_bad_assets_are_left_out_by_name_and_never_the_others(tmp_path: Path) -> None:
    files = many(3)
    nexus = Nexus(files, page=100)
    broken = place("org.example:tool1:1.0", ".jar")

    def odd(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for item in items:
            if item["path"] == broken:
                item["checksum"] = {kind: value[::-1] for kind, value in item["checksum"].items()}
        outside_of = dict(items[0], path="../../etc/passwd")
        escaped = dict(items[0], path="org%2fexample/x/1/x-1.jar")
        no_text = dict(items[0], path="org/example/\ud800/1/x-1.jar")
        line = dict(items[0], path='org/example/"}\n{"next": null}\n/1/x-1.jar')
        return [*items, outside_of, escaped, no_text, line]

    nexus.odd = odd
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        said = zone.sluice("sync")
        assert set(tree(zone)) == set(files) - {broken}
        assert "org.example:tool1:1.0" in said.err
        assert "etc/passwd" in said.err
        assert "ud800" in said.err


def test_pages_without_end_are_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when there is nothing on them."""
    monkeypatch.setattr("mirror.maven.nexus._MOST_ASSETS", 20)
    asked: list[str] = []

    def page(request: BaseHTTPRequestHandler) -> Said:
        asked.append(request.path)
        token = f"{len(asked):04}"
        return Said(200, json.dumps({"items": [], "continuationToken": token}).encode())

    web = MavenWeb({}, handlers={"service/": page})
    with web.serving():
        zone = outside(tmp_path, Nexus({}, url=web.url.rstrip("/")))
        assert "more than 20" in zone.sluice("sync", expect=1).err
        assert len(asked) == 21


@pytest.mark.parametrize(
    "page",
    [
        b"<html>login</html>",
        b"[]",
        b'{"items": 1}',
        b'{"items": [{"path": 3}]}',
        b'{"items": [], "continuationToken": "again"}',
        b'{"items": [], "continuationToken": 7}',
        b'{"items": [{"path": "a", "format": "npm"}]}',
    ],
)
def test_what_is_no_listing_is_refused(tmp_path: Path, page: bytes) -> None:
    files: Mapping[str, bytes] = {"service/rest/v1/assets": page}
    web = MavenWeb(files)
    with web.serving():
        zone = outside(tmp_path, Nexus({}, url=web.url.rstrip("/")))
        assert zone.sluice("sync", expect=None).code in (1, 2)
        assert sum(web.asked.values()) < 5


def test_a_proxy_is_asked_for_what_it_has_not_cached(tmp_path: Path) -> None:
    remote = artifact("org.example:far:1.0")
    nexus = Nexus({}, remote=remote)
    with nexus.serving():
        zone = outside(tmp_path, nexus)
        jar = place("org.example:far:1.0", ".jar")
        # Any program may be the build: here one that asks for a single file.
        fetch = f"import os, urllib.request as r; r.urlopen(os.environ['SLUICE_URL'] + '{jar}')"
        zone.run("capture", "vendor", "--", "python3", "-c", fetch)
        zone.sluice("sync")
        assert set(tree(zone)) == {jar}
