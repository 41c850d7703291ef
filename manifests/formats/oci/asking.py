"""How a crawl of a registry asks: one function for each call of the distribution API.

OCI Distribution Specification 1.1, "Endpoints"; the catalog is that of Docker's Registry HTTP API
V2. All calls stand alone: what a registry does not give as it should is told to the crawl.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from manifests.digest import sha256_of
from manifests.errors import MalformedIndex
from manifests.formats.base import Absent, Found, Refused, Result, Unchanged, Wanted
from manifests.formats.bounded import read_small
from manifests.formats.oci import document, media
from manifests.formats.oci.document import Descriptor
from manifests.formats.oci.layout import blob_path, manifest_path, split_digest, tag_path
from manifests.formats.oci.rules import ImageRule
from manifests.tree import PRIVATE

#: Lists are read and not kept; below here are their keys.
ASKED = PRIVATE + "oci/asked/"
MAX_LIST = 16 << 20
MAX_PAGES = 128 << 20
"""Bytes of one page of a list, and of all its pages."""
MAX_BLOB = 1 << 40
MAX_DOCUMENTS = 100_000
"""Manifests of one image."""
PAGE = 1000
MOST_PAGES = 10_000
MOST_SHOWN = 100
"""Names that are no names, of one list."""
GONE = (404, 410)
REFUSED = (401, 403)
_MAX_LINK = 16 << 10
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_IS_NEXT = re.compile(r"""(?i);\s*rel\s*=\s*["']?next\b""")
_ACCEPT = {"accept": ", ".join(media.ACCEPTED)}


@dataclass(slots=True, eq=False)
class Image:
    """One image's state."""

    name: str
    rules: tuple[ImageRule, ...]
    roots: dict[str, str] = field(default_factory=dict)
    """Paths that were asked for, and what an operator calls them."""
    named: set[str] = field(default_factory=set)
    """Those that were written out."""
    listed: set[str] = field(default_factory=set)
    complete: bool = False
    """Whether ``listed`` is all."""
    unlisted: str = ""
    """Why there is no list."""
    gone: bool = False
    digests: dict[str, None] = field(default_factory=dict)
    """Manifests that were read."""
    bad_tags: list[str] = field(default_factory=list)

    @property
    def platforms(self) -> tuple[str, ...]:
        """Of all its rules; empty means all."""
        if not all(rule.platforms for rule in self.rules):
            return ()
        return tuple(platform for rule in self.rules for platform in rule.platforms)

    @property
    def lists(self) -> bool:
        """Whether its tags are chosen from a list."""
        return any(rule.lists for rule in self.rules)


@dataclass(frozen=True, slots=True)
class PageNote:
    """A page of tags, or without an image of the catalog."""

    image: Image | None


@dataclass(frozen=True, slots=True)
class DocumentNote:
    """A manifest. ``announced``: the media type that an index says."""

    image: Image
    announced: str = ""
    depth: int = 0
    tag: bool = False
    subject: str = ""
    """The digest that it must refer to."""


@dataclass(frozen=True, slots=True)
class BlobNote:
    """A config or a layer."""

    row: Descriptor


@dataclass(frozen=True, slots=True)
class ReferrersNote:
    """What refers to a digest."""

    image: Image
    digest: str


def page(url: str, image: Image | None) -> Wanted:
    """A page of tags, or of the catalog."""
    return Wanted(
        ASKED + sha256_of(url.encode()),
        url,
        limit=MAX_LIST,
        required=False,
        parse=True,
        keep=False,
        alone=True,
        note=PageNote(image),
    )


def by_tag(note: DocumentNote, tag: str) -> Wanted:
    """A manifest without a promise."""
    return Wanted(
        tag_path(note.image.name, tag),
        f"v2/{note.image.name}/manifests/{tag}",
        headers=_ACCEPT,
        limit=document.MAX_BYTES,
        required=False,
        parse=True,
        volatile=True,
        alone=True,
        note=note,
    )


def by_digest(note: DocumentNote, digest: str, size: int | None) -> Wanted:
    """A manifest that something else names."""
    algorithm, digits = split_digest(digest)
    return Wanted(
        manifest_path(note.image.name, digest),
        f"v2/{note.image.name}/manifests/{digest}",
        headers=_ACCEPT,
        digests={algorithm: digits},
        size=size,
        limit=document.MAX_BYTES,
        required=False,
        parse=True,
        alone=True,
        note=note,
    )


def blob(image: str, row: Descriptor) -> Wanted:
    """A config or a layer."""
    algorithm, digits = split_digest(row.digest)
    return Wanted(
        blob_path(image, row.digest),
        f"v2/{image}/blobs/{row.digest}",
        digests={algorithm: digits},
        size=row.size,
        required=False,
        alone=True,
        note=BlobNote(row),
    )


def referrers(url: str, note: ReferrersNote) -> Wanted:
    """A page of what refers to a digest."""
    return Wanted(
        ASKED + sha256_of(url.encode()),
        url,
        headers={"accept": media.OCI_INDEX},
        limit=document.MAX_BYTES,
        required=False,
        parse=True,
        keep=False,
        alone=True,
        note=note,
    )


def failure(result: Result) -> str:
    """Why a file is not here."""
    if isinstance(result, Refused):
        return result.what
    if not isinstance(result, Absent):
        return ""
    if result.status in GONE:
        return "the registry does not have it"
    if result.status in REFUSED:
        return f"the registry does not give it to us (status {result.status})"
    return f"the registry answered {result.status}"


def digest_of(wanted: Wanted) -> str:
    """The digest that was promised for it."""
    algorithm, digits = next(iter(wanted.digests.items()))
    return f"{algorithm}:{digits}"


def names(result: Found | Unchanged, key: str) -> list[str]:
    """The names in a page. Raises MalformedIndex, OversizedIndex."""
    with result.body.open() as file:
        found = document.load(read_small(file, MAX_LIST, key), key)
    rows = found.get(key) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not (rows is None or isinstance(rows, list)):
        raise MalformedIndex("not the list that was asked for", where=key)
    return [row for row in rows or [] if isinstance(row, str)]


def following(url: str, link: str) -> str:
    """The next page (RFC 8288): of the same list, whatever host and path it names."""
    for match in _LINK.finditer(link[:_MAX_LINK]):
        if _IS_NEXT.search(match[2]):
            try:
                query = urlsplit(match[1]).query
            except ValueError:
                return ""
            good = query and query.isascii() and query.isprintable() and " " not in query
            return f"{url.partition('?')[0]}?{query}" if good else ""
    return ""
