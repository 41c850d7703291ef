"""The page of a repository of images for a person's browser."""

from __future__ import annotations

from html import escape
from itertools import islice
from urllib.parse import urlsplit

from manifests.formats.oci.answer import images, tags
from repo_server.frame import page
from repo_server.site import Live, Site

_IMAGES = 2000
_TAGS = 50


def images_page(site: Site, name: str, base: str) -> str:
    """All images with their tags, and how to pull them. Raises BlobMissing."""
    live = site.repositories[name]
    known = list(islice(images(live.edition.view), _IMAGES + 1))
    rows = "".join(_row(site, name, live, image) for image in known[:_IMAGES])
    more = "<p>There are more.</p>\n" if len(known) > _IMAGES else ""
    replaced = [origin for origin, names in site.origins.items() if name in names]
    pulls = [f"{urlsplit(base).netloc}/{name}", *replaced]
    shown = "".join(f"podman pull {escape(each)}/IMAGE:TAG\n" for each in pulls)
    return page(
        f"Images of {name}",
        f'<pre>{shown}</pre>\n<p><a href="/setup/">How to set up a client</a></p>\n'
        f"<table><tr><th>image</th><th>tags</th></tr>\n{rows}</table>\n{more}",
    )


def _row(site: Site, name: str, live: Live, image: str) -> str:
    found = [
        tag
        for tag, entry in tags(live.edition.view, image)
        if site.gate.allow("", name, entry.path, entry.digest)
    ]
    more = f" and {len(found) - _TAGS} more" if len(found) > _TAGS else ""
    shown = " ".join(f"<code>{escape(tag)}</code>" for tag in found[:_TAGS])
    return f"<tr><td>{escape(image)}</td><td>{shown}{more}</td></tr>\n"
