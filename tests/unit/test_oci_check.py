"""What makes a tree of images incomplete or inconsistent, and what is only worth a word."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import pytest

from manifests.errors import FormatError
from manifests.formats import format_named
from manifests.formats.base import Severity, Spec
from manifests.formats.oci import document, facts, media
from manifests.formats.oci.facts import Facts
from manifests.formats.oci.layout import FACTS, blob_path, manifest_path, referrers_path, tag_path
from tests.support.formats import MemoryView
from tests.support.ociregistry import described, digest, index, manifest, row

OCI = format_named("oci")
CONFIG = b'{"architecture": "amd64"}'
LAYER = b"layer of bytes"


def tree(*documents: bytes, tags: Mapping[str, bytes] | None = None) -> dict[str, bytes]:
    """The files of an image: config, layer, these documents, these tags."""
    files = {blob_path("app", digest(data)): data for data in (CONFIG, LAYER)}
    files |= {manifest_path("app", digest(data)): data for data in documents}
    return files | {tag_path("app", tag): data for tag, data in (tags or {}).items()}


def problems(files: Mapping[str, bytes]) -> list[tuple[bool, str, str]]:
    """Required or not, path and text of each."""
    found = OCI.check(Spec("r"), MemoryView(files))
    return [(one.severity is Severity.REQUIRED, one.path, one.what) for one in found]


IMAGE = manifest(CONFIG, LAYER)
OTHER = manifest(CONFIG, LAYER, annotations={"other": "yes"})
BOTH = index(row(IMAGE, "linux/amd64"), row(OTHER, "linux/arm64"))


def test_a_whole_tree_has_no_problem() -> None:
    assert problems(tree(IMAGE, OTHER, BOTH, tags={"v1": BOTH, "v2": IMAGE})) == []
    assert problems({}) == []


def test_what_a_manifest_names_must_be_there() -> None:
    for gone in (CONFIG, LAYER):
        files = tree(IMAGE, tags={"v1": IMAGE})
        del files[blob_path("app", digest(gone))]
        path = manifest_path("app", digest(IMAGE))
        assert problems(files) == [(True, path, f"{digest(gone)}, which it names, is not here")]


def test_a_blob_of_another_image_does_not_count() -> None:
    files = tree(IMAGE, tags={"v1": IMAGE})
    files[blob_path("other", digest(LAYER))] = files.pop(blob_path("app", digest(LAYER)))
    assert any(required and "is not here" in what for required, _, what in problems(files))


def test_what_an_index_names_must_be_there_unless_it_was_left_out() -> None:
    files = tree(IMAGE, BOTH, tags={"v1": BOTH})
    path = manifest_path("app", digest(BOTH))
    assert problems(files) == [(True, path, f"{digest(OTHER)}, which it names, is not here")]
    files[FACTS] = facts.write(Facts(left_out={"app": {digest(OTHER)}}))
    assert problems(files) == [(False, path, "sparse: without linux/arm64")]
    files[FACTS] = facts.write(Facts(left_out={"app": {digest(OTHER), digest(IMAGE)}}))
    del files[manifest_path("app", digest(IMAGE))]
    assert (True, path, "nothing that this index names is here") in problems(files)


def test_bytes_must_have_the_digest_of_their_path() -> None:
    for path in (blob_path("app", digest(LAYER)), manifest_path("app", digest(IMAGE))):
        files = tree(IMAGE, tags={"v1": IMAGE}) | {path: b"{}"}
        assert (True, path, "its bytes have another digest than its path") in problems(files)


def test_digests_in_sha512_are_compared_too() -> None:
    value = json.loads(IMAGE)
    other = f"sha512:{hashlib.sha512(LAYER).hexdigest()}"
    value["layers"][0]["digest"] = other
    data = json.dumps(value).encode()
    files = tree(data, tags={"v1": data})
    del files[blob_path("app", digest(LAYER))]
    files[blob_path("app", other)] = LAYER
    assert problems(files) == []
    files[blob_path("app", other)] = b"bytes of layer"
    assert "its bytes have another digest than its path" in [what for _, _, what in problems(files)]


def test_a_tag_needs_its_manifest() -> None:
    files = tree(tags={"v1": IMAGE}) | {blob_path("app", digest(b"x")): b"x"}
    assert (
        True,
        tag_path("app", "v1"),
        "its manifest is not among those of the image",
    ) in problems(files)


def test_sizes_must_be_those_that_were_stated() -> None:
    value = json.loads(IMAGE)
    value["layers"][0]["size"] += 1
    data = json.dumps(value).encode()
    ((required, path, what),) = problems(tree(data, tags={"v1": data}))
    assert required and path == manifest_path("app", digest(data))
    assert what == f"{digest(LAYER)} has 14 bytes, this manifest says 15"
    lying = index(row(IMAGE) | {"size": 3})
    assert any("this manifest says 3" in w for _, _, w in problems(tree(IMAGE, lying)))


def test_media_types_must_be_those_that_were_stated() -> None:
    lying = index(row(IMAGE) | {"mediaType": media.DOCKER_MANIFEST})
    ((required, path, what),) = problems(tree(IMAGE, lying))
    assert required and path == manifest_path("app", digest(lying))
    assert what == (
        f"{digest(IMAGE)} is {media.OCI_MANIFEST}, this index says {media.DOCKER_MANIFEST}"
    )


def test_layers_that_are_compressed_in_another_way_are_worth_a_word() -> None:
    value = json.loads(IMAGE)
    value["layers"][0]["mediaType"] = media.OCI_LAYER + "+gzip"
    data = json.dumps(value).encode()
    ((required, _, what),) = problems(tree(data))
    assert not required and what == f"{digest(LAYER)} is plain, its media type says gzip"


def test_what_nothing_names_is_worth_a_word() -> None:
    extra = blob_path("app", digest(b"x"))
    assert problems(tree(IMAGE) | {extra: b"x"}) == [(False, extra, "no manifest names it")]


def test_only_paths_of_the_layout_may_be_there() -> None:
    for path in (
        "app", "app/x", "app/_tags/a/b", "App/_tags/v1", "app/_blobs/sha256/abc", "_tags/v1",
        referrers_path("app", digest(IMAGE)), f"app/_blobs/{digest(LAYER)}",
    ):  # fmt: skip
        assert problems({path: b"x"}) == [(True, path, "not a path of an image")]


def test_indexes_that_are_nested_too_deep() -> None:
    chain, data = [IMAGE], IMAGE
    for _ in range(6):
        data = index(row(data))
        chain.append(data)
    assert problems(tree(*chain[:5])) == []
    assert problems(tree(*chain)) == [(True, "app/_manifests", "indexes nested more than 4 deep")]


def test_damaged_facts_are_refused() -> None:
    for data in (b"", b"[]", b"{}", b'{"version":1,"left_out":{"A":[]}}',
                 b'{"version":1,"left_out":{"a":["x"]}}', b'{"version":2}'):  # fmt: skip
        with pytest.raises(FormatError):
            problems({FACTS: data})


FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"schemaVersion": 2, "schemaVersion": 2}', "twice"),
        (b'{"schemaVersion": NaN}', "not JSON"),
        (b"[]", "not an object"),
        (b'{"schemaVersion": 3}', "schemaVersion is not 2"),
        (b'{"schemaVersion": 2}', "neither `layers` nor `manifests`"),
        (b'{"schemaVersion": 1, "fsLayers": [], "name": "x"}', "schema 1"),
        (json.dumps({**json.loads(IMAGE), "manifests": []}).encode(), "at once"),
        (json.dumps({**json.loads(IMAGE), "mediaType": media.OCI_INDEX}).encode(), "calls itself"),
        (json.dumps({**json.loads(IMAGE), "mediaType": "text/html"}).encode(), "calls itself"),
        (manifest(CONFIG, LAYER, config=None), "`config`"),
        (manifest(CONFIG, LAYER, layers={}), "not a list"),
        (manifest(CONFIG, layers=[described(LAYER, FOREIGN)]), "may not be passed on"),
        (manifest(CONFIG, layers=[described(LAYER, "x")]), "not a media type"),
        (manifest(CONFIG, layers=[{**described(LAYER, "a/b"), "size": -1}]), "no size"),
        (manifest(CONFIG, layers=[{**described(LAYER, "a/b"), "size": True}]), "no size"),
        (manifest(CONFIG, layers=[{**described(LAYER, "a/b"), "digest": "md5:1"}]), "no digest"),
        (manifest(CONFIG, layers=[{**described(LAYER, "a/b"), "digest": "sha256:../x"}]), "no dig"),
        (manifest(CONFIG, annotations={"a": 1}), "annotation"),
        (b" " * (document.MAX_BYTES + 1), "more than"),
    ],
)  # fmt: skip
def test_documents_that_are_refused(data: bytes, what: str) -> None:
    with pytest.raises(FormatError, match=what):
        document.parse(data, "x")
    if len(data) < document.MAX_BYTES:
        assert any(required for required, _, _ in problems(tree(data)))


def test_documents_without_a_media_type_are_known_by_their_shape() -> None:
    bare = json.loads(IMAGE)
    del bare["mediaType"]
    assert document.parse(json.dumps(bare).encode(), "x").media_type == media.OCI_MANIFEST
    assert document.parse(b'{"schemaVersion":2,"manifests":[]}', "x").media_type == media.OCI_INDEX


def test_referrers_are_listed_by_subject_always_in_the_same_bytes() -> None:
    subject = described(IMAGE, media.OCI_MANIFEST)
    one = manifest(b"{}", subject=subject, artifactType="application/spdx+json")
    two = manifest(CONFIG, subject=subject, annotations={"k": "v"})
    absent = manifest(CONFIG, subject={**subject, "digest": digest(b"elsewhere")})
    files = tree(IMAGE, one, two, absent, tags={"v1": IMAGE})
    made = dict(OCI.derive(MemoryView(files), None, None))
    assert set(made) == {
        referrers_path("app", digest(IMAGE)), referrers_path("app", digest(b"elsewhere")),
    }  # fmt: skip
    data = made[referrers_path("app", digest(IMAGE))]
    assert isinstance(data, bytes)
    found = json.loads(data)
    assert found["mediaType"] == media.OCI_INDEX
    rows = {each["digest"]: each for each in found["manifests"]}
    assert rows[digest(one)]["artifactType"] == "application/spdx+json"
    assert rows[digest(two)]["artifactType"] == media.OCI_CONFIG
    assert rows[digest(two)]["annotations"] == {"k": "v"}
    assert list(rows) == sorted(rows)
    shuffled = MemoryView(dict(reversed(files.items())))
    assert dict(OCI.derive(shuffled, None, None)) == made
