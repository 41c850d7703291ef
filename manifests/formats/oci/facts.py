"""``.sluice/oci/facts.json``: what the outside decided and the images' own bytes do not say.

Canonical JSON::

    {"left_out": {IMAGE: [DIGEST, ...]}, "replaces": "registry.example.com", "version": 1}

``left_out`` are manifests that an index of that image names and that were not mirrored, by choice
of platforms or because the upstream does not have them either; ``replaces`` the registry that
clients know, "" without.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from manifests import canonical
from manifests.errors import MalformedIndex
from manifests.formats.base import TreeView
from manifests.formats.bounded import read_small
from manifests.formats.oci.document import load
from manifests.formats.oci.layout import FACTS, is_image, is_oci_digest

VERSION = 1
_MAX_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class Facts:
    """See above."""

    replaces: str = ""
    left_out: Mapping[str, Collection[str]] = field(default_factory=dict)

    def is_left_out(self, image: str, digest: str) -> bool:
        """Whether that manifest is absent on purpose."""
        return digest in self.left_out.get(image, ())


def read(view: TreeView) -> Facts:
    """The facts of a tree; empty ones without the file. Raises MalformedIndex, OversizedIndex."""
    if view.lookup(FACTS) is None:
        return Facts()
    with view.open(FACTS) as file:
        found = load(read_small(file, _MAX_BYTES, FACTS), FACTS)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise MalformedIndex("not facts of this version of Sluice", where=FACTS)
    replaces, rows = found.get("replaces", ""), found.get("left_out", {})
    if not isinstance(replaces, str) or not isinstance(rows, dict):
        raise MalformedIndex("facts of another form", where=FACTS)
    left_out: dict[str, frozenset[str]] = {}
    for image, digests in rows.items():
        good = is_image(image) and isinstance(digests, list)
        if not good or not all(isinstance(each, str) and is_oci_digest(each) for each in digests):
            raise MalformedIndex("facts of another form", where=FACTS)
        left_out[image] = frozenset(digests)
    return Facts(replaces, left_out)


def write(facts: Facts) -> bytes:
    """The same facts as bytes, always the same for the same facts."""
    rows = {image: sorted(digests) for image, digests in facts.left_out.items() if digests}
    return canonical.dumps({"left_out": rows, "replaces": facts.replaces, "version": VERSION})
