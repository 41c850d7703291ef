"""What was told to whom, kept in the ledger so that a restart repeats nothing."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from manifests import canonical
from manifests.errors import LedgerDamaged
from manifests.state import format_time, parse_time
from sluice.notices.plan import Subject
from store.ledger import ReadTransaction, WriteTransaction

_KEY = "notices"
_HOUR = timedelta(hours=1)
_PAUSE = timedelta(minutes=1)
_LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Failing:
    """Since when a channel delivers nothing, and when it is tried again."""

    since: datetime
    tries: int
    error: str
    again: datetime


@dataclass(slots=True)
class Channel:
    """One channel: what it was told, and how it works."""

    told: dict[str, Subject] = field(default_factory=dict)
    sent: list[datetime] = field(default_factory=list)
    """When messages of the last hour were sent."""
    total: int = 0
    last: datetime | None = None
    failing: Failing | None = None

    def delivered(self, now: datetime) -> None:
        self.sent = [moment for moment in self.sent if now - _HOUR < moment <= now] + [now]
        self.total += 1
        self.last = now
        self.failing = None

    def failed(self, error: str, now: datetime) -> None:
        """Remember it; the pause until the next attempt doubles up to an hour."""
        tries = 1 if self.failing is None else self.failing.tries + 1
        since = now if self.failing is None else self.failing.since
        pause = min(_PAUSE * 2 ** min(tries - 1, 10), _LONGEST_PAUSE)
        self.failing = Failing(since, tries, error, now + pause)

    def rests(self, now: datetime) -> bool:
        """Whether it is too early for the next attempt."""
        failing = self.failing
        if failing is None:
            return False
        # A clock that was set back must not silence it.
        return now < failing.again and failing.again - now <= _LONGEST_PAUSE


@dataclass(slots=True)
class State:
    """All channels, and since when streams have had a gap."""

    channels: dict[str, Channel] = field(default_factory=dict)
    gaps: dict[str, datetime] = field(default_factory=dict)

    def channel(self, name: str) -> Channel:
        return self.channels.setdefault(name, Channel())


def load(tx: ReadTransaction) -> State:
    """Raises LedgerDamaged for what this module did not write."""
    text = tx.get_meta(_KEY)
    if text is None:
        return State()
    try:
        found = json.loads(text)
        return State(
            {name: _channel(value) for name, value in found["channels"].items()},
            {name: parse_time(moment) for name, moment in found["gaps"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerDamaged("what was told in notices cannot be read", where=_KEY) from error


def save(tx: WriteTransaction, state: State) -> None:
    """Remember ``state``."""
    value = {
        "channels": {name: _plain(channel) for name, channel in state.channels.items()},
        "gaps": {name: format_time(moment) for name, moment in state.gaps.items()},
    }
    tx.set_meta(_KEY, canonical.dumps(value).decode("ascii"))


def plain_failing(failing: Failing | None) -> dict[str, Any] | None:
    """Since when a channel fails, as JSON: in the ledger and in the status alike."""
    if failing is None:
        return None
    return {
        "since": format_time(failing.since),
        "tries": failing.tries,
        "error": failing.error,
        "again": format_time(failing.again),
    }


def _plain(channel: Channel) -> dict[str, Any]:
    return {
        "told": [
            [each.key, each.kind, each.stream, each.repository, format_time(each.since)]
            for each in channel.told.values()
        ],
        "sent": [format_time(moment) for moment in channel.sent],
        "total": channel.total,
        "last": None if channel.last is None else format_time(channel.last),
        "failing": plain_failing(channel.failing),
    }


def _channel(value: dict[str, Any]) -> Channel:
    told = [Subject(row[0], row[1], row[2], row[3], parse_time(row[4])) for row in value["told"]]
    last, failing = value["last"], value["failing"]
    return Channel(
        told={each.id: each for each in told},
        sent=[parse_time(moment) for moment in value["sent"]],
        total=int(value["total"]),
        last=None if last is None else parse_time(last),
        failing=None
        if failing is None
        else Failing(
            parse_time(failing["since"]),
            int(failing["tries"]),
            str(failing["error"]),
            parse_time(failing["again"]),
        ),
    )
