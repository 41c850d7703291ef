"""Conditions and ranges of RFC 9110, sections 13 and 14."""

from __future__ import annotations

from email.utils import formatdate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.digest import sha256_of
from repo_server.ready import (
    Ready,
    Reply,
    Span,
    bytes_reply,
    file_fields,
    file_reply,
    full_head,
    lines,
)

_TIME = 1_700_000_000
_SIZE = 1000
_DIGEST = sha256_of(b"x")


def _ready(size: int = _SIZE, modified: int = _TIME) -> Ready:
    fields = file_fields(_DIGEST, "text/plain", modified, immutable=False, extra={})
    return Ready(_DIGEST, size, "/f", "r", "p", fields, full_head(fields, size), modified)


def _ask(size: int = _SIZE, *, head_only: bool = False, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return file_reply(_ready(size), named, head_only=head_only)


def _sent(reply: Reply) -> tuple[int, int]:
    assert isinstance(reply.body, Span)
    return reply.body.offset, reply.body.count


@pytest.mark.parametrize(
    ("text", "status", "span"),
    [
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=10-19", 206, (10, 10)),
        ("bytes=990-", 206, (990, 10)),
        ("bytes=990-5000", 206, (990, 10)),
        ("bytes=-10", 206, (990, 10)),
        ("bytes=-5000", 206, (0, 1000)),
        ("Bytes = 1-1", 206, (1, 1)),
        ("bytes=1000-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-4", 200, (0, 1000)),
        ("bytes=-", 200, (0, 1000)),
        ("bytes=a-b", 200, (0, 1000)),
        ("bytes=0-1,5-6", 200, (0, 1000)),
        ("lines=0-1", 200, (0, 1000)),
        ("bytes=" + "9" * 30 + "-", 200, (0, 1000)),
    ],
)
def test_ranges(text: str, status: int, span: tuple[int, int] | None) -> None:
    reply = _ask(Range=text)
    assert reply.status == status
    if span is None:
        assert b"Content-Range: bytes */1000\r\n" in reply.head
    else:
        assert _sent(reply) == span
        assert b"Content-Length: %d\r\n" % span[1] in reply.head


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=300)
def test_a_range_sends_what_a_slice_would(size: int, first: int, last: int) -> None:
    reply = _ask(size, Range=f"bytes={first}-{last}")
    whole = bytes(range(size))
    if reply.status == 416:
        assert first >= size
        return
    offset, count = _sent(reply)
    expected = whole[first : last + 1] if reply.status == 206 else whole
    assert whole[offset : offset + count] == expected
    assert (reply.status == 200) == (last < first)


def test_the_digest_is_a_strong_tag() -> None:
    assert f'ETag: "{_DIGEST}"\r\n'.encode() in _ask().head


@pytest.mark.parametrize(
    "text", [f'"{_DIGEST}"', f'W/"{_DIGEST}"', f'"a", "b,c" ,"{_DIGEST}"', "*", " * "]
)
def test_known_content_is_not_sent_again(text: str) -> None:
    reply = _ask(If_None_Match=text, Range="bytes=0-1")
    assert (reply.status, reply.body) == (304, b"")
    assert b"ETag" in reply.head


@pytest.mark.parametrize("text", ['"other"', _DIGEST, "", f'"x" "{_DIGEST}"', '"open'])
def test_other_content_is_sent(text: str) -> None:
    assert _ask(If_None_Match=text).status == 200


def test_times_count_only_without_tags() -> None:
    now, before = formatdate(_TIME, usegmt=True), formatdate(_TIME - 1, usegmt=True)
    assert _ask(If_Modified_Since=now).status == 304
    assert _ask(If_Modified_Since=before).status == 200
    assert _ask(If_Modified_Since="yesterday").status == 200
    assert _ask(If_Modified_Since=now, If_None_Match='"other"').status == 200


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (f'"{_DIGEST}"', 206),
        (f'W/"{_DIGEST}"', 200),
        ('"other"', 200),
        (formatdate(_TIME, usegmt=True), 206),
        (formatdate(_TIME + 1, usegmt=True), 200),
        ("nonsense", 200),
    ],
)
def test_a_download_resumes_only_over_the_same_bytes(condition: str, status: int) -> None:
    assert _ask(Range="bytes=5-", If_Range=condition).status == status


def test_head_has_the_length_and_no_body() -> None:
    reply = _ask(head_only=True, Range="bytes=0-1")
    assert (reply.status, reply.body) == (200, b"")
    assert b"Content-Length: 1000\r\n" in reply.head


def test_nothing_breaks_out_of_a_header() -> None:
    assert lines([("X-A", "a\r\nSet-Cookie: b"), ("Bad Name", "c"), ("X-D", "d")]) == b"X-D: d\r\n"


def test_made_bodies_have_tags_too() -> None:
    first = bytes_reply(200, b"body", "text/plain", headers={})
    tag = f'"{sha256_of(b"body")}"'
    assert tag.encode() in first.head
    assert bytes_reply(200, b"body", "text/plain", headers={"If-None-Match": tag}).status == 304
