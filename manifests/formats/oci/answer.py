"""What clients of a registry get: manifests, blobs, lists of tags, referrers, errors.

OCI Distribution Specification 1.1, "Pull" and "Content Discovery". Paths are those below ``/v2/``
without the repository's own part: ``IMAGE/manifests/REFERENCE``, ``IMAGE/blobs/DIGEST``,
``IMAGE/tags/list``, ``IMAGE/referrers/DIGEST``. Manifests go out byte for byte. A client whose
``Accept`` lines leave out an image's media type is told so in words, since all that clients print
of it is the message.
"""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

from manifests.errors import BadPath
from manifests.formats.base import Answer, Missing, Request, SendBytes, SendEntry, TreeView
from manifests.formats.oci import document, media
from manifests.formats.oci.layout import (
    Folder,
    Place,
    is_attached_tag,
    is_image,
    is_oci_digest,
    is_tag,
    shown,
    split_reference,
)
from manifests.tree import Entry

#: On every answer below ``/v2/``: Docker Registry HTTP API V2, "API Version Check".
API = {"Docker-Distribution-Api-Version": "registry/2.0"}
JSON = "application/json"
_CALL = re.compile(r"(?P<image>.+)/(?P<kind>manifests|blobs|referrers|tags)/(?P<what>[^/]+)")
_NUMBER = re.compile(r"[0-9]{1,9}")
_FILTER = "artifactType"
Row = Mapping[str, Any]
"""A descriptor in a list of referrers."""
_WORDS = {
    media.OCI_INDEX: "an OCI image index",
    media.OCI_MANIFEST: "an OCI image",
    media.DOCKER_LIST: "a manifest list of Docker's schema 2",
    media.DOCKER_MANIFEST: "an image of Docker's schema 2",
}


def error(code: str, message: str) -> bytes:
    """The body of an error ("Error Codes"): ``code`` as specified, ``message`` for a person."""
    return _json({"errors": [{"code": code, "message": message}]})


def answer(request: Request, view: TreeView) -> Answer:
    """Answer a GET or HEAD. Raises FormatError: a manifest in the tree is none."""
    call = _CALL.fullmatch(request.path)
    if call is None:
        return _refuse(404, "UNSUPPORTED", "this registry is asked for images only, read-only")
    image, kind, what = call["image"], call["kind"], call["what"]
    if not is_image(image):
        return _refuse(400, "NAME_INVALID", f"not the name of an image: {shown(image)}")
    if kind == "manifests":
        return _manifest(request, view, image, what)
    if kind == "tags":
        if what != "list":
            return _refuse(404, "UNSUPPORTED", "of tags there is only the list")
        return _tags(request, view, image)
    if not is_oci_digest(what):
        return _refuse(400, "DIGEST_INVALID", f"not a digest in sha256 or sha512: {shown(what)}")
    if kind == "referrers":
        return _referrers(request, view, image, what)
    return _blob(view, image, what)


def holds(view: TreeView, want: str) -> bool:
    """Whether the tag or the manifest that a want names is there."""
    try:
        image, reference = split_reference(want)
    except BadPath:
        return False
    folder = Folder.MANIFESTS if is_oci_digest(reference) else Folder.TAGS
    return view.lookup(Place(image, folder, reference).path) is not None


def is_known(view: TreeView, image: str) -> bool:
    """Whether anything of an image is there."""
    return view.has_folder(f"{image}/{Folder.MANIFESTS}")


def images(view: TreeView, folder: str = "") -> Iterator[str]:
    """The names of all images, without listing what they hold."""
    known = False
    for name, entry in view.children(folder):
        if entry is not None or name.startswith("."):
            continue
        if not name.startswith("_"):
            yield from images(view, f"{folder}/{name}" if folder else name)
        elif not known and folder:
            known = True
            yield folder


def tags(view: TreeView, image: str) -> list[tuple[str, Entry]]:
    """The tags of an image with their manifests, in the order that version 1.1 wants: without
    regard to upper and lower case."""
    found = [
        (name, entry)
        for name, entry in view.children(f"{image}/{Folder.TAGS}")
        if entry is not None
    ]
    return sorted(found, key=lambda each: _order(each[0]))


def catalog(names: Sequence[str], request: Request) -> Answer:
    """One page of ``_catalog``: all ``names``, or those that the query asks for."""
    page = _page(request, sorted(names), lambda name: name, "_catalog")
    if not isinstance(page, tuple):
        return page
    chosen, headers = page
    return SendBytes(_json({"repositories": chosen}), JSON, headers=headers)


def _manifest(request: Request, view: TreeView, image: str, reference: str) -> Answer:
    by_digest = ":" in reference
    if by_digest and not is_oci_digest(reference):
        what = f"not a digest in sha256 or sha512: {shown(reference)}"
        return _refuse(400, "DIGEST_INVALID", what)
    if not by_digest and not is_tag(reference):
        return _refuse(404, "MANIFEST_UNKNOWN", f"not a tag: {shown(reference)}")
    place = Place(image, Folder.MANIFESTS if by_digest else Folder.TAGS, reference)
    entry = view.lookup(place.path)
    named = f"{image}@{reference}" if by_digest else f"{image}:{reference}"
    if entry is None:
        # Clients ask for tags of this form only to see whether something is attached.
        want = "" if not by_digest and is_attached_tag(reference) else named
        if not is_known(view, image):
            return _unknown_image(image, want)
        what = f"{named} is not mirrored here; the request was noted as a want"
        return _missing("MANIFEST_UNKNOWN", what if want else f"{named} is not mirrored here", want)
    with view.open(place.path) as file:
        media_type = document.read(file, place.path).media_type
    if not accepts(request.headers.get("accept", ""), media_type):
        what = (
            f"{named} is {_WORDS[media_type]} ({media_type}), which this client does not accept:"
            " it needs a newer client, or the image in another form"
        )
        return _refuse(404, "MANIFEST_UNKNOWN", what)
    digest = reference if by_digest else f"sha256:{entry.digest}"
    headers = {"Docker-Content-Digest": digest, "Vary": "Accept", **API}
    return SendEntry(entry, media_type, by_digest, headers, negotiated=True)


def _blob(view: TreeView, image: str, digest: str) -> Answer:
    entry = view.lookup(Place(image, Folder.BLOBS, digest).path)
    if entry is None:
        # Some clients ask for manifests as blobs, too; the bytes are what they name.
        entry = view.lookup(Place(image, Folder.MANIFESTS, digest).path)
    if entry is None:
        if not is_known(view, image):
            return _unknown_image(image, "")
        return _missing("BLOB_UNKNOWN", f"{image} has no blob {digest} here", "")
    headers = {"Docker-Content-Digest": digest, **API}
    return SendEntry(entry, "application/octet-stream", True, headers)


def _tags(request: Request, view: TreeView, image: str) -> Answer:
    if not is_known(view, image):
        return _unknown_image(image, "")
    names = [name for name, entry in tags(view, image) if not request.denied(entry)]
    return tag_list(request, image, names)


def tag_list(request: Request, image: str, names: Iterable[str]) -> SendBytes:
    """One page of an image's tags: all ``names``, or those that the query asks for."""
    page = _page(request, sorted(names, key=_order), _order, f"{image}/tags/list")
    if not isinstance(page, tuple):
        return page
    chosen, headers = page
    name = request.prefix.removeprefix("/v2/") + image
    return SendBytes(_json({"name": name, "tags": chosen}), JSON, headers=headers)


def _referrers(request: Request, view: TreeView, image: str, digest: str) -> Answer:
    if not is_known(view, image):
        return _unknown_image(image, "")
    rows = referrers(view, image, digest)
    kept = [row for row, one in rows if one is not None and not request.denied(one)]
    chosen, headers = _of_type(request, kept)
    entry = view.lookup(Place(image, Folder.REFERRERS, digest).path)
    if entry is not None and len(chosen) == len(rows):
        return SendEntry(entry, media.OCI_INDEX, False, headers)
    return _index(chosen, headers)


def referrers(view: TreeView, image: str, digest: str) -> list[tuple[Row, Entry | None]]:
    """What refers to ``digest``: descriptors, sorted by digest, each with its manifest's entry."""
    path = Place(image, Folder.REFERRERS, digest).path
    entry = view.lookup(path)
    if entry is None:
        return []
    with view.open(path) as file:
        rows = json.loads(file.read(entry.size + 1))["manifests"]
    return [(row, view.lookup(Place(image, Folder.MANIFESTS, row["digest"]).path)) for row in rows]


def referrer_list(request: Request, rows: Iterable[Row]) -> SendBytes:
    """An index of ``rows``: all of them, or those of the type that the query asks for."""
    return _index(*_of_type(request, rows))


def _of_type(request: Request, rows: Iterable[Row]) -> tuple[list[Row], Mapping[str, str]]:
    wanted = dict(parse_qsl(request.query)).get(_FILTER)
    if wanted is None:
        return list(rows), API
    chosen = [row for row in rows if row.get(_FILTER) == wanted]
    return chosen, {**API, "OCI-Filters-Applied": _FILTER}


def _index(rows: list[Row], headers: Mapping[str, str]) -> SendBytes:
    index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": rows}
    return SendBytes(_json(index), media.OCI_INDEX, headers=headers)


def accepts(lines: str, media_type: str) -> bool:
    """Whether ``Accept`` (all its lines, joined by commas) takes a media type.

    RFC 9110, section 12.5.1: the most specific range that matches decides; none at all takes all.
    """
    if not lines.strip():
        return True
    weights: dict[str, bool] = {}
    for part in lines.split(","):
        name, *parameters = (word.strip().lower() for word in part.split(";"))
        never = any(re.fullmatch(r"q\s*=\s*0(\.0*)?", word) for word in parameters)
        weights[name] = weights.get(name, False) or not never
    for name in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        if name in weights:
            return weights[name]
    return False


def _order(name: str) -> tuple[str, str]:
    return name.lower(), name


def _page(
    request: Request, names: list[str], order: Callable[[str], Any], path: str
) -> tuple[list[str], Mapping[str, str]] | SendBytes:
    """The names that ``n`` and ``last`` ask for, and headers that lead to the next ones."""
    query = dict(parse_qsl(request.query, keep_blank_values=True))
    start = 0
    if query.get("last"):
        start = bisect_right(names, order(query["last"]), key=order)
    if "n" not in query:
        return names[start:], API
    if not _NUMBER.fullmatch(query["n"]):
        return _refuse(400, "PAGINATION_NUMBER_INVALID", "`n` is a number of names")
    stop = start + int(query["n"])
    chosen = names[start:stop]
    if stop >= len(names) or not chosen:
        return chosen, API
    more = urlencode({**query, "last": chosen[-1]})
    return chosen, {"Link": f'<{request.prefix}{path}?{more}>; rel="next"', **API}


def _unknown_image(image: str, want: str) -> Missing:
    noted = "; the request was noted as a want" if want else ""
    return _missing("NAME_UNKNOWN", f"nothing of {image} is mirrored here{noted}", want)


def _missing(code: str, what: str, want: str) -> Missing:
    return Missing(want, error(code, what), JSON, API)


def _refuse(status: int, code: str, what: str) -> SendBytes:
    return SendBytes(error(code, what), JSON, status, API)


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
