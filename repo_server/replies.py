"""From a format's answer to a reply, where no file is sent."""

from __future__ import annotations

from urllib.parse import quote

from manifests.digest import Digest
from manifests.formats.base import Missing, SendBytes
from repo_server.connection import Call
from repo_server.ready import Reply, bytes_reply, text_reply
from repo_server.site import InRepository


def refused(digest: Digest | None, *, head_only: bool) -> Reply:
    """451 for content that was denied, 403 for anything else that the gate keeps back."""
    if digest is None:
        return text_reply(403, "This is not for you.", head_only=head_only)
    return text_reply(451, f"An operator denied this content: {digest}", head_only=head_only)


def absent(answer: Missing, call: Call) -> Reply:
    body = answer.body or b"Nothing is here.\n"
    head_only = call.method == "HEAD"
    return bytes_reply(
        404, body, answer.content_type, extra=answer.headers, head_only=head_only, by_us=False
    )


def moved(location: str) -> Reply:
    return bytes_reply(301, b"", "text/plain", extra={"Location": location})


def made_by_format(answer: SendBytes, call: Call, where: InRepository) -> Reply:
    """A body that the format made; its relative Location becomes a path of ours."""
    extra = dict(answer.headers)
    location = extra.get("Location")
    if location is not None and not location.startswith(("http://", "https://", "/")):
        folder = where.path.rpartition("/")[0]
        path = f"{where.prefix}{folder}/{location}" if folder else where.prefix + location
        extra["Location"] = quote(path, safe="/@")
    return bytes_reply(
        answer.status,
        answer.body,
        answer.content_type,
        headers=call.headers,
        extra=extra,
        head_only=call.method == "HEAD",
        by_us=False,
    )
