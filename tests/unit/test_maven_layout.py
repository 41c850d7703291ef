"""Paths and coordinates, POMs, plugin descriptors, metadata documents."""

from __future__ import annotations

import io
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import BadPath, ForbiddenXml, FormatError, MalformedIndex, OversizedIndex
from manifests.formats.maven import metadata, pom
from manifests.formats.maven.layout import coordinates, locate
from manifests.formats.maven.metadata import Build, Metadata
from manifests.formats.maven.plugin import Plugin, describe, usual_prefix
from manifests.formats.maven.statement import parse_checksum
from tests.support import maven

NAME = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("junit/junit/4.13.2/junit-4.13.2.jar", "junit:junit:4.13.2"),
        ("org/example/a-b/1/a-b-1.pom", "org.example:a-b:pom:1"),
        ("org/example/a/1.0/a-1.0-sources.jar", "org.example:a:jar:sources:1.0"),
        ("org/example/a/1.0/a-1.0-jdk1.5.jar", "org.example:a:jar:jdk1.5:1.0"),
        ("org/example/a/1.0/a-1.0-bin.tar.gz", "org.example:a:tar.gz:bin:1.0"),
        ("org/example/a/1.0/a-1.0.jar.asc", "org.example:a:jar.asc:1.0"),
        ("org/example/a/1-SNAPSHOT/a-1-20240501.120000-7-tests.jar",
         "org.example:a:jar:tests:1-SNAPSHOT"),
        ("org/example/a/1-SNAPSHOT/a-1-SNAPSHOT.war", "org.example:a:war:1-SNAPSHOT"),
    ],
)  # fmt: skip
def test_a_path_is_an_artifact_and_back(path: str, named: str) -> None:
    found = locate(path)
    assert found is not None
    assert str(found) == named
    assert found.path == path


@pytest.mark.parametrize(
    "path",
    [
        "org/example/a/1.0/a-1.0.jar.sha1",
        "org/example/a/maven-metadata.xml",
        "org/example/a/1.0/b-1.0.jar",
        "org/example/a/1.0/a-1.1.jar",
        "org/example/a/1.0/a-1.0-20240501.120000-7.jar/x",
        "org/example/a/2-SNAPSHOT/a-1-20240501.120000-7.jar",
        "a-1.0.jar",
        "1.0/a-1.0.jar",
        "org/ex%2fample/a/1.0/a-1.0.jar",
        "org/example/a/1.0/a-1.0-<x>.jar",
    ],
)
def test_what_is_no_artifact(path: str) -> None:
    assert locate(path) is None


@given(st.lists(NAME, min_size=1, max_size=3), NAME, NAME, NAME | st.just(""))
def test_coordinates_and_path_say_the_same(
    group: list[str], name: str, version: str, classifier: str
) -> None:
    words = [".".join(group), name, "jar", *([classifier] if classifier else []), version]
    artifact = coordinates(":".join(words))
    found = locate(artifact.path)
    assert found is not None
    assert found.path == artifact.path
    assert (found.group, found.name, found.version) == (artifact.group, name, version)


@pytest.mark.parametrize(
    "text",
    ["a:b", "a:b:c:d:e:f", "a:..:1", "a/b:c:1", "a:b:1%2f2", "a:b:", "a:b:jar:..:1/2", ".:b:1"],
)
def test_coordinates_that_lead_elsewhere(text: str) -> None:
    with pytest.raises(BadPath):
        coordinates(text)


def test_a_build_of_a_snapshot_lies_in_its_folder() -> None:
    found = coordinates("g:a:jar:1-20240501.120000-7")
    assert found.path == "g/a/1-SNAPSHOT/a-1-20240501.120000-7.jar"
    assert found.moment == ("20240501.120000", 7)


def test_what_a_pom_says() -> None:
    data = maven.pom("g:a:1", parent="g:p:2", packaging="war")
    found = pom.parse(data, "a.pom")
    assert (found.packaging, found.parent, found.relocated) == ("war", ("g", "p", "2"), False)
    moved = maven.pom(
        "g:a:1", extra="<distributionManagement><relocation/></distributionManagement>"
    )
    assert pom.parse(moved, "a.pom").relocated


@pytest.mark.parametrize(
    "head",
    [
        b'<!DOCTYPE project [<!ENTITY x "y">]>',
        b'<!DOCTYPE project SYSTEM "file:///etc/passwd">',
    ],
)
def test_a_document_type_in_a_pom_is_refused(head: bytes) -> None:
    with pytest.raises(ForbiddenXml):
        pom.parse(head + maven.pom("g:a:1"), "a.pom")


def test_old_poms_are_read_as_maven_reads_them() -> None:
    named = maven.pom("g:a:1", packaging="pom", extra="<name>Laugst&oslash;l &amp; co</name>")
    assert pom.parse(named, "a.pom").packaging == "pom"
    korean = b'<?xml version="1.0" encoding="EUC-KR"?>\n' + maven.pom(
        "g:a:1", packaging="pom", extra="<name>전자정부</name>"
    ).decode().encode("euc-kr")
    assert not pom.parse(korean, "a.pom").broken
    assert pom.parse(b"\n  " + named, "a.pom").packaging == "pom"


def test_a_pom_that_ends_early_is_known_up_to_there() -> None:
    found = pom.parse(maven.pom("g:a:1", parent="g:p:2")[:-30], "a.pom")
    assert found.broken
    assert found.parent == ("g", "p", "2")


@pytest.mark.parametrize("page", [b"<html><body>Sign in<br></body></html>", b"", b"404"])
def test_a_page_is_no_pom(page: bytes) -> None:
    with pytest.raises(MalformedIndex):
        pom.parse(page, "a.pom")


DESCRIPTOR = b"<plugin><name>N</name><goalPrefix>show</goalPrefix></plugin>"


def described(members: dict[str, bytes], before: bytes = b"") -> Plugin | None:
    return describe(io.BytesIO(before + maven.jar(members)), "show-maven-plugin", "x.jar")


def test_a_plugin_says_its_prefix() -> None:
    found = Plugin("N", "show", "show-maven-plugin")
    members = {"a": b"1", "META-INF/maven/plugin.xml": DESCRIPTOR, "b": b"2"}
    assert described(members) == found
    assert described(members, b"#!/bin/sh\nexec java -jar $0\n") == found
    assert described({"a": b"1"}) is None
    assert described({"META-INF/maven/plugin.xml": b"<plugin/>"}) == Plugin(
        "show-maven-plugin", "show", "show-maven-plugin"
    )
    assert usual_prefix("maven-plugin-plugin") == "plugin"
    assert usual_prefix("maven-compiler-plugin") == "compiler"


def test_a_descriptor_that_grows_without_end_is_refused() -> None:
    bomb = b"<plugin><name>" + b"<x/>" * (5 << 20) + b"</name></plugin>"
    with pytest.raises(OversizedIndex):
        described({"META-INF/maven/plugin.xml": bomb})


@settings(max_examples=300)
@given(st.data())
def test_damaged_archives_are_errors_of_ours(data: st.DataObject) -> None:
    whole = bytearray(maven.jar({"META-INF/maven/plugin.xml": DESCRIPTOR}))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole)))
    try:
        describe(io.BytesIO(bytes(whole[:cut])), "a", "x.jar")
    except FormatError:
        return


def test_metadata_is_read_as_it_is_written() -> None:
    value = Metadata(
        "g", "a", "", ("1.0", "1.1-SNAPSHOT"), "20240501120000", None, (),
        (Plugin("N & co", "show", "show-maven-plugin"),),
    )  # fmt: skip
    assert metadata.read(metadata.write(value), "x") == value
    builds = (Build("jar", "", "1-20240501.120000-7", "20240501120000"),)
    snapshot = Metadata(
        "g", "a", "1-SNAPSHOT", (), "20240501120000", ("20240501.120000", 7), builds
    )
    assert metadata.read(metadata.write(snapshot), "x") == snapshot
    assert b"&amp;" in metadata.write(value)


def test_merged_metadata_unites_versions_and_takes_the_newest_builds() -> None:
    one = Metadata("g", "a", versions=("1", "3"), plugins=(Plugin("x", "p", "first"),))
    two = Metadata("g", "a", versions=("2",), plugins=(Plugin("y", "p", "second"),))
    text = metadata.write(metadata.merged([one, two])).decode()
    assert text.index(">1<") < text.index(">2<") < text.rindex(">3<")
    assert "<release>3</release>" in text
    assert "second" not in text


@pytest.mark.parametrize(
    "text",
    ["{}", "{}\n", "{}  a-1.jar\n", "SHA1(a.jar)= {}\n", "sha1 = {}"],
)
def test_checksum_files_of_all_kinds(text: str) -> None:
    value = "0123456789" * 4
    assert parse_checksum(text.format(value.upper()).encode(), "sha1") == value


def test_a_page_is_no_checksum() -> None:
    assert parse_checksum(b"<html>" + b"0" * 40, "sha1") is None
    assert parse_checksum(b"0" * 40, "md5") is None
    assert parse_checksum(zlib.compress(b"x"), "sha1") is None
