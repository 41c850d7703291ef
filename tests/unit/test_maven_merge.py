"""Metadata of several Maven repositories that are served as one."""

import hashlib

import pytest

from manifests.errors import FormatError
from manifests.formats import format_named
from manifests.formats.maven import metadata
from manifests.formats.maven.metadata import Build, Metadata
from manifests.formats.maven.plugin import Plugin

MAVEN = format_named("maven")
HERE = "org/example/lib/maven-metadata.xml"


def versions(*names: str) -> bytes:
    return metadata.write(Metadata("org.example", "lib", versions=names))


def plugins(*rows: tuple[str, str]) -> bytes:
    found = tuple(Plugin(artifact, prefix, artifact) for prefix, artifact in rows)
    return metadata.write(Metadata(plugins=found))


def make(path: str, *bodies: bytes) -> bytes:
    merge = MAVEN.merge(path)
    assert merge is not None and merge.source == path.removesuffix(".sha1")
    return merge.make(bodies)


def test_versions_are_united_and_the_newest_found_anew() -> None:
    text = make(HERE, versions("1.2", "1.10"), b"", versions("1.9", "2.0-SNAPSHOT", "1.2"))
    found = metadata.read(text, HERE)
    assert found.versions == ("1.2", "1.9", "1.10", "2.0-SNAPSHOT")
    assert b"<latest>2.0-SNAPSHOT</latest>" in text and b"<release>1.10</release>" in text


def test_of_one_plugin_prefix_the_first_repository_counts() -> None:
    text = make(
        "org/example/maven-metadata.xml",
        plugins(("show", "ours"), ("only", "here")),
        plugins(("show", "theirs"), ("more", "there")),
    )
    found = {plugin.prefix: plugin.artifact for plugin in metadata.read(text, HERE).plugins}
    assert found == {"show": "ours", "only": "here", "more": "there"}


def test_a_snapshot_is_the_first_repository_s_as_it_is() -> None:
    one, other = (
        metadata.write(
            Metadata(
                "org.example", "lib", "1-SNAPSHOT", moment=("20240501.120000", number),
                builds=(Build("jar", "", f"1-20240501.120000-{number}"),),
            )
        )
        for number in (3, 9)
    )  # fmt: skip
    path = "org/example/lib/1-SNAPSHOT/maven-metadata.xml"
    assert make(path, one, other) == one
    assert make(path, b"", other) == other


def test_a_single_document_stays_byte_for_byte() -> None:
    assert make(HERE, b"", versions("1")) == versions("1")
    assert make(HERE, b"", b"") == b""


def test_a_checksum_is_that_of_what_was_made() -> None:
    bodies = (versions("1"), versions("2"))
    made = make(HERE, *bodies)
    assert make(HERE + ".sha1", *bodies) == hashlib.sha1(made).hexdigest().encode()
    assert make(HERE + ".sha1", b"") == b""


def test_all_other_files_are_the_first_hit() -> None:
    for path in ("org/example/lib/1/lib-1.jar", "org/example/lib/1/lib-1.jar.sha1",
                 "maven-metadata.xml/x", "org/x-maven-metadata.xml", HERE + ".asc"):  # fmt: skip
        assert MAVEN.merge(path) is None


def test_a_document_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(FormatError):
        make(HERE, versions("1"), b"<html>")


def test_only_coordinates_may_be_asked_for() -> None:
    assert MAVEN.may_be_root("org.example:lib:1.0")
    assert MAVEN.may_be_root("org.example:lib:jar:sources:1.0")
    for text in ("", "org/example/lib/1/lib-1.jar", "a:b", "a:../b:1", "-o:x", "a:b:c d"):
        assert not MAVEN.may_be_root(text), text
    assert not format_named("yum").may_be_root("org.example:lib:1.0")
