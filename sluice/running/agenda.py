"""When each duty is due. Pure: the time is passed in.

Rules: a run that was missed while nothing ran is caught up once, however many fire
times passed; a duty never overlaps itself, and what falls due while it runs is
covered by that run; a clock that was set back starts the count anew from now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.combining import OrTrigger
from apscheduler.triggers.cron import CronTrigger

from manifests.cron import Cron

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_HOURS = 24
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Fire times: by the calendar, or so long after the last start."""

    cron: Cron | None = None
    every: timedelta | None = None

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first fire time later than ``moment``; None if there is none."""
        if self.every is not None:
            return moment + self.every
        assert self.cron is not None
        trigger = _trigger(self.cron, zone)
        found: datetime | None = moment
        while found is not None:
            # In UTC: local arithmetic would forget which of two equal hours it is.
            later = found.astimezone(UTC) + _TICK
            found = trigger.get_next_fire_time(None, later.astimezone(zone))
            if found is not None and not (found.fold and self._once_a_night):
                return found.astimezone(moment.tzinfo)
        return None

    @property
    def _once_a_night(self) -> bool:
        """Whether the hour that autumn repeats must not repeat the duty, as in cron."""
        return self.cron is not None and len(self.cron.hours) < _HOURS


@lru_cache(maxsize=1024)
def _trigger(cron: Cron, zone: tzinfo) -> BaseTrigger:
    def made(days: tuple[int, ...] | None, weekdays: tuple[int, ...] | None) -> CronTrigger:
        return CronTrigger(
            minute=_listed(cron.minutes),
            hour=_listed(cron.hours),
            day="*" if days is None else _listed(days),
            month=_listed(cron.months),
            day_of_week="*" if weekdays is None else ",".join(_WEEKDAYS[d] for d in weekdays),
            second=0,
            timezone=zone,
        )

    if cron.days is not None and cron.weekdays is not None:
        return OrTrigger([made(cron.days, None), made(None, cron.weekdays)])
    return made(cron.days, cron.weekdays)


def _listed(numbers: Iterable[int]) -> str:
    return ",".join(map(str, numbers))


class Agenda:
    """The duties of one zone by name, each with its last start."""

    def __init__(
        self,
        duties: Mapping[str, When],
        zone: tzinfo,
        last: Mapping[str, datetime],
        now: datetime,
    ) -> None:
        """``last`` has the starts that an earlier process noted. A duty that never ran
        counts from ``now``."""
        self._duties = dict(duties)
        self._zone = zone
        self._last = {name: min(last.get(name, now), now) for name in duties}
        self._running: set[str] = set()
        self._found: dict[str, tuple[datetime, datetime | None]] = {}

    def due(self, now: datetime) -> list[str]:
        """What should start now, the longest overdue first; never what runs already."""
        found = []
        for name in self._duties:
            if name in self._running:
                continue
            # A clock that was set back must not silence a duty until it has caught up.
            self._last[name] = min(self._last[name], now)
            moment = self.next(name)
            if moment is not None and moment <= now:
                found.append((moment, name))
        return [name for _, name in sorted(found)]

    def started(self, name: str, now: datetime) -> None:
        """``name`` runs from now on."""
        self._running.add(name)
        self._last[name] = now

    def ended(self, name: str, now: datetime) -> None:
        """``name`` runs no more; what fell due meanwhile is covered."""
        self._running.discard(name)
        when = self._duties.get(name)
        if when is not None and when.every is None:
            self._last[name] = now

    def next(self, name: str) -> datetime | None:
        """When ``name`` is due; in the past if it is overdue."""
        last = self._last[name]
        found = self._found.get(name)
        if found is None or found[0] != last:
            found = self._found[name] = (last, self._duties[name].after(last, self._zone))
        return found[1]

    def soonest(self) -> datetime | None:
        """When the next duty that does not run now is due."""
        moments = [self.next(name) for name in self._duties if name not in self._running]
        return min((moment for moment in moments if moment is not None), default=None)

    def replaced(self, duties: Mapping[str, When], zone: tzinfo, now: datetime) -> Agenda:
        """The same history under new settings; what has a new time counts from ``now``."""
        same = {
            name: last
            for name, last in self._last.items()
            if zone == self._zone and duties.get(name) == self._duties.get(name)
        }
        agenda = Agenda(duties, zone, same, now)
        agenda._running = {name for name in self._running if name in duties}
        return agenda
