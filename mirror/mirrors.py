"""Lists of mirrors: plain text with one URL a line, or metalink (RFC 5854, and version 3)."""

from __future__ import annotations

from urllib.parse import urlsplit
from xml.parsers import expat

from manifests.errors import ForbiddenXml, MalformedIndex

MAX_BYTES = 1 << 20
_MAX_MIRRORS = 100
_INDEXES = ("repodata/repomd.xml", "repodata/repomd.xml/")


def parse_mirrors(data: bytes, where: str) -> list[str]:
    """The http(s) mirrors in the order to try them, each with a slash at its end.

    Raises MalformedIndex when there is none, ForbiddenXml.
    """
    text = data[:MAX_BYTES]
    if text.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        found = _metalink(text, where)
    else:
        lines = text.decode("utf-8", "replace").splitlines()
        found = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    mirrors: list[str] = []
    for url in found:
        for index in _INDEXES:
            url = url.removesuffix(index)
        url = url.rstrip("/") + "/"
        if _usable(url) and url not in mirrors:
            mirrors.append(url)
        if len(mirrors) == _MAX_MIRRORS:
            break
    if not mirrors:
        raise MalformedIndex(
            "no http or https mirror in the mirror list",
            where=where,
            remedy="open the address of `mirrorlist` in a browser: is it a list of mirrors?",
        )
    return mirrors


def _usable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and parts.username is None
        and not parts.query
        and url.isprintable()
        and " " not in url
    )


def _metalink(data: bytes, where: str) -> list[str]:
    """URLs by their preference (version 3) or priority (version 4)."""
    found: list[tuple[int, str]] = []
    current: list[str] | None = None
    rank = 0

    def forbidden(*_: object) -> None:
        raise ForbiddenXml("a document type in a mirror list", where=where)

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal current, rank
        if name.rpartition(" ")[2] == "url":
            current = []
            preference = attributes.get("preference", "")
            priority = attributes.get("priority", "")
            rank = -_small(preference) if preference else _small(priority)

    def text(piece: str) -> None:
        if current is not None:
            current.append(piece)

    def end(name: str) -> None:
        nonlocal current
        if name.rpartition(" ")[2] == "url" and current is not None:
            found.append((rank, "".join(current).strip()))
            current = None

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartDoctypeDeclHandler = forbidden
    parser.EntityDeclHandler = forbidden
    parser.StartElementHandler = start
    parser.CharacterDataHandler = text
    parser.EndElementHandler = end
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        # Not ExpatError: encodings that are none, or that are no encodings of text.
        raise MalformedIndex(f"the mirror list is not XML: {error}", where=where) from error
    return [url for _, url in sorted(found, key=lambda pair: pair[0])]


def _small(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
