"""``/v2/``: which repository a registry's client means, and the answers that are ours.

An image is addressed in four ways, looked at in this order:

* at a port or host name that stands for one repository (``serve: registries:``);
* by ``?ns=REGISTRY``, by which containerd names the original registry;
* by the original registry as the first component of the name (``:`` written as ``_``), which is
  what mirror settings of podman, CRI-O and OpenShift use: it stays the same whatever repositories
  there are;
* by the repository's name, or ``NAME__SERIAL`` for one snapshot.

If several repositories replace one registry, the first that has an answer gives it; the tags of
an image, and what refers to one of its manifests, are those of all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from urllib.parse import parse_qsl

from manifests.errors import BlobMissing
from manifests.formats.base import Answer, Missing, Request, SendBytes
from manifests.formats.oci.answer import (
    API,
    JSON,
    Row,
    accepts,
    catalog,
    error,
    images,
    is_known,
    referrer_list,
    referrers,
    tag_list,
    tags,
)
from manifests.formats.oci.layout import is_oci_digest
from manifests.formats.oci.origin import component
from manifests.tree import PRIVATE
from repo_server.connection import Call
from repo_server.lookup import look_up
from repo_server.origins import FORMAT
from repo_server.ready import Headers, Reply, bytes_reply
from repo_server.settings import Settings
from repo_server.site import Edition, InRepository, Live, Site
from repo_server.target import Target
from store.store import Store

BASE = "/v2/"
_PINNED = re.compile(r"(?P<name>.+)__(?P<serial>[0-9]{1,16})")
_LIST = re.compile(r"/(?:tags/list|referrers/(?P<subject>[^/]+))\Z")
_CACHED = 2048
_CODES = {
    400: ("NAME_INVALID", "this is not a path"),
    403: ("DENIED", "this is not for you"),
    404: ("NAME_UNKNOWN", "no repository of this name is here"),
    405: ("UNSUPPORTED", "this registry is read-only: what it holds comes from outside"),
    451: ("DENIED", "an operator denied this content"),
}
_WORDED = (403, 405, 451)


def is_call(path: str) -> bool:
    """Whether a decoded path belongs to a registry's clients."""
    return path == "/v2" or path.startswith(BASE)


def failure(status: int, *, head_only: bool) -> Reply:
    """An error of the server itself, in the form that such clients read."""
    code, message = _CODES[status]
    extra = {**API, "Allow": "GET, HEAD"} if status == 405 else API
    return bytes_reply(status, error(code, message), JSON, extra=extra, head_only=head_only)


def worded(reply: Reply, *, head_only: bool) -> Reply:
    """``reply``, or if the server itself refuses something, the same for such clients."""
    return failure(reply.status, head_only=head_only) if reply.status in _WORDED else reply


def client_accepts(headers: Headers, media_type: str) -> bool:
    """Whether all ``Accept`` lines together take a media type; clients send six of them."""
    lines = ", ".join(value for name, value in headers.items() if name.lower() == "accept")
    return _remembered(lines, media_type) if len(lines) < _CACHED else accepts(lines, media_type)


_remembered = lru_cache(256)(accepts)


def find(
    store: Store, settings: Settings, site: Site, call: Call, target: Target
) -> Reply | tuple[InRepository, Answer, Edition]:
    """What a client asked for. Raises BlobMissing, FormatError."""
    head_only = call.method == "HEAD"
    if target.path in ("/v2", BASE):
        return bytes_reply(200, b"{}", JSON, extra=API, head_only=head_only)
    if target.path == BASE + "_catalog":
        return _catalog(site, call, target)
    listed = _list_of_all(site, call, target)
    if listed is not None:
        return listed
    missing: list[tuple[InRepository, Answer, Edition]] = []
    for past in (False, True):
        for where in places(site, call, target):
            if where.path.startswith(PRIVATE):
                continue
            try:
                answer, edition = look_up(
                    store, settings, where.edition, where, call, target, past=past, gate=site.gate
                )
            except BlobMissing:
                if where.live is not None:
                    raise
                continue  # gc took a snapshot that was pinned by its URL
            if not isinstance(answer, Missing):
                return where, answer, edition
            missing.append((where, answer, edition))
    if not missing:
        return failure(404, head_only=head_only)
    # A want belongs to whoever has other tags of the image, else to whoever was meant first.
    closest = [each for each in missing if each[0].live and _has_image(each[0])]
    return (closest or missing)[0]


def _list_of_all(
    site: Site, call: Call, target: Target
) -> tuple[InRepository, SendBytes, Edition] | None:
    """A list of tags or referrers of an image that several repositories hold under one name.

    None if fewer do, or if no list is asked for. What is denied where it would be pulled from
    is not listed.
    """
    asked = _LIST.search(target.path)
    subject = asked["subject"] if asked else None
    if asked is None or (subject is not None and not is_oci_digest(subject)):
        return None
    holders = [each for each in places(site, call, target) if _holds(each, asked[0])]
    some = [each for each in holders if each.prefix == holders[0].prefix]
    if len(some) < 2:
        return None
    first, image = some[0], some[0].path.removesuffix(asked[0])
    request = Request(first.path, call.method, target.query, prefix=first.prefix)
    if subject is None:
        answer = tag_list(request, image, _tags(site, some, image))
    else:
        answer = referrer_list(request, _referrers(site, some, image, subject))
    return first, answer, first.edition


def _tags(site: Site, some: list[InRepository], image: str) -> list[str]:
    found: dict[str, bool] = {}
    for each in some:
        for tag, entry in tags(each.edition.view, image):
            found.setdefault(tag, site.gate.allow("", each.name, entry.path, entry.digest))
    return [tag for tag, allowed in found.items() if allowed]


def _referrers(site: Site, some: list[InRepository], image: str, subject: str) -> list[Row]:
    """Each once, sorted by digest, as in the list of one repository."""
    found: dict[str, Row | None] = {}
    for each in some:
        for row, entry in referrers(each.edition.view, image, subject):
            if entry is not None:
                allowed = site.gate.allow("", each.name, entry.path, entry.digest)
                found.setdefault(row["digest"], row if allowed else None)
    return [row for _, row in sorted(found.items()) if row is not None]


def _holds(where: InRepository, ending: str) -> bool:
    return where.live is not None and is_known(where.edition.view, where.path.removesuffix(ending))


def _has_image(where: InRepository) -> bool:
    return is_known(where.edition.view, re.sub(r"/(manifests|blobs)/[^/]*$", "", where.path))


def places(site: Site, call: Call, target: Target) -> Iterator[InRepository]:
    """Where to look, best first."""
    rest = target.path.removeprefix(BASE)
    root = site.root(call.headers.get("Host"), call.place)
    if root:
        yield from _of(site, (root,), BASE, rest)
        return
    named = dict(parse_qsl(target.query)).get("ns", "")
    yield from _of(site, site.origins.get(named, ()), BASE, rest)
    first, _, inner = rest.partition("/")
    for origin, names in site.origins.items():
        if component(origin) == first:
            yield from _of(site, names, f"{BASE}{first}/", inner)
    if _live(site, first) is not None:
        yield from _of(site, (first,), f"{BASE}{first}/", inner)
        return
    match = _PINNED.fullmatch(first)
    if match is not None and _live(site, match["name"]) is not None:
        edition = site.pinned(match["name"], match["serial"])
        if edition is not None and edition.publication.format == FORMAT:
            yield InRepository(match["name"], f"{BASE}{first}/", inner, edition, None)


def _of(site: Site, names: tuple[str, ...], prefix: str, path: str) -> Iterator[InRepository]:
    for name in names:
        live = _live(site, name)
        if live is not None:
            yield InRepository(name, prefix, path, live.edition, live)


def _live(site: Site, name: str) -> Live | None:
    live = site.repositories.get(name)
    return live if live is not None and live.edition.publication.format == FORMAT else None


def _catalog(site: Site, call: Call, target: Target) -> Reply:
    root = site.root(call.headers.get("Host"), call.place)
    found: list[str] = []
    for name in (root,) if root else site.names(FORMAT):
        live = _live(site, name)
        if live is not None and site.gate.allow("", name, "", None):
            prefix = "" if root else f"{name}/"
            found += (prefix + image for image in images(live.edition.view))
    page = catalog(found, Request("_catalog", call.method, target.query, prefix=BASE))
    assert isinstance(page, SendBytes)
    return bytes_reply(
        page.status,
        page.body,
        page.content_type,
        headers=call.headers,
        extra=page.headers,
        head_only=call.method == "HEAD",
    )
