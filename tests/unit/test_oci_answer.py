"""What a registry's client may say and what it then gets, without a server."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.formats.base import Missing, Request, SendBytes, SendEntry
from manifests.formats.oci.answer import accepts, answer, catalog, holds, images
from manifests.formats.oci.layout import manifest_path, tag_path
from manifests.formats.oci.origin import component, is_origin
from tests.support.formats import MemoryView
from tests.support.images import DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST

DIGEST = "sha256:" + "a" * 64
MANIFEST = json.dumps(
    {
        "schemaVersion": 2,
        "config": {"mediaType": "x/y", "digest": DIGEST, "size": 1},
        "layers": [],
    }
).encode()
WORDS = st.text(st.sampled_from("abz019._-/:@~ %\\\0é"), max_size=40)


def view(*tags: str, image: str = "team/app") -> MemoryView:
    files = {tag_path(image, tag): MANIFEST for tag in tags}
    return MemoryView(files | {manifest_path(image, DIGEST): MANIFEST})


@pytest.mark.parametrize(
    ("lines", "taken"),
    [
        ("", True),
        ("*/*", True),
        ("application/*", True),
        (f"text/html, {OCI_INDEX}", True),
        (f"text/html,{OCI_INDEX.upper()};q=0.5", True),
        (f"{OCI_MANIFEST}, {DOCKER_MANIFEST}", False),
        (f"{OCI_INDEX};q=0, */*", False),
        (f"{OCI_INDEX}; Q = 0.000, application/*", False),
        ("application/*;q=0, */*", False),
        ("application/json", False),
        (",;,q=1", False),
    ],
)
def test_accept(lines: str, taken: bool) -> None:
    assert accepts(lines, OCI_INDEX) is taken


def test_a_manifest_without_a_media_type_has_the_one_of_its_shape() -> None:
    found = answer(Request("team/app/manifests/v1"), view("v1"))
    assert isinstance(found, SendEntry) and found.content_type == OCI_MANIFEST
    assert not found.immutable and found.negotiated
    found = answer(Request(f"team/app/manifests/{DIGEST}"), view("v1"))
    assert isinstance(found, SendEntry) and found.immutable
    assert found.headers["Docker-Content-Digest"] == DIGEST


def test_what_a_want_names_is_there_or_not() -> None:
    here = view("v1")
    assert holds(here, "team/app:v1") and holds(here, f"team/app@{DIGEST}")
    for want in ("team/app:v2", f"team/other@{DIGEST}", "team/app", "..", "", "a:b:c", "a@b"):
        assert not holds(here, want), want


def test_images_are_found_wherever_they_lie() -> None:
    files: dict[str, bytes] = {".sluice/oci/facts.json": b"{}"}
    for image in ("a", "a/b", "a/b/c", "a-b", "z/y"):
        files[manifest_path(image, DIGEST)] = MANIFEST
    files[tag_path("a", "v1")] = MANIFEST
    assert sorted(images(MemoryView(files))) == ["a", "a-b", "a/b", "a/b/c", "z/y"]


@given(st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,8}", fullmatch=True), max_size=12),
       st.integers(1, 5))  # fmt: skip
def test_pages_of_tags_are_the_whole_list_in_order(tags: list[str], count: int) -> None:
    here, found, query = view(*tags), [], f"n={count}"
    for _ in range(len(tags) + 1):
        page = answer(Request("team/app/tags/list", query=query, prefix="/v2/x/"), here)
        assert isinstance(page, SendBytes)
        found += json.loads(page.body)["tags"]
        link = page.headers.get("Link")
        if link is None:
            break
        query = link.partition("?")[2].partition(">")[0]
    assert found == sorted(set(tags), key=lambda tag: (tag.lower(), tag))


@given(WORDS, WORDS)
def test_no_request_reaches_what_is_no_image(path: str, query: str) -> None:
    found = answer(Request(path, query=query), view("v1"))
    assert isinstance(found, (Missing, SendBytes))
    assert json.loads(found.body)["errors"][0]["code"]
    assert isinstance(catalog(["a", "b"], Request("_catalog", query=query)), SendBytes)


@given(WORDS)
def test_an_original_registry_is_a_component_of_a_name(text: str) -> None:
    if is_origin(text):
        place = manifest_path(f"{component(text)}/app", DIGEST)
        assert place.startswith(component(text))
