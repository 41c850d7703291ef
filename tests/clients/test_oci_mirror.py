"""Mirroring images from a real registry: what comes, what it costs, and what goes again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.syncing import open_store
from tests.support.images import Layout
from tests.support.ocimirror import ImageMirror, images
from tests.support.registry import Registry


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    with Registry() as server:
        yield server


def test_an_image_comes_whole_and_then_costs_one_request(
    registry: Registry, tmp_path: Path
) -> None:
    layout = Layout(tmp_path / "layout")
    shared = layout.layer({"shared": b"x" * 5000})
    one = layout.image("one\n", layers=[shared])
    registry.push(layout, "team/app", one, "v1", "latest")
    mirror = ImageMirror(open_store(tmp_path / "store"), images(registry.url, "team/app:v1"))
    report = mirror.sync()
    assert report.problems == ()
    assert mirror.tags() == {"team/app:v1": one.digest}
    assert mirror.content("team/app/_tags/v1") == layout.read(one)
    assert mirror.content(f"team/app/_manifests/sha256/{one.hex}") == layout.read(one)
    assert mirror.content(f"team/app/_blobs/sha256/{shared.hex}") == layout.read(shared)

    before = len(registry.requests())
    report = mirror.sync()
    assert not report.changed
    assert report.bytes_downloaded == 0
    assert registry.requests()[before:] == ["HEAD /v2/team/app/manifests/v1 200"]
