"""Whether the images that a crawl found are signed: asked before they enter the tree.

``signing`` asks the same of a whole tree, outside before it becomes a snapshot and inside
again. Here an image that nobody trusted signed is told from the others, which go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from manifests.errors import SignatureInvalid
from manifests.formats.base import TreeView
from manifests.formats.oci import cosign, signing
from manifests.formats.oci.cosign import Claim
from manifests.formats.oci.document import Index, Manifest
from manifests.formats.oci.graph import Graph
from manifests.formats.oci.layout import (
    Folder,
    blob_path,
    is_attached_tag,
    locate,
    manifest_path,
)
from manifests.formats.oci.pubkeys import ImageKey
from manifests.tree import Entry


class Approval:
    """What these keys say. ``read`` opens the bytes of an entry that came."""

    def __init__(self, keys: Sequence[ImageKey], read: Callable[[Entry], BinaryIO]) -> None:
        self._keys = keys
        self._read = read
        self._before: dict[str, signing.ImageSignatures] = {}

    def obstacle(self, image: str, path: str, graph: Graph, entries: Mapping[str, Entry]) -> str:
        """Why the complete tag or manifest at ``path`` is not to be trusted; "" if it is."""
        place, target = locate(path), locate(graph.tags.get(path, path))
        assert place is not None and target is not None
        if place.folder is Folder.TAGS and is_attached_tag(place.reference):
            return ""  # it stands or falls with what it is attached to
        claims = (
            claim
            for manifest in _attached(image, target.path, graph)
            for claim in cosign.claims(manifest)
        )
        found = ((claim, self._payload(image, claim, entries)) for claim in claims)
        try:
            cosign.verify(image, target.reference, found, self._keys)
        except SignatureInvalid as error:
            return error.what
        return ""

    def stood(self, previous: TreeView, path: str) -> bool:
        """Whether what ``previous``, always the same tree, has at ``path`` is still trusted."""
        place = locate(path)
        assert place is not None
        if place.image not in self._before:
            self._before[place.image] = signing.ImageSignatures(previous, place.image)
        rows = self._before[place.image].of(path)
        return not any(signing.unsigned(previous, rows, self._keys))

    def _payload(self, image: str, claim: Claim, entries: Mapping[str, Entry]) -> bytes:
        entry = entries.get(blob_path(image, claim.digest))
        if entry is None:
            return b""
        with self._read(entry) as file:
            return file.read(cosign.MAX_PAYLOAD + 1)


def _attached(image: str, subject: str, graph: Graph) -> Iterator[Manifest]:
    """The manifests that refer to ``subject``, by themselves or in an index that does."""
    for path in graph.referrers.get(subject, ()):
        found = graph.documents.get(graph.tags.get(path, path))
        if isinstance(found, Manifest):
            yield found
        elif isinstance(found, Index):
            for row in found.manifests:
                child = graph.documents.get(manifest_path(image, row.digest))
                if isinstance(child, Manifest):
                    yield child
