"""Answers of HTTP: prepared heads, conditional requests and ranges (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from http import HTTPStatus

from manifests.digest import Digest, sha256_of

_NO_GUESSING = b"X-Content-Type-Options: nosniff\r\n"
#: Files are written by others: whatever they are, a browser runs no script of theirs here.
_FILE_SAFE = _NO_GUESSING + b"Content-Security-Policy: sandbox allow-downloads\r\n"
_PAGE_SAFE = (
    _NO_GUESSING + b"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'\r\n"
)
#: A denied file must leave caches in finite time, so not for ever.
IMMUTABLE = "public, max-age=86400, immutable"
REVALIDATE = "no-cache"
_FIELD = re.compile(r"[\x20-\x7e]*")
_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_RANGE = re.compile(r"bytes[ \t]*=[ \t]*(\d{0,19})-(\d{0,19})[ \t]*", re.IGNORECASE)
_ETAG = re.compile(r'[ \t]*(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")[ \t]*(?:,|$)')

Headers = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` bytes at ``offset`` of the local file ``path``, which has ``size`` bytes."""

    path: str
    size: int
    offset: int
    count: int


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent: a head up to, but without, its Date and empty line; and a body.

    A body that is an iterator is sent in chunks. ``close`` ends the connection.
    ``length`` is that of the body, None for chunks.
    """

    status: int
    head: bytes
    body: bytes | Span | AsyncIterator[bytes] = b""
    length: int | None = 0
    close: bool = False


@dataclass(frozen=True, slots=True)
class Ready:
    """A file's answer, worked out as far as it is the same for every client."""

    digest: Digest
    size: int
    file: str
    """The blob's own file."""
    repository: str
    path: str
    fields: bytes
    """Header lines of 200, 206 and 304, but for the length."""
    head: bytes
    """The whole head of a plain 200, without Date."""
    modified: int
    """Seconds since 1970 of Last-Modified; 0 if none is sent."""
    marks: bool = False
    """A signature belongs to it, which must come from the same publication."""
    identity: int = 0
    accept: str = ""
    """A media type that a client must accept to get it; empty: everybody may."""
    body: bytes | None = None
    """What is sent instead of the file's bytes."""

    @property
    def etag(self) -> str:
        return f'"{self.digest}"'


def status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Answer"
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")


def lines(fields: Iterable[tuple[str, str]]) -> bytes:
    """Header lines. What cannot stand in a header is left out with its whole line."""
    return b"".join(
        f"{name}: {value}\r\n".encode("ascii")
        for name, value in fields
        if _NAME.fullmatch(name) and _FIELD.fullmatch(value)
    )


def file_fields(
    digest: Digest, content_type: str, modified: int, *, immutable: bool, extra: Headers
) -> bytes:
    """The header lines of a file, the same for 200, 206 and 304."""
    return (
        lines(
            [
                ("Content-Type", content_type),
                ("ETag", f'"{digest}"'),
                *([("Last-Modified", formatdate(modified, usegmt=True))] if modified else []),
                ("Cache-Control", IMMUTABLE if immutable else REVALIDATE),
                ("Accept-Ranges", "bytes"),
                *extra.items(),
            ]
        )
        + _FILE_SAFE
    )


def full_head(fields: bytes, size: int) -> bytes:
    return status_line(200) + fields + b"Content-Length: %d\r\n" % size


def file_reply(ready: Ready, headers: Headers, *, head_only: bool) -> Reply:
    """200, 206, 304 or 416, as the conditions of the request say (section 13.2.2)."""
    if _not_modified(headers, ready.etag, ready.modified):
        return Reply(304, status_line(304) + ready.fields)
    wanted = None if head_only or ready.body is not None else headers.get("Range")
    if wanted is not None and _if_range(headers, ready):
        span = _span(wanted, ready.size)
        if span is None:
            fields = lines([("Content-Range", f"bytes */{ready.size}"), ("Content-Length", "0")])
            return Reply(416, status_line(416) + fields + _NO_GUESSING)
        if span != (0, 0):
            first, count = span
            said = f"bytes {first}-{first + count - 1}/{ready.size}"
            fields = lines([("Content-Range", said), ("Content-Length", str(count))])
            body = Span(ready.file, ready.size, first, count)
            return Reply(206, status_line(206) + ready.fields + fields, body, count)
    if head_only:
        return Reply(200, ready.head)
    if ready.body is not None:
        return Reply(200, ready.head, ready.body, ready.size)
    return Reply(200, ready.head, Span(ready.file, ready.size, 0, ready.size), ready.size)


def bytes_reply(
    status: int,
    body: bytes,
    content_type: str,
    *,
    headers: Headers | None = None,
    extra: Headers | None = None,
    head_only: bool = False,
    close: bool = False,
    by_us: bool = True,
    modified: int = 0,
) -> Reply:
    """A body made on the spot, by us or by a format from what others wrote.

    With the request's ``headers`` a 200 may become a 304. ``modified`` is for
    Last-Modified, in seconds since 1970; 0 if none is sent.
    """
    fields = [("Content-Type", content_type), *(extra or {}).items()]
    safe = _PAGE_SAFE if by_us else _FILE_SAFE
    if status == 200 and headers is not None:
        etag = f'"{sha256_of(body)}"'
        fields += [("ETag", etag), ("Cache-Control", REVALIDATE)]
        if modified:
            fields.append(("Last-Modified", formatdate(modified, usegmt=True)))
        if _not_modified(headers, etag, modified):
            return Reply(304, status_line(304) + lines(fields) + safe)
    fields.append(("Content-Length", str(len(body))))
    head = status_line(status) + lines(fields) + safe
    return Reply(status, head, b"" if head_only else body, len(body), close)


def text_reply(status: int, text: str, *, head_only: bool = False, **extra: str) -> Reply:
    """One line for a person or a log; ``extra`` are header fields."""
    return bytes_reply(
        status, f"{text}\n".encode(), "text/plain; charset=utf-8", extra=extra, head_only=head_only
    )


def stream_reply(body: AsyncIterator[bytes], content_type: str, *, head_only: bool) -> Reply:
    """A page of unknown length, sent in chunks."""
    head = status_line(200) + lines([("Content-Type", content_type), ("Cache-Control", REVALIDATE)])
    return Reply(200, head + _PAGE_SAFE, b"" if head_only else body, None)


def _not_modified(headers: Headers, etag: str, modified: int) -> bool:
    tags = headers.get("If-None-Match")
    if tags is not None:
        return tags.strip() == "*" or etag in _tags(tags)
    since = headers.get("If-Modified-Since")
    if since is None or not modified:
        return False
    moment = _date(since)
    return moment is not None and modified <= moment


def _tags(text: str) -> list[str]:
    """The entity tags of a list, without their weakness; up to the first that is malformed."""
    found = []
    place = 0
    while (match := _ETAG.match(text, place)) is not None:
        found.append(match[1])
        place = match.end()
    return found


def _if_range(headers: Headers, ready: Ready) -> bool:
    """Whether a range may be sent: only of the very bytes that the client has begun."""
    condition = headers.get("If-Range")
    if condition is None:
        return True
    condition = condition.strip()
    if condition.startswith(('"', "W/")):
        return condition == ready.etag
    return bool(ready.modified) and _date(condition) == ready.modified


def _date(text: str) -> float | None:
    try:
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _span(text: str, size: int) -> tuple[int, int] | None:
    """(first, count); None if nothing of it is there, (0, 0) for all of the file.

    Several ranges, other units and nonsense stand for all of the file (section 14.2).
    """
    match = _RANGE.fullmatch(text)
    if match is None or match[1] == match[2] == "":
        return 0, 0
    if match[1] == "":
        count = min(int(match[2]), size)
        return (size - count, count) if count else None
    first = int(match[1])
    last = int(match[2]) if match[2] else size - 1
    if match[2] and last < first:
        return 0, 0
    if first >= size:
        return None
    return first, min(last, size - 1) - first + 1
