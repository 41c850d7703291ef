"""Media types of images and artifacts.

OCI Image Specification 1.1, media-types.md; Docker Image Manifest Version 2, Schema 2; schema 1
and non-distributable layers only to refuse them by name.
"""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEXES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFESTS = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
ACCEPTED = (OCI_INDEX, DOCKER_LIST, OCI_MANIFEST, DOCKER_MANIFEST)
"""What a request for a manifest accepts."""
SCHEMA_1 = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
_FOREIGN = (
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
)
_VAGUE = frozenset({"", "application/json", "application/octet-stream", "text/plain", "text/json"})
_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}")
_COMPRESSED = {"gzip": "gzip", "zstd": "zstd", "tar": "plain"}


def is_media_type(text: str) -> bool:
    """Whether ``text`` has the form of a media type without parameters (RFC 6838, 4.2)."""
    return _FORM.fullmatch(text) is not None


def is_foreign(media_type: str) -> bool:
    """Whether a layer of that type may not be passed on by registries."""
    return media_type.startswith(_FOREIGN)


def of_header(value: str) -> str:
    """The media type of a ``Content-Type`` header; "" where it says nothing about a manifest."""
    word = value.partition(";")[0].strip().lower()
    return "" if word in _VAGUE else word


def compression(media_type: str) -> str | None:
    """How a layer of that type is compressed, as ``formats.bounded.compression`` says it.

    None for what is no layer of an image.
    """
    for stem in (OCI_LAYER, DOCKER_LAYER):
        if media_type.startswith(stem):
            return _COMPRESSED.get(media_type[len(stem) :].lstrip("+.") or "tar")
    return None
