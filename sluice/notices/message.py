"""Notices in words: a line for people, JSON for programs, a syslog message. Pure.

The JSON (version 1) is described in docs/operations.md; a key is never taken away or given
another meaning without a new version.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from manifests import canonical
from manifests.state import format_time
from manifests.zone.notices import FACILITIES
from sluice.notices.plan import Notice, Subject
from sluice.text import plural

VERSION = 1
_LISTED = 20
_LONGEST = 800
_ENTERPRISE = "sluice@32473"
"""An SD-ID needs an enterprise number; this one is set aside for use without one of one's
own (RFC 5612)."""
_ERROR, _WARNING, _NOTICE = 3, 4, 5
_GRAVE = frozenset(
    (
        *("fork", "restored", "clock", "silence", "damaged", "expired"),
        *("signature", "refused", "mismatch", "index", "malformed"),
    )
)
_USERINFO = re.compile(r"://[^/\s@]*@")
_QUERY = re.compile(r"(://[^\s?]*\?)[^\s]+")


@dataclass(frozen=True, slots=True)
class Sender:
    """Who speaks: the kind and the folder's name of the zone, its host, the process."""

    zone: str
    name: str
    host: str
    pid: int


def plain(text: str) -> str:
    """``text`` on one line, cut off, without what an address may carry as a secret."""
    text = _QUERY.sub(r"\1...", _USERINFO.sub("://", text))
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."


def line(notice: Notice, sender: Sender) -> str:
    """What a person reads first."""
    zone = f"{sender.zone} zone {sender.name}"
    if notice.event == "test":
        return plain(f"{zone}: a test: notices of this zone arrive here")
    if notice.event == "digest":
        words = []
        if notice.begun:
            words.append(f"{plural(len(notice.begun), 'hold')} began ({_kinds(notice.begun)})")
        if notice.ended:
            words.append(f"{len(notice.ended)} ended ({_kinds(notice.ended)})")
        return plain(f"{zone}: {', '.join(words)}: see `sluice status`")
    if notice.event == "ended":
        [subject] = notice.ended
        since = format_time(subject.since)
        return plain(f"{zone}: ended: {_about(subject)}: {subject.kind}, since {since}")
    [subject] = notice.begun
    remedy = f" -> {subject.remedy}" if subject.remedy else ""
    return plain(f"{zone}: HELD: {_about(subject)}: {subject.kind}: {subject.reason}{remedy}")


def _about(subject: Subject) -> str:
    return subject.repository or subject.stream or subject.key


def _kinds(subjects: Iterable[Subject]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in _count(subjects).items())


def _count(subjects: Iterable[Subject]) -> dict[str, int]:
    return dict(sorted(Counter(subject.kind for subject in subjects).items()))


def document(notice: Notice, sender: Sender, now: datetime) -> bytes:
    """The body for a webhook: canonical JSON."""
    value = {
        "version": VERSION,
        "id": notice.id,
        "event": notice.event,
        "time": format_time(now),
        "zone": sender.zone,
        "name": plain(sender.name),
        "host": plain(sender.host),
        "text": line(notice, sender),
        "counts": {"begun": _count(notice.begun), "ended": _count(notice.ended)},
        "begun": [_subject(each) for each in notice.begun[:_LISTED]],
        "ended": [_subject(each) for each in notice.ended[:_LISTED]],
    }
    return canonical.dumps(value)


def _subject(subject: Subject) -> dict[str, Any]:
    return {
        "id": subject.id,
        "key": plain(subject.key),
        "kind": subject.kind,
        "stream": subject.stream,
        "repository": plain(subject.repository),
        "since": format_time(subject.since),
        "reason": plain(subject.reason),
        "remedy": plain(subject.remedy),
    }


def priority(notice: Notice, facility: str) -> int:
    """PRIVAL (RFC 5424, section 6.2.1)."""
    severity = _NOTICE
    if notice.begun:
        grave = any(each.kind in _GRAVE for each in notice.begun)
        severity = _ERROR if grave else _WARNING
    return FACILITIES[facility] * 8 + severity


def syslog(notice: Notice, sender: Sender, facility: str, now: datetime) -> bytes:
    """A message of RFC 5424, with what a program needs as structured data."""
    data: dict[str, str] = {"id": notice.id, "zone": sender.zone, "name": sender.name}
    if notice.event == "digest":
        data |= {"begun": str(len(notice.begun)), "ended": str(len(notice.ended))}
    for subject in (*notice.begun, *notice.ended) if notice.event != "digest" else ():
        data |= {"kind": subject.kind, "stream": subject.stream}
        data |= {"repository": subject.repository, "since": format_time(subject.since)}
    params = "".join(f' {name}="{_escaped(text)}"' for name, text in data.items() if text)
    head = f"<{priority(notice, facility)}>1 {format_time(now)} {_name(sender.host, 255)}"
    text = line(notice, sender)
    # Section 6.4: text that is not ASCII is told by a byte order mark.
    mark = "" if text.isascii() else "\ufeff"
    head += f" sluice {sender.pid} {notice.event} [{_ENTERPRISE}{params}]"
    return f"{head} {mark}{text}".encode("utf-8", "replace")


def local_syslog(notice: Notice, sender: Sender, facility: str, now: datetime) -> bytes:
    """What syslog(3) writes to the socket of this machine, where daemons expect no more."""
    local = now.astimezone()
    moment = f"{_MONTHS[local.month - 1]} {local.day:2} {local:%H:%M:%S}"
    head = f"<{priority(notice, facility)}>{moment} sluice[{sender.pid}]:"
    return f"{head} {line(notice, sender)}".encode("utf-8", "replace")


_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


def _escaped(text: str) -> str:
    return re.sub(r'(["\\\]])', r"\\\1", plain(text))


def _name(text: str, longest: int) -> str:
    """PRINTUSASCII, or the NILVALUE."""
    return "".join(c for c in text if "!" <= c <= "~")[:longest] or "-"
