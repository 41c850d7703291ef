"""``maven-metadata.xml`` of several repositories that are served as one.

At artifact level the versions are united, so that a range sees all of them, and the newest are
found anew; at group level the plugins are, and of one prefix the first repository's counts. A
SNAPSHOT's folder is the first repository's as it is: its files come from there, too. Checksums
are those of what was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from manifests.formats.maven import metadata
from manifests.formats.maven.layout import METADATA, checksum_of
from manifests.formats.merging import Merge


def merge(path: str) -> Merge | None:
    """How the metadata file, or its checksum, at ``path`` is made; None for all other files."""
    source, algorithm = checksum_of(path) or (path, "")
    if source.rpartition("/")[2] != METADATA:
        return None
    if not algorithm:
        return Merge(source, lambda bodies: united(bodies, source), metadata.MAX_BYTES)

    def summed(bodies: Sequence[bytes]) -> bytes:
        made = united(bodies, source)
        # A checksum protects nothing here: the client asks for it, and compares it.
        digest = hashlib.new(algorithm, made, usedforsecurity=False).hexdigest()
        return digest.encode() if made else b""

    return Merge(source, summed, metadata.MAX_BYTES, "text/plain")


def united(bodies: Sequence[bytes], where: str) -> bytes:
    """One document; empty if all are. Raises ForbiddenXml, MalformedIndex, OversizedIndex."""
    there = [body for body in bodies if body]
    documents = [metadata.read(body, where) for body in there]
    if not documents:
        return b""
    if len(documents) == 1 or documents[0].builds:
        return there[0]
    # A folder that is a SNAPSHOT's in one repository may be an artifact's in another.
    return metadata.write(metadata.merged(each for each in documents if not each.builds))
