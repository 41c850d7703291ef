"""Choosing tags: by name, glob, expression, and the newest by version."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection

from manifests.formats.oci.layout import is_attached_tag, is_tag
from manifests.formats.oci.rules import ImageRule, is_expression

_VERSION = re.compile(r"v?(\d{1,18}(?:\.\d{1,18}){0,7})(?:[-_+]([A-Za-z0-9._-]+))?")
_PIECE = re.compile(r"\d+|[A-Za-z]+")
Version = tuple[tuple[int, ...], bool, tuple[tuple[int, int, str], ...]]


def version(tag: str) -> Version | None:
    """A key that sorts tags by version; None for what is none.

    ``v`` and trailing zeros say nothing; ``1.2-rc1`` comes before ``1.2``, ``rc2`` before ``rc10``.
    """
    match = _VERSION.fullmatch(tag)
    if match is None:
        return None
    numbers = [int(part) for part in match[1].split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    pieces = tuple(
        (0, int(piece), "") if piece.isdigit() else (1, 0, piece)
        for piece in _PIECE.findall(match[2] or "")
    )
    return tuple(numbers), match[2] is None, pieces


def select(rule: ImageRule, listed: Collection[str]) -> list[str]:
    """The tags of ``listed`` that the rule wants, sorted.

    Tags that only attach something to a digest are no versions of an image: they are wanted by
    their full name alone. With ``newest``, tags that are written out stay in any case; the others
    must be versions, without a suffix unless ``tags`` admits it.
    """
    named = {tag for tag in rule.tags if is_tag(tag)}
    patterns = [tag for tag in rule.tags if tag not in named]
    found = named & set(listed)
    if rule.tags or rule.newest is not None or not rule.digests:
        loose = [
            tag
            for tag in listed
            if is_tag(tag) and not is_attached_tag(tag) and _admitted(tag, rule.tags, patterns)
        ]
        if rule.newest is not None:
            loose = _newest(loose, rule.newest, suffixes=bool(patterns))
        found.update(loose)
    return sorted(found)


def _admitted(tag: str, tags: Collection[str], patterns: Collection[str]) -> bool:
    if not tags:
        return True
    for pattern in patterns:
        if is_expression(pattern):
            if re.search(pattern[1:-1], tag):
                return True
        elif fnmatch.fnmatchcase(tag, pattern):
            return True
    return False


def _newest(tags: Collection[str], count: int, *, suffixes: bool) -> list[str]:
    """One version may have several tags (``1.2``, ``v1.2``): they count once."""
    versions: dict[Version, list[str]] = {}
    for tag in tags:
        key = version(tag)
        if key is not None and (suffixes or key[1]):
            versions.setdefault(key, []).append(tag)
    return [tag for key in sorted(versions, reverse=True)[:count] for tag in versions[key]]
