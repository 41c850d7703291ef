"""Folder listings of web servers (nginx autoindex, Apache mod_autoindex and alike).

There is no specification: a listing is any HTML page whose links are names of
this folder. Everything else (parents, sort links, other hosts) is left aside.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from urllib.parse import unquote

from manifests.errors import BadPath
from manifests.tree import check_path

MAX_BYTES = 64 << 20

_HREF = re.compile(
    rb"""<a\s[^<>]{0,500}?\bhref\s*=\s*(?:"([^"<>]{1,4096})"|'([^'<>]{1,4096})')""", re.IGNORECASE
)


def names(page: bytes) -> Iterator[tuple[str, str]]:
    """Each link to something directly in this folder once: (name, reference).

    A folder's name ends with a slash. The reference is what to ask for,
    relative to the listing. Names that may not enter a tree are left out.
    """
    seen: set[str] = set()
    for match in _HREF.finditer(page):
        raw = match.group(1) or match.group(2)
        reference = html.unescape(raw.decode("utf-8", "replace")).strip().removeprefix("./")
        name = unquote(reference, errors="strict") if _is_plain(reference) else ""
        bare = name.removesuffix("/")
        if name in seen or "/" in bare:
            continue
        try:
            check_path(bare)
        except BadPath:
            continue
        seen.add(name)
        yield name, reference


def _is_plain(reference: str) -> bool:
    """Whether a link is a relative reference with nothing but a path (RFC 3986, 4.2)."""
    if not reference or reference.startswith("/") or "?" in reference or "#" in reference:
        return False
    if ":" in reference.split("/", 1)[0] and not reference.startswith("./"):
        return False
    try:
        unquote(reference, errors="strict")
    except UnicodeDecodeError:
        return False
    return True
