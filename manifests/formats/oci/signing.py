"""Which images of a tree must be signed, and where their signatures are.

Every tag is signed by itself, as cosign does it: an index's signature covers the manifests that
the index names, but not a tag that names one of those directly. What is attached to an image that
must be signed (signatures, attestations, other referrers) needs no signature of its own. A
manifest that neither covers (one that was mirrored by its digest) is signed by itself too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from manifests.errors import FormatError
from manifests.formats.base import Problem, Signed, TreeView
from manifests.formats.oci import cosign, document
from manifests.formats.oci.cosign import Claim
from manifests.formats.oci.document import Document, Index, Manifest
from manifests.formats.oci.layout import (
    Folder,
    Place,
    attached_tags,
    blob_path,
    is_attached_tag,
    is_oci_digest,
    locate,
    manifest_path,
    tag_path,
)
from manifests.formats.oci.pubkeys import ImageKey
from manifests.tree import PRIVATE, Entry

UNSIGNED = "unsigned-image"
"""The kind of a row for an image that has no signature at all."""
KINDS = (cosign.SIMPLE, cosign.BUNDLE, UNSIGNED)
_LONGEST = cosign.MAX_SIGNATURE * 4 // 3 + 4


def signed(view: TreeView) -> Iterator[Signed]:
    """See ``Format.signed``: a row for each signature of each image; one good one is enough."""
    image = ""
    for entry in view.entries():
        place = None if entry.path.startswith(PRIVATE) else locate(entry.path)
        if place is not None and place.image != image:
            image = place.image
            yield from ImageSignatures(view, image).signed()


def overlooked(view: TreeView, rows: Iterable[Signed]) -> Iterator[Problem]:
    """Tags that must be signed and that ``rows`` do not have, whoever made them."""
    known = {row.path for row in rows}
    for entry in view.entries():
        place = locate(entry.path)
        if (
            place is not None
            and place.folder is Folder.TAGS
            and entry.path not in known
            and not is_attached_tag(place.reference)
        ):
            yield Problem(entry.path, "its signature was not looked for")


def unsigned(view: TreeView, rows: Iterable[Signed], keys: Sequence[ImageKey]) -> Iterator[Problem]:
    """The images among ``rows``, as ``signed`` gave them, that none of ``keys`` signed."""
    by_path: dict[str, list[Signed]] = defaultdict(list)
    for row in rows:
        by_path[row.path].append(row)
    for path, same in by_path.items():
        place, entry = locate(path), view.lookup(path)
        if place is None or entry is None:
            yield Problem(path, "is missing, and its signature cannot be verified without it")
            continue
        # The entry's digest is what is served, whatever the rows say.
        digest = _digest(place, entry)
        found = ((claim, _blob(view, place.image, claim)) for claim in _claims(same))
        try:
            cosign.verify(place.image, digest, found, keys)
        except FormatError as error:
            yield Problem(path, error.what)


def _digest(place: Place, entry: Entry) -> str:
    """What a registry's client would call it."""
    return f"sha256:{entry.digest}" if place.folder is Folder.TAGS else place.reference


def _claims(rows: Iterable[Signed]) -> Iterator[Claim]:
    for row in rows:
        digest, _, rest = row.signature.partition(" ")
        size, _, signature = rest.partition(" ")
        if is_oci_digest(digest) and size.isascii() and size.isdigit() and len(size) < 20:
            yield Claim(row.kind, digest, int(size), signature)


def _blob(view: TreeView, image: str, claim: Claim) -> bytes:
    """The payload; nothing if the tree does not have it, and then nothing is signed."""
    path = blob_path(image, claim.digest)
    if view.lookup(path) is None:
        return b""
    with view.open(path) as file:
        return file.read(cosign.MAX_PAYLOAD + 1)


class ImageSignatures:
    """One image's manifests, and what of them signs what."""

    def __init__(self, view: TreeView, image: str) -> None:
        self._view = view
        self._image = image
        self._documents: dict[str, Document | None] = {}
        self._tags: dict[str, str] = {}
        self._referrers: dict[str, list[str]] = defaultdict(list)
        """By the digest that they name as their subject."""
        for entry in view.entries(f"{image}/_"):
            place = locate(entry.path)
            if place is None or place.image != image:
                continue
            if place.folder is Folder.TAGS:
                self._tags[place.reference] = f"sha256:{entry.digest}"
            elif place.folder is Folder.MANIFESTS:
                self._documents[place.reference] = found = _read(view, entry.path)
                if found is not None and found.subject is not None:
                    self._referrers[found.subject.digest].append(place.reference)

    def signed(self) -> Iterator[Signed]:
        """The rows of this image."""
        tags = {tag: digest for tag, digest in self._tags.items() if not is_attached_tag(tag)}
        for tag, digest in tags.items():
            yield from self._rows(tag_path(self._image, tag), digest)
        covered = self._closure(tags.values())
        rest = self._documents.keys() - covered
        tops = rest - {below for digest in rest for below in self._below(digest)}
        covered |= self._closure(tops)
        # What covers each other, and nobody else does, is covered by nothing.
        for digest in sorted(tops | (rest - covered)):
            yield from self._rows(manifest_path(self._image, digest), digest)
        for tag in sorted(self._tags.keys() - tags.keys()):
            if self._tags[tag] not in covered:
                yield from self._rows(tag_path(self._image, tag), self._tags[tag])

    def of(self, path: str) -> Iterator[Signed]:
        """Rows for one tag or manifest, whether it must be signed or not; none for no path."""
        place, entry = locate(path), self._view.lookup(path)
        if place is not None and entry is not None:
            yield from self._rows(path, _digest(place, entry))

    def _rows(self, path: str, digest: str) -> Iterator[Signed]:
        number = 0
        for claim in self._claims(digest):
            if number > cosign.MAX_CLAIMS:
                return
            number += 1
            if len(claim.signature) > _LONGEST:
                claim = replace(claim, signature="")
            yield Signed(path, claim.kind, f"{claim.digest} {claim.size} {claim.signature}")
        if not number:
            yield Signed(path, UNSIGNED)

    def _claims(self, digest: str) -> Iterator[Claim]:
        for attached in dict.fromkeys(self._attached(digest)):
            found = self._documents.get(attached)
            children = [row.digest for row in found.manifests] if isinstance(found, Index) else []
            for each in (attached, *children):
                manifest = self._documents.get(each)
                if isinstance(manifest, Manifest):
                    yield from cosign.claims(manifest)

    def _attached(self, digest: str) -> Iterator[str]:
        yield from self._referrers.get(digest, ())
        for tag in attached_tags(digest):
            if tag in self._tags:
                yield self._tags[tag]

    def _below(self, digest: str) -> Iterator[str]:
        found = self._documents.get(digest)
        if isinstance(found, Index):
            yield from (row.digest for row in found.manifests)
        yield from self._attached(digest)

    def _closure(self, digests: Iterable[str]) -> set[str]:
        found: set[str] = set()
        waiting = list(digests)
        while waiting:
            digest = waiting.pop()
            if digest not in found:
                found.add(digest)
                waiting.extend(self._below(digest))
        return found


def _read(view: TreeView, path: str) -> Document | None:
    """None for what cannot be read: the check reports it; here it signs and covers nothing."""
    try:
        with view.open(path) as file:
            return document.read(file, path)
    except FormatError:
        return None
