"""The overlay: for each digest that others refer to, an index of them.

OCI Distribution Specification 1.1, "Listing Referrers": descriptors with the referrer's artifact
type (its config's media type if it states none) and annotations. Canonical JSON, sorted by digest,
so that the same tree makes the same bytes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from manifests import canonical
from manifests.errors import FormatError
from manifests.formats.base import TreeView
from manifests.formats.oci import document, media
from manifests.formats.oci.layout import Folder, locate, referrers_path

#: What lies under ``_referrers``; a client that asks with a filter gets a part of it.
MEDIA_TYPE = media.OCI_INDEX


def derive(view: TreeView) -> Iterator[tuple[str, bytes]]:
    """One file for each subject, whether the subject itself is in the tree or not.

    What cannot be read is nobody's referrer; the check has found it before.
    """
    found: dict[str, dict[str, dict[str, object]]] = defaultdict(dict)
    for entry in view.entries():
        place = locate(entry.path)
        if place is None or place.folder is not Folder.MANIFESTS:
            continue
        try:
            with view.open(entry.path) as file:
                one = document.read(file, entry.path)
        except FormatError:
            continue
        if one.subject is None:
            continue
        row: dict[str, object] = {
            "mediaType": one.media_type,
            "digest": place.reference,
            "size": entry.size,
        }
        if one.kind:
            row["artifactType"] = one.kind
        if one.annotations:
            row["annotations"] = dict(one.annotations)
        path = referrers_path(place.image, one.subject.digest)
        found[path][place.reference] = row
    for path in sorted(found):
        rows = [found[path][digest] for digest in sorted(found[path])]
        yield (
            path,
            canonical.dumps({"schemaVersion": 2, "mediaType": MEDIA_TYPE, "manifests": rows}),
        )
