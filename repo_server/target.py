"""The request target: from what a client sent to a path that may be looked up.

RFC 9112, section 3.2, and RFC 3986. Percent signs are decoded exactly once; a plus
is a plus. What remains is only ever compared with paths of a tree: no file of this
machine is opened by it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABSOLUTE = re.compile(r"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Target:
    """A decoded path that starts with ``/``, and the raw query without its ``?``."""

    path: str
    query: str = ""

    @property
    def empty_segment(self) -> bool:
        return "//" in self.path


def parse_target(raw: str) -> Target | None:
    """Decode a request target; None for one that no client of good will sends.

    Those are: not a path, a broken escape, bytes that are not UTF-8, control
    characters, a ``.`` or ``..`` segment (also an escaped one), a fragment.
    """
    absolute = _ABSOLUTE.match(raw)
    if absolute is not None:
        raw = raw[absolute.end() :] or "/"
    path, _, query = raw.partition("?")
    if not path.startswith("/") or "#" in raw:
        return None
    escaped = path.encode("utf-8", "surrogateescape")
    if _BAD_ESCAPE.search(escaped):
        return None
    try:
        decoded = unquote_to_bytes(escaped).decode()
        query.encode()  # what is no text cannot be written into a link to the next page
    except UnicodeError:
        return None
    if _CONTROL.search(decoded):
        return None
    if any(segment in (".", "..") for segment in decoded.split("/")):
        return None
    return Target(decoded, query)
