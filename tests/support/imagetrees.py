"""Images as the tree of an ``oci`` repository has them, without a registry."""

from __future__ import annotations

from collections.abc import Mapping

from manifests.formats.oci import facts
from manifests.formats.oci.derive import derive
from manifests.formats.oci.layout import FACTS, blob_path, manifest_path, tag_path
from tests.support.formats import MemoryView
from tests.support.images import Descriptor, Layout, is_manifest


def tree(
    layout: Layout,
    tags: Mapping[str, Descriptor],
    *,
    also: Mapping[str, tuple[Descriptor, ...]] | None = None,
    replaces: str = "",
) -> dict[str, bytes]:
    """The files of ``IMAGE:TAG`` -> manifest; ``also`` are manifests without a tag, by image."""
    files: dict[str, bytes] = {FACTS: facts.write(facts.Facts(replaces))}
    for name, what in tags.items():
        image, _, tag = name.partition(":")
        files[tag_path(image, tag)] = layout.read(what)
        _add(files, layout, image, what)
    for image, some in (also or {}).items():
        for what in some:
            _add(files, layout, image, what)
    return files


def _add(files: dict[str, bytes], layout: Layout, image: str, what: Descriptor) -> None:
    for one in layout.within(what):
        place = manifest_path if is_manifest(one) else blob_path
        files[place(image, one.digest)] = layout.read(one)


def overlay(files: dict[str, bytes]) -> dict[str, bytes]:
    """What is derived from such a tree."""
    made: dict[str, bytes] = {}
    for path, body in derive(MemoryView(files)):
        assert isinstance(body, bytes)
        made[path] = body
    return made
