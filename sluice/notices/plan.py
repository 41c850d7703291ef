"""Which notices are due. Pure.

One notice for each hold when it begins and one when it ends; what may pass by itself (a
bundle on its way) must have lasted a while before anybody is told. More than ``AT_ONCE``
together, or more than ``HOURLY`` in an hour, are one digest, at most every ``PAUSE``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from manifests.digest import sha256_of
from manifests.zone.notices import GAP, Notices

AT_ONCE = 10
HOURLY = 30
PAUSE = timedelta(minutes=10)
_HOUR = timedelta(hours=1)
_MAY_PASS = frozenset({"incomplete", "unmatched", "together", "behind", GAP})


@dataclass(frozen=True, slots=True)
class Subject:
    """What can be told of: a hold, or the gap of a stream."""

    key: str
    kind: str
    stream: str
    repository: str
    since: datetime
    reason: str = ""
    remedy: str = ""

    @property
    def id(self) -> str:
        """The same as long as the same trouble lasts."""
        text = f"{self.key}\n{self.kind}\n{self.since.isoformat()}"
        return str(sha256_of(text.encode("utf-8", "surrogateescape")))[:32]


@dataclass(frozen=True, slots=True)
class Pending:
    """What somebody should be told."""

    begun: tuple[Subject, ...] = ()
    ended: tuple[Subject, ...] = ()

    def __len__(self) -> int:
        return len(self.begun) + len(self.ended)


@dataclass(frozen=True, slots=True)
class Notice:
    """One message: of a single beginning or end, or a digest of many."""

    event: str
    """``begun``, ``ended``, ``digest`` or ``test``."""
    begun: tuple[Subject, ...] = ()
    ended: tuple[Subject, ...] = ()

    @property
    def id(self) -> str:
        """The same at each attempt, so that a receiver can tell a repetition."""
        ids = [self.event, *sorted(each.id for each in (*self.begun, *self.ended))]
        return str(sha256_of("\n".join(ids).encode()))[:32]


def pending(
    settings: Notices, subjects: Iterable[Subject], told: Mapping[str, Subject], now: datetime
) -> Pending:
    """What has begun and was not told, and what was told and has ended."""
    current = {subject.id: subject for subject in subjects}
    begun = tuple(
        subject
        for id_, subject in current.items()
        if id_ not in told and subject.kind in settings.kinds and _lasts(subject, settings, now)
    )
    return Pending(begun, tuple(each for id_, each in told.items() if id_ not in current))


def _lasts(subject: Subject, settings: Notices, now: datetime) -> bool:
    wait = settings.after if subject.kind in _MAY_PASS else 0.0
    return (now - subject.since).total_seconds() >= wait


def notices(found: Pending, sent: Iterable[datetime], now: datetime) -> list[Notice]:
    """The messages for it, given when messages were sent before; none: wait a little."""
    if not len(found):
        return []
    recent = [moment for moment in sent if now - _HOUR < moment <= now]
    if len(found) <= AT_ONCE and len(recent) + len(found) <= HOURLY:
        begun = [Notice("begun", begun=(each,)) for each in found.begun]
        return begun + [Notice("ended", ended=(each,)) for each in found.ended]
    if recent and now - max(recent) < PAUSE:
        return []
    return [Notice("digest", found.begun, found.ended)]
