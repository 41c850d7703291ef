"""The check of a Maven tree, and the crawl that brings one."""

from __future__ import annotations

import hashlib
import json

import pytest

from manifests.errors import ConfigError, MalformedIndex
from manifests.formats.base import EXCEPTIONS, Problem, Severity, Spec
from manifests.formats.maven import statement
from tests.support import maven
from tests.support.formats import MemoryView, Run, drive
from tests.support.maven import MAVEN, artifact, jar, place, pom, with_checksums

ONE, TWO = "org.example:app:1.0", "org.example:lib:2"
SNAP = "org.example:app:2.0-SNAPSHOT"
SPEC = Spec("central")
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"
ENTITY = b'<!DOCTYPE project [<!ENTITY x SYSTEM "file:///etc/passwd">]>' + pom(TWO)


def problems(files: dict[str, bytes]) -> list[Problem]:
    return list(MAVEN.check(SPEC, MemoryView(files)))


def held(files: dict[str, bytes]) -> dict[str, str]:
    return {one.path: one.what for one in problems(files) if one.severity is Severity.REQUIRED}


def stated(files: dict[str, bytes], algorithm: str = "sha1") -> dict[str, bytes]:
    """``files`` with the upstream's checksums as facts."""
    sums = {path: (algorithm, hashlib.new(algorithm, data).hexdigest())
            for path, data in files.items()}  # fmt: skip
    return {**files, **dict(statement.write(sums))}


# --- check


@pytest.mark.parametrize("algorithm", ["sha512", "sha256", "sha1", "md5"])
def test_a_whole_tree_has_no_problem(algorithm: str) -> None:
    files = {**artifact(ONE), **artifact(TWO)}
    assert problems(files) == []
    assert problems(stated(files, algorithm)) == []
    assert problems(with_checksums(files, algorithm)) == []


def test_other_bytes_than_the_upstream_stated() -> None:
    path = place(ONE, ".jar")
    for files in (stated(artifact(ONE)), with_checksums(artifact(ONE), "md5", "sha1")):
        files[path] = jar({"evil": b"1"})
        assert held(files) == {path: f"{ONE}: not the sha1 that the upstream gave"}


def test_the_strongest_checksum_beside_a_file_counts() -> None:
    path = place(ONE, ".jar")
    files = with_checksums(artifact(ONE), "sha1", "sha512")
    files[f"{path}.sha1"] = b"0" * 40
    assert held(files) == {}
    files[f"{path}.sha512"] = b"0" * 128
    assert path in held(files)
    files[f"{path}.sha512"] = PAGE
    assert "sha1" in held(files)[path]


def test_a_stated_file_that_is_missing() -> None:
    files = stated(artifact(ONE))
    del files[place(ONE, ".jar")]
    assert list(held(files)) == [place(ONE, ".jar")]


def test_what_a_person_accepted_is_advice() -> None:
    files = stated(artifact(ONE))
    path = place(ONE, ".jar")
    files[path] = jar({"x": b"other"})
    files[EXCEPTIONS] = json.dumps(
        [{"path": path, "reason": "known", "by": "a", "at": ""}]
    ).encode()
    assert held(files) == {}
    assert [one.path for one in problems(files)] == [path]


@pytest.mark.parametrize("line", [b"a\tsha1\tzz\n", b"a\tsha1\n", b"a\tcrc\t00\n", b"x", b"\xff\n"])
def test_a_statement_that_is_none(line: bytes) -> None:
    with pytest.raises(MalformedIndex):
        problems({statement.FOLDER + "00": line})


@pytest.mark.parametrize(
    ("ending", "data"), [(".jar", PAGE), (".jar", b"\n\xef <html>"[:1] + PAGE), (".pom", PAGE),
                         (".pom", ENTITY), ("-bin.tar.gz", PAGE), (".jar.asc", PAGE)]
)  # fmt: skip
def test_what_must_not_be_taken_for_an_artifact(ending: str, data: bytes) -> None:
    files = artifact(ONE) | artifact(TWO)
    files[place(TWO, ending)] = data
    (path,) = held(stated(files))
    assert path == place(TWO, ending)
    assert "org.example:lib" in held(stated(files))[path]


def test_poms_that_are_their_own_ancestors() -> None:
    files = {}
    for child, above in [*map(tuple, ("ab", "bc", "ca", "da", "ee")), ("f", "elsewhere")]:
        each, parent = f"g:{child}:1", f"g:{above}:1"
        files[place(each, ".pom")] = pom(each, parent=parent, packaging="pom")
    found = problems(files)
    assert {one.path for one in found if one.severity is Severity.REQUIRED} == {
        place(each, ".pom") for each in ("g:a:1", "g:b:1", "g:c:1", "g:e:1")
    }
    (advice,) = [one for one in found if one.severity is Severity.ADVICE]
    assert advice.path == place("g:f:1", ".pom")
    assert "g:elsewhere:1" in advice.what


def test_signatures_are_named_only_for_packages() -> None:
    view = MemoryView(artifact(ONE) | {place(ONE, ".jar.asc"): b"-----"})
    assert list(MAVEN.signed(SPEC, view, packages=False)) == []
    assert [(one.path, one.signature) for one in MAVEN.signed(SPEC, view, packages=True)] == [
        (place(ONE, ".jar"), place(ONE, ".jar.asc")),
        (place(ONE, ".pom"), place(ONE, ".pom.asc")),
    ]


# --- crawl


def crawl(
    upstream: dict[str, bytes], *roots: object, before: Run | None = None, **options: object
) -> Run:
    previous = None if before is None else before.view
    spec = Spec("central", options={"roots": list(roots), **options})
    return drive(MAVEN.crawl(spec, previous), upstream, previous)


def public(run: Run) -> set[str]:
    return {path for path in run.files if not path.startswith(".sluice/")}


def test_roots_come_with_the_upstreams_checksums() -> None:
    upstream = with_checksums({**artifact(ONE), **artifact(TWO)}, "sha1", "md5")
    run = crawl(upstream, *artifact(ONE))
    assert public(run) == set(artifact(ONE))
    assert dict(statement.read(run.view)) == {
        path: ("sha1", hashlib.sha1(data).hexdigest()) for path, data in artifact(ONE).items()
    }
    assert problems(run.files) == []


def test_only_the_first_file_of_a_version_is_probed_for_stronger_checksums() -> None:
    upstream = with_checksums(artifact(ONE), "sha1")
    asked = crawl(upstream, *artifact(ONE)).asked
    assert sum(url.endswith(".sha512") for url in asked) == 1
    assert sum(url.endswith(".sha1") for url in asked) == 2
    upstream = with_checksums(artifact(ONE), "sha512", "sha1")
    asked = crawl(upstream, *artifact(ONE)).asked
    assert not any(url.endswith(".sha1") for url in asked)


def test_what_is_here_already_is_asked_of_nobody() -> None:
    upstream = with_checksums(artifact(ONE) | artifact(TWO), "sha1")
    first = crawl(upstream, *artifact(ONE))
    again = crawl(upstream, *artifact(ONE), before=first)
    assert again.asked == []
    assert again.files == first.files
    more = crawl(upstream, *artifact(ONE), *artifact(TWO), before=first)
    assert all("/lib/" in url for url in more.asked)
    assert public(more) == set(artifact(ONE)) | set(artifact(TWO))
    assert public(crawl(upstream, *artifact(TWO), before=more)) == set(artifact(TWO))


def test_coordinates_bring_what_their_packaging_calls_for() -> None:
    war, parent = "org.example:web:1", "org.example:parent:1"
    upstream = artifact(ONE) | {
        place(war, ".pom"): pom(war, packaging="war"), place(war, ".war"): jar(),
        place(parent, ".pom"): pom(parent, packaging="pom"),
        place(ONE, "-sources.jar"): jar(), place(ONE, "-javadoc.jar"): jar(),
    }  # fmt: skip
    run = crawl(upstream, ONE, war, parent, sources=True, javadoc=False)
    assert public(run) == set(upstream) - {place(ONE, "-javadoc.jar")}
    assert public(crawl(upstream, "org.example:app:jar:javadoc:1.0")) == {
        place(ONE, "-javadoc.jar")
    }
    assert public(crawl(upstream, ONE, before=run)) == set(artifact(ONE))


def test_a_listing_may_bring_its_promises() -> None:
    path = place(ONE, ".jar")
    data = artifact(ONE)[path]
    root = {"path": path, "url": "http://127.0.0.1/x.jar", "size": len(data),
            "sha1": hashlib.sha1(data).hexdigest(),
            "md5": hashlib.md5(data).hexdigest()}  # fmt: skip
    run = crawl({"http://127.0.0.1/x.jar": data}, root)
    assert run.asked == ["http://127.0.0.1/x.jar"]
    assert dict(statement.read(run.view)) == {path: ("sha1", root["sha1"])}


OLD, NEW = "2.0-20240501.120000-3", "2.0-20240502.080000-4"


def snapshots() -> dict[str, bytes]:
    files = artifact(SNAP, OLD) | artifact(SNAP, NEW)
    made = maven.overlay(files)
    path = "org/example/app/2.0-SNAPSHOT/maven-metadata.xml"
    return with_checksums(files, "sha1") | {path: made[path]}


@pytest.mark.parametrize("root", [SNAP, "org.example:app:jar:2.0-SNAPSHOT"])
def test_a_snapshot_is_its_newest_build(root: str) -> None:
    run = crawl(snapshots(), root)
    expected = set(artifact(SNAP, NEW))
    assert public(run) == (expected if root == SNAP else {place(SNAP, ".jar", NEW)})


def test_a_captured_build_of_a_snapshot_moves_on_and_stays() -> None:
    run = crawl(snapshots(), place(SNAP, ".jar", OLD))
    assert public(run) == {place(SNAP, ".jar", OLD), place(SNAP, ".jar", NEW)}


def test_a_literal_snapshot_is_asked_for_again() -> None:
    upstream = with_checksums(artifact(SNAP), "sha1")
    first = crawl(upstream, *artifact(SNAP))
    assert public(first) == set(artifact(SNAP))
    path = place(SNAP, ".jar")
    changed = with_checksums(artifact(SNAP) | {path: jar({"new": b"1"})}, "sha1")
    assert crawl(changed, *artifact(SNAP), before=first).files[path] == changed[path]


CYCLE = {
    place("g:a:1", ".pom"): pom("g:a:1", parent="g:b:1"),
    place("g:b:1", ".pom"): pom("g:b:1", parent="g:a:1", packaging="pom"),
}


@pytest.mark.parametrize(
    ("path", "data", "checksum", "said"),
    [
        (place(TWO, ".jar"), PAGE, None, "web page"),
        (place(TWO, ".jar"), PAGE, PAGE, "web page"),
        (place(TWO, ".jar"), PAGE, "right", "web page"),
        (place(TWO, ".jar"), jar({"other": b""}), b"0" * 40, "promised"),
        (place(TWO, ".jar"), None, None, "does not have it"),
        (place(TWO, ".pom"), PAGE, None, "document type"),
        (place(TWO, ".pom"), ENTITY, "right", "entity"),
        (place(TWO, ".pom"), pom(TWO)[:-40], None, "well-formed"),
        (place(TWO, ".pom"), pom(TWO, parent=TWO), "right", "ancestor"),
    ],
)
def test_what_is_wrong_stays_out_by_name_and_the_others_come(
    path: str, data: bytes | None, checksum: bytes | str | None, said: str
) -> None:
    good = with_checksums(artifact(ONE) | artifact(TWO), "sha1")
    upstream = dict(good)
    del upstream[path], upstream[f"{path}.sha1"]
    if data is not None:
        upstream[path] = data
        if checksum == "right":
            upstream[f"{path}.sha1"] = hashlib.sha1(data).hexdigest().encode()
        elif isinstance(checksum, bytes):
            upstream[f"{path}.sha1"] = checksum
    run = crawl(upstream, *artifact(ONE), *artifact(TWO))
    assert set(artifact(ONE)) <= public(run)
    assert path not in public(run)
    assert path.endswith(".jar") or place(TWO, ".jar") not in public(run)
    assert said in run.left_out[path]
    assert "org.example:lib" in run.left_out[path]
    assert held(run.files) == {}


def test_a_parent_cycle_stays_out_also_through_what_is_here() -> None:
    run = crawl({**CYCLE, **artifact(ONE)}, *CYCLE, ONE)
    assert set(artifact(ONE)) <= public(run)
    assert held(run.files) == {}
    a, b = sorted(CYCLE)
    first = crawl(CYCLE, a)
    second = crawl(CYCLE, a, b, before=first)
    assert b in second.left_out
    assert held(second.files) == {}


@pytest.mark.parametrize(
    "root",
    ["org/../../etc/passwd", "org%2f..%2fpasswd/x", "a\\b/c", "/etc/passwd", ".sluice/facts.json",
     "g:..:1", "g:a:1/../2", "a//b", "x\ny", ":" * 9],
)  # fmt: skip
def test_a_root_that_leads_elsewhere_is_never_asked_for(root: str) -> None:
    run = crawl(artifact(ONE), root, ONE)
    assert public(run) == set(artifact(ONE))
    assert len(run.left_out) == 1
    assert all("etc" not in url and ".." not in url for url in run.asked)


def test_metadata_and_checksum_files_are_no_roots() -> None:
    run = crawl(
        artifact(ONE), ONE, f"{place(ONE, '.jar')}.sha1", "org/example/app/maven-metadata.xml"
    )
    assert public(run) == set(artifact(ONE))
    assert run.left_out == {}


def test_without_roots_nothing_can_be_fetched() -> None:
    with pytest.raises(ConfigError):
        MAVEN.crawl(SPEC, None)
    assert MAVEN.selects(Spec("m", options={"roots": []}))
    assert not MAVEN.selects(SPEC)


def test_a_hostile_snapshot_metadata_keeps_only_its_own_version_out() -> None:
    upstream = snapshots() | artifact(ONE)
    upstream["org/example/app/2.0-SNAPSHOT/maven-metadata.xml"] = PAGE
    run = crawl(upstream, SNAP, ONE)
    assert public(run) == set(artifact(ONE))
    assert any("2.0-SNAPSHOT" in path for path in run.left_out)
    evil = snapshots()["org/example/app/2.0-SNAPSHOT/maven-metadata.xml"].replace(
        NEW.encode(), b"../../../../x"
    )
    upstream["org/example/app/2.0-SNAPSHOT/maven-metadata.xml"] = evil
    assert all(".." not in path for path in crawl(upstream, SNAP, ONE).asked)
