"""Every way in which an upstream may misbehave during a sync, one artifact at a time.

A real server, the mirror's own transport and crawl: what is wrong is reported by the artifact's
name and kept out, and the others come. ``test_maven_pull.py`` shows it of the capturing proxy.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from manifests.errors import UpstreamRefused, UpstreamUnreachable
from manifests.formats import format_named
from manifests.formats.base import Severity, Spec
from manifests.formats.maven.metadata import Build, Metadata, write
from manifests.tree import PRIVATE
from manifests.zone import Connection, Upstream
from mirror.crawl import CrawlSource
from mirror.http import HttpTransport
from mirror.report import Quiet
from store.checks import check_tree
from store.store import KeptTree, Store
from store.views import laid_over
from tests.support.maven import artifact, jar, place, pom
from tests.support.mavenweb import MavenWeb, Odd, Said

GOOD = "org.example:good:1.0"
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
ENTITY = b'<!DOCTYPE project [<!ENTITY x SYSTEM "file:///etc/passwd">]><project>&x;</project>'


def gather(
    store: Store, folder: Path, web: MavenWeb, roots: list[str], previous: KeptTree | None = None
) -> tuple[KeptTree, dict[str, str]]:
    """One sync without its commit: the tree, and what was reported."""
    folder.mkdir(exist_ok=True)
    spec = Spec("central", options={"roots": roots})
    transport = HttpTransport(
        Upstream(urls=(web.url,)), Connection(retries=0, timeout=3.0), folder,
        progress=Quiet(), pause=lambda _: None, stay=True,
    )  # fmt: skip
    source = CrawlSource(
        store, "central", lambda view: format_named("maven").crawl(spec, view), transport,
        previous=None if previous is None else previous.digest,
        accepted=lambda path: False, progress=Quiet(), clean=lambda: None,
    )  # fmt: skip
    try:
        with store.blobs.batch() as batch:
            found = source.gather(batch, [], lambda plan: None)
            entries = list(found.entries)
            facts = sorted((path, batch.put_bytes(data)) for path, data in found.facts())
            private = [entries[0]._replace(path=path, digest=d, size=s) for path, (d, s) in facts]
            tree = store.keep_tree(laid_over(entries, private), batch)
    finally:
        transport.close()
    assert all(problem.severity is Severity.ADVICE for problem in found.problems)
    assert check_tree(store, "maven", spec, tree.digest).complete
    return tree, {problem.path: problem.what for problem in found.problems}


def files_of(store: Store, tree: KeptTree) -> dict[str, str]:
    return {e.path: e.digest for e in store.tree(tree.digest).entries() if PRIVATE not in e.path}


def changing() -> Callable[[], bytes]:
    number = count()
    return lambda: jar({"n": str(next(number)).encode()})


GONE = Said(404)
ELSEWHERE = {"Location": "http://localhost:1/bad.jar"}
ODD = {"Location": "ftp://127.0.0.1/bad.jar"}
# What becomes of an artifact, by the ending of the path, and what is to be reported.
FILES: dict[str, tuple[dict[str, Odd], str]] = {
    "page": ({".jar": PAGE}, "promised"),
    "page-unsummed": ({".jar": PAGE, ".jar.sha1": GONE}, "web page"),
    "wrong-sum": ({".jar.sha1": b"0" * 40}, "promised"),
    "changing": ({".jar": changing(), ".jar.sha1": GONE}, "asked for again"),
    "changing-summed": ({".jar": changing()}, "promised"),
    "other-host": ({".jar": Said(302, b"", ELSEWHERE)}, "another host"),
    "other-scheme": ({".jar": Said(302, b"", ODD)}, "is not followed"),
    "loop": ({".jar": Said(302, b"", {"Location": "?again"})}, "redirects"),
    "login": ({".jar": Said(401)}, "the server answered 401"),
    "login-sum": ({".jar.sha1": Said(401)}, "its checksum: the server answered 401"),
    "law": ({".jar": Said(451)}, "451"),
    "broken": ({".jar": Said(500)}, "500"),
    "gone": ({".jar": GONE}, "does not have it"),
    "half": ({".jar": Said(200, b"half", promised=100)}, "answer broke off"),
    "stalled": ({".jar": Said(200, b"", before=6.0)}, "no answer: timed out"),
}
POMS: dict[str, tuple[dict[str, Odd], str]] = {
    "entity": ({".pom": ENTITY, ".pom.sha1": GONE}, "document type"),
    "cycle": ({".pom": pom("org.example:cycle:1", parent="org.example:cycle:1"),
               ".pom.sha1": GONE}, "own ancestor"),
    "pom-page": ({".pom": PAGE}, "promised"),
    "pom-login": ({".pom": Said(401)}, "401"),
    "pom-redirect": ({".pom": Said(302, b"", ODD)}, "is not followed"),
}  # fmt: skip


def test_what_is_bad_stays_out_by_name_and_the_others_come(tmp_path: Path) -> None:
    files, odd = artifact(GOOD), {}
    for name, (odds, _) in {**FILES, **POMS}.items():
        files |= artifact(f"org.example:{name}:1")
        odd.update({place(f"org.example:{name}:1", end): said for end, said in odds.items()})
    web = MavenWeb(files, odd=odd)
    with web.serving(), Store.open(tmp_path / "store") as store, store.locks.shared():
        tree, reported = gather(store, tmp_path / "work", web, list(files))
        whole = files_of(store, tree)
    expected = set(files)
    for name, (_, says) in FILES.items():
        path = place(f"org.example:{name}:1", ".jar")
        expected.discard(path)
        said = reported.pop(path)
        assert says in said and f"org.example:{name}:1" in said, (name, said)
    for name, (_, says) in POMS.items():  # a bad POM keeps its own version out
        for ending in (".pom", ".jar"):
            path = place(f"org.example:{name}:1", ending)
            expected.discard(path)
            said = reported.pop(path)
            assert says in said and f"org.example:{name}:" in said, (name, said)
    assert reported == {}
    assert set(whole) == expected


def test_what_leads_elsewhere_is_asked_of_nobody(tmp_path: Path) -> None:
    roots = ["org/../../etc/passwd", "org%2fexample/bad/1.0/x.jar", "a\\b/c", GOOD]
    web = MavenWeb(artifact(GOOD))
    with web.serving(), Store.open(tmp_path / "store") as store, store.locks.shared():
        tree, reported = gather(store, tmp_path / "work", web, roots)
        assert set(files_of(store, tree)) == set(artifact(GOOD))
        assert len(reported) == 3
        assert {path.split("/")[1] for path in web.asked} == {"example"}


def test_an_upstream_that_gives_nothing_is_no_empty_repository(tmp_path: Path) -> None:
    """Nor is a wrong password tried for each of a thousand files."""
    refused = {"org": lambda _: Said(401)}
    web = MavenWeb({}, handlers=refused)
    roots = [f"org.example:tool{number}:1" for number in range(100)]
    with web.serving(), Store.open(tmp_path / "store") as store, store.locks.shared():
        with pytest.raises(UpstreamRefused, match="401"):
            gather(store, tmp_path / "work", web, roots)
        assert sum(web.asked.values()) < 30
        with pytest.raises(UpstreamRefused, match="401"):
            gather(store, tmp_path / "work", web, [GOOD])
        web.handlers = {"org": lambda _: Said(503)}
        with pytest.raises(UpstreamUnreachable):
            gather(store, tmp_path / "work", web, [GOOD])


OLD, NEW = "1-20240501.120000-1", "1-20240502.120000-2"


def published(name: str, *builds: str) -> dict[str, bytes]:
    """Builds of a SNAPSHOT, with the metadata that names the newest."""
    snap = f"org.example:{name}:1-SNAPSHOT"
    stamp = builds[-1].split("-")[1]
    updated = stamp.replace(".", "")
    rows = tuple(Build(kind, "", builds[-1], updated) for kind in ("jar", "pom"))
    index = Metadata("org.example", name, "1-SNAPSHOT", updated=updated,
                     moment=(stamp, int(builds[-1][-1])), builds=rows)  # fmt: skip
    files = {f"org/example/{name}/1-SNAPSHOT/maven-metadata.xml": write(index)}
    for build in builds:
        files |= artifact(snap, build)
    return files


# By name: what goes wrong with the newest build, and what the tree then holds.
SNAPSHOTS: dict[str, tuple[dict[str, Odd], dict[str, str]]] = {
    "index-page": ({"maven-metadata.xml": PAGE}, {OLD: ".pom .jar"}),
    "index-login": ({"maven-metadata.xml": Said(401)}, {OLD: ".pom .jar"}),
    "jar-page": ({f"jar-page-{NEW}.jar": PAGE}, {OLD: ".jar", NEW: ".pom"}),
    "pom-page": ({f"pom-page-{NEW}.pom": PAGE}, {OLD: ".pom .jar"}),
    "fine": ({}, {NEW: ".pom .jar"}),
}


def test_a_bad_build_of_a_snapshot_does_not_take_the_good_one_away(tmp_path: Path) -> None:
    first, later = artifact(GOOD), artifact(GOOD)
    odd, expected = {}, set(artifact(GOOD))
    for name, (odds, stays) in SNAPSHOTS.items():
        snap = f"org.example:{name}:1-SNAPSHOT"
        first |= published(name, OLD)
        later |= published(name, OLD, NEW)
        odd.update({f"org/example/{name}/1-SNAPSHOT/{file}": said for file, said in odds.items()})
        expected |= {place(snap, ending, build)
                     for build, endings in stays.items() for ending in endings.split()}  # fmt: skip
    roots = [GOOD, *(f"org.example:{name}:1-SNAPSHOT" for name in SNAPSHOTS)]
    web = MavenWeb(first)
    with web.serving(), Store.open(tmp_path / "store") as store, store.locks.shared():
        before, reported = gather(store, tmp_path / "work", web, roots)
        assert reported == {}
        web.files, web.odd = later, odd
        after, reported = gather(store, tmp_path / "work", web, roots, before)
        assert set(files_of(store, after)) == expected
    for name in SNAPSHOTS:
        assert (name != "fine") == any(f"org.example:{name}:" in what for what in reported.values())


# Files that carry the name SNAPSHOT themselves, as some repositories keep them.
LITERAL: dict[str, dict[str, Odd]] = {
    "page": {".jar": PAGE, ".jar.sha1": GONE},
    "checksum": {".jar.sha1": b"0" * 40},
    "entity": {".pom": ENTITY, ".pom.sha1": GONE},
    "login": {".jar": Said(401), ".jar.sha1": Said(401)},
}


def test_a_snapshot_without_builds_stays_as_it_was_when_it_turns_bad(tmp_path: Path) -> None:
    files, odd = artifact(GOOD), {}
    for name, odds in LITERAL.items():
        snap = f"org.example:{name}:1-SNAPSHOT"
        files |= artifact(snap)
        odd.update({place(snap, ending): said for ending, said in odds.items()})
    web = MavenWeb(files)
    roots = list(files)
    with web.serving(), Store.open(tmp_path / "store") as store, store.locks.shared():
        first, reported = gather(store, tmp_path / "work", web, roots)
        assert reported == {}
        web.odd = odd
        second, reported = gather(store, tmp_path / "work", web, roots, first)
        assert files_of(store, second) == files_of(store, first)
        assert all("kept as it was" in what for what in reported.values())
        for name in LITERAL:
            assert any(f"org.example:{name}:" in what for what in reported.values())
        # What is withdrawn upstream does go.
        web.odd, web.files = {}, artifact(GOOD)
        third, reported = gather(store, tmp_path / "work", web, roots, second)
        assert set(files_of(store, third)) == set(artifact(GOOD))
