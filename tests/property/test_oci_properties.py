"""Parsers of the OCI format and of registries' answers, against anything at all."""

from __future__ import annotations

import io
import json
import string
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import ConfigError, FormatError, UpstreamRefused
from manifests.formats.oci import document, facts, media
from manifests.formats.oci.asking import following
from manifests.formats.oci.document import Index, Manifest
from manifests.formats.oci.facts import Facts
from manifests.formats.oci.layout import FACTS, Folder, Place, is_image, locate, split_reference
from manifests.formats.oci.rules import ImageRule
from manifests.formats.oci.tags import select, version
from mirror.registry.authfile import read_auth_file
from mirror.registry.challenge import challenges
from mirror.registry.files import TarFiles
from tests.support.formats import MemoryView

HEX = st.text("0123456789abcdef", min_size=64, max_size=64)
DIGESTS = HEX.map("sha256:{}".format)
TAGS = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True)
IMAGES = st.from_regex(
    r"[a-z0-9]{1,4}((\.|_|__|-{1,3})[a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,4}){0,2}", fullmatch=True
)
# Half characters too, which JSON can spell.
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "digest",
             "size", "platform", "annotations", "artifactType", "os", "x"]
        ),
        inner,
        max_size=6,
    ),
    max_leaves=12,
)  # fmt: skip
DESCRIPTORS = st.fixed_dictionaries(
    {
        "mediaType": st.sampled_from([media.OCI_LAYER, "a/b", media.OCI_CONFIG]),
        "digest": DIGESTS,
        "size": st.integers(0, 2**63 - 1),
    },
    optional={
        "annotations": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2),
        "platform": st.fixed_dictionaries({"os": TAGS, "architecture": TAGS}),
    },
)  # fmt: skip


@given(st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_comes_is_a_document_or_refused(data: bytes) -> None:
    try:
        document.parse(data, "x")
    except FormatError as error:
        assert error.what.isprintable() and len(error.what) < 600


@given(DESCRIPTORS, st.lists(DESCRIPTORS, max_size=4), st.none() | DESCRIPTORS)
def test_a_manifest_is_read_as_written(
    config: dict[str, object], layers: list[dict[str, object]], subject: dict[str, object] | None
) -> None:
    value = {
        "schemaVersion": 2,
        "mediaType": media.OCI_MANIFEST,
        "config": config,
        "layers": layers,
    }
    found = document.parse(json.dumps(value | {"subject": subject}).encode(), "x")
    assert isinstance(found, Manifest)
    assert [row.digest for row in found.blobs] == [row["digest"] for row in (config, *layers)]
    assert [row.size for row in found.blobs] == [row["size"] for row in (config, *layers)]
    assert (found.subject and found.subject.digest) == (subject and subject["digest"])


@given(st.lists(DESCRIPTORS, max_size=4))
def test_an_index_is_read_as_written(rows: list[dict[str, object]]) -> None:
    value = {"schemaVersion": 2, "manifests": rows}
    found = document.parse(json.dumps(value).encode(), "x", media.OCI_INDEX)
    assert isinstance(found, Index)
    assert [row.digest for row in found.manifests] == [row["digest"] for row in rows]
    with pytest.raises(FormatError):
        document.parse(json.dumps(value).encode(), "x", media.OCI_MANIFEST)


@given(IMAGES, st.sampled_from(list(Folder)), TAGS, DIGESTS)
def test_a_path_says_what_lies_there(image: str, folder: Folder, tag: str, digest: str) -> None:
    place = Place(image, folder, tag if folder is Folder.TAGS else digest)
    assert locate(place.path) == place
    assert split_reference(f"{image}:{tag}") == (image, tag)
    assert split_reference(f"{image}:{tag}@{digest}") == (image, digest)


@given(st.text(alphabet="ab/_.:-sh256" + string.hexdigits, max_size=100))
def test_no_other_path_means_the_same(path: str) -> None:
    place = locate(path)
    assert place is None or (place.path == path and is_image(place.image))


@given(st.dictionaries(IMAGES, st.frozensets(DIGESTS, min_size=1, max_size=3), max_size=3))
def test_facts_come_back(rows: dict[str, frozenset[str]]) -> None:
    told = Facts("registry.example.com", rows)
    assert facts.read(MemoryView({FACTS: facts.write(told)})) == told


@given(st.binary(max_size=100) | JSON.map(lambda value: json.dumps(value).encode()))
def test_facts_from_elsewhere_are_facts_or_refused(data: bytes) -> None:
    with suppress(FormatError):
        facts.read(MemoryView({FACTS: data}))


@given(
    st.lists(TAGS | st.from_regex(r"v?[0-9]{1,2}(\.[0-9]{1,2}){0,2}", fullmatch=True), max_size=9)
)
def test_the_newest_are_never_older_than_the_others(tags: list[str]) -> None:
    chosen = select(ImageRule("x", newest=2), tags)
    assert set(chosen) <= set(tags)
    plain = {key for tag in tags if (key := version(tag)) is not None and key[1]}
    assert {version(tag) for tag in chosen} == set(sorted(plain)[-2:])


@given(st.text(max_size=80))
def test_any_challenge_can_be_read(header: str) -> None:
    for one in challenges(header):
        assert one.scheme == one.scheme.lower() != ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Bearer", "Basic", "Negotiate"]),
            st.dictionaries(
                st.sampled_from(["realm", "service", "scope", "error"]),
                st.text(string.ascii_letters + ' ,="\\:/?', max_size=10), min_size=1, max_size=3,
            ),
        ),
        max_size=3,
    )
)  # fmt: skip
def test_challenges_come_back(rows: list[tuple[str, dict[str, str]]]) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    header = ", ".join(
        f"{scheme} " + ",".join(f"{key}={quoted(value)}" for key, value in values.items())
        for scheme, values in rows
    )
    found = [(one.scheme, one.values) for one in challenges(header)]
    assert found == [(scheme.lower(), values) for scheme, values in rows]


@given(st.text(max_size=60))
def test_the_next_page_is_of_the_same_list(link: str) -> None:
    for header in (link, f'<{link}>; rel="next"', f"<http://evil.example.org/x?{link}>; rel=next"):
        found = following("v2/app/tags/list?n=5", header)
        assert found == "" or found.startswith("v2/app/tags/list?")


@given(st.binary(max_size=60) | JSON.map(lambda v: json.dumps({"auths": {"h": v}}).encode()))
def test_any_file_of_logins_is_read_or_refused(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        try:
            read_auth_file(Path(file.name), "h")
        except ConfigError as error:
            assert error.remedy


@given(st.binary(max_size=2000), st.binary(max_size=600))
def test_any_archive_is_read_or_refused(head: bytes, tail: bytes) -> None:
    valid = io.BytesIO()
    with tarfile.open(fileobj=valid, mode="w") as tar:
        info = tarfile.TarInfo("x")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
    with tempfile.NamedTemporaryFile() as file:
        for data in (head, valid.getvalue()[:512] + head, valid.getvalue()[:1024] + tail):
            file.seek(0)
            file.truncate()
            file.write(data)
            file.flush()
            try:
                found = TarFiles(Path(file.name), "file:///x")
            except UpstreamRefused:
                continue
            member = found.open("x")
            if member is not None:
                assert len(member.read()) <= 3
            found.close()
