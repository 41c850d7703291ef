"""What old clients cannot pull. A fact about them, not about the image: advice only."""

from __future__ import annotations

from manifests.formats.oci import media
from manifests.formats.oci.document import Document, Index


def obstacle(client: str, found: Document) -> str:
    """Why ``client`` cannot pull what has this document, in a few words; "" if it can.

    Docker 1.13 knows schema 2 with Docker's own configs, and its lists; it calls an OCI index "not
    found", and unpacks no zstd layer.
    """
    if client != "docker-1.13":
        return ""
    if isinstance(found, Index):
        return "" if found.media_type == media.DOCKER_LIST else "it is an OCI index"
    if found.media_type != media.DOCKER_MANIFEST:
        return "it is an OCI image"
    if found.config.media_type != media.DOCKER_CONFIG:
        return "it is no image of Docker's"
    if any(media.compression(layer.media_type) == "zstd" for layer in found.layers):
        return "it has zstd layers"
    return ""
