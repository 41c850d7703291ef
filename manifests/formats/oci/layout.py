"""Names of images, tags and digests, and where each thing lies in the tree.

Names and tags: OCI Distribution Specification 1.1, "Pulling manifests". Digests: OCI Image
Specification 1.1, descriptor.md, "Digests", with the two registered algorithms. No component of a
name begins with ``_``, so the folders below an image never meet another image's::

    IMAGE/_tags/TAG                  the manifest's bytes, the same as below
    IMAGE/_manifests/ALGORITHM/HEX   manifests and indexes, byte for byte
    IMAGE/_blobs/ALGORITHM/HEX       configs and layers
    IMAGE/_referrers/ALGORITHM/HEX   derived: an index of what refers to that digest
    .sluice/oci/...                  facts that no bytes carry
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from manifests.errors import BadPath
from manifests.tree import PRIVATE

MAX_NAME = 255
#: What the outside decided and files do not say; see ``facts.py``.
FACTS = PRIVATE + "oci/facts.json"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LENGTHS = {"sha256": 64, "sha512": 128}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_ATTACHED = re.compile(
    r"(?P<algorithm>sha256|sha512)-(?P<hex>[0-9a-f]{64})(?P<what>\.(?:sig|att|sbom))?"
)


class Folder(StrEnum):
    """The folders below an image."""

    TAGS = "_tags"
    MANIFESTS = "_manifests"
    BLOBS = "_blobs"
    REFERRERS = "_referrers"


@dataclass(frozen=True, slots=True)
class Place:
    """What a path of the tree stands for. ``reference`` is a tag, or ``ALGORITHM:HEX``."""

    image: str
    folder: Folder
    reference: str

    @property
    def path(self) -> str:
        """The path in the tree."""
        return f"{self.image}/{self.folder}/{self.reference.replace(':', '/')}"


def is_image(text: str) -> bool:
    """Whether ``text`` may name an image."""
    return len(text) <= MAX_NAME and _NAME.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Whether ``text`` may be a tag."""
    return _TAG.fullmatch(text) is not None


def is_oci_digest(text: str) -> bool:
    """Whether ``text`` is ``ALGORITHM:HEX`` of an algorithm that is known here."""
    return _DIGEST.fullmatch(text) is not None


def check_image(text: str) -> str:
    """``text`` if it may name an image; else BadPath."""
    return _check(is_image(text), text, "not the name of an image")


def check_tag(text: str) -> str:
    """``text`` if it may be a tag; else BadPath."""
    return _check(is_tag(text), text, "not a tag")


def check_digest(text: str) -> str:
    """``text`` if it is a digest that is known here; else BadPath."""
    return _check(is_oci_digest(text), text, "not a digest in sha256 or sha512")


def tag_path(image: str, tag: str) -> str:
    """Where a tag lies. Raises BadPath."""
    return Place(check_image(image), Folder.TAGS, check_tag(tag)).path


def manifest_path(image: str, digest: str) -> str:
    """Where a manifest or an index lies. Raises BadPath."""
    return Place(check_image(image), Folder.MANIFESTS, check_digest(digest)).path


def blob_path(image: str, digest: str) -> str:
    """Where a config or a layer lies. Raises BadPath."""
    return Place(check_image(image), Folder.BLOBS, check_digest(digest)).path


def referrers_path(image: str, digest: str) -> str:
    """Where the overlay has the index of what refers to a digest. Raises BadPath."""
    return Place(check_image(image), Folder.REFERRERS, check_digest(digest)).path


def locate(path: str) -> Place | None:
    """What ``path`` stands for; None if the layout has no such path."""
    image, slash, rest = path.partition("/_")
    if not slash or not is_image(image):
        return None
    word, _, reference = rest.partition("/")
    try:
        folder = Folder("_" + word)
    except ValueError:
        return None
    if folder is Folder.TAGS:
        return Place(image, folder, reference) if is_tag(reference) else None
    algorithm, _, digits = reference.partition("/")
    digest = f"{algorithm}:{digits}"
    return Place(image, folder, digest) if is_oci_digest(digest) else None


def split_digest(digest: str) -> tuple[str, str]:
    """Algorithm and hexadecimal part."""
    algorithm, _, digits = digest.partition(":")
    return algorithm, digits


def attached_tags(digest: str) -> tuple[str, ...]:
    """Tags under which others attach things to ``digest``.

    The first is the fallback of the distribution specification ("Referrers tag schema"), the
    others are cosign's signatures, attestations and SBOMs.
    """
    algorithm, digits = split_digest(digest)
    stem = f"{algorithm}-{digits[:64]}"
    return (stem, f"{stem}.sig", f"{stem}.att", f"{stem}.sbom")


def is_attached_tag(tag: str) -> bool:
    """Whether ``tag`` has the form of ``attached_tags``: it belongs to a digest."""
    return _ATTACHED.fullmatch(tag) is not None


def split_reference(text: str) -> tuple[str, str]:
    """Image and tag or digest of ``IMAGE:TAG``, ``IMAGE@DIGEST`` or ``IMAGE`` (``latest``).

    Raises BadPath.
    """
    name, at, digest = text.partition("@")
    if at:
        # A tag before the digest says nothing that the digest does not.
        name = name.rpartition(":")[0] if ":" in name else name
        return check_image(name), check_digest(digest)
    name, colon, tag = text.partition(":")
    return check_image(name), check_tag(tag) if colon else "latest"


def shown(text: str) -> str:
    """Text from outside for a message: one short line of ASCII."""
    return text[:200].encode("ascii", "backslashreplace").decode()


def _check(good: bool, text: str, what: str) -> str:
    if not good:
        raise BadPath(what, where=repr(shown(text)))
    return text
