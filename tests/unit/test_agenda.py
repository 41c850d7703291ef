"""The agenda in simulated time: missed runs, jumping clocks, summer time, slow duties."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.cron import parse_cron
from sluice.running.agenda import Agenda, When

BERLIN = ZoneInfo("Europe/Berlin")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def daily(text: str = "30 2 * * *") -> When:
    return When(cron=parse_cron(text))


class Machine:
    """A machine that looks at its agenda every minute, and can be off."""

    def __init__(self, duties: dict[str, When], now: datetime, lasts: timedelta = MINUTE) -> None:
        self.duties = duties
        self.now = now
        self.lasts = lasts
        self.noted: dict[str, datetime] = {}
        self.runs: list[tuple[str, datetime]] = []
        self._ends: dict[str, datetime] = {}
        self.start()

    def start(self) -> None:
        self.agenda = Agenda(self.duties, BERLIN, self.noted, self.now)
        self._ends = {}

    def live(self, time: timedelta) -> None:
        until = self.now + time
        while self.now < until:
            for name, end in [*self._ends.items()]:
                if end <= self.now:
                    del self._ends[name]
                    self.agenda.ended(name, self.now)
            for name in self.agenda.due(self.now):
                assert name not in self._ends, "a duty overlaps itself"
                self.agenda.started(name, self.now)
                self.noted[name] = self.now
                self.runs.append((name, self.now))
                self._ends[name] = self.now + self.lasts
            self.now += MINUTE

    def off(self, time: timedelta) -> None:
        self.now += time
        self.start()

    def days(self, name: str = "sync") -> Counter[str]:
        """Runs by local day."""
        return Counter(f"{at.astimezone(BERLIN):%m-%d}" for one, at in self.runs if one == name)


def days(first: str, count: int) -> Iterator[str]:
    day = datetime.fromisoformat(first)
    return (f"{day + n * DAY:%m-%d}" for n in range(count))


@pytest.mark.parametrize("month", ["2026-03-10", "2026-10-10"])
def test_a_month_with_the_change_of_the_clocks_runs_once_a_day(month: str) -> None:
    machine = Machine({"sync": daily()}, datetime.fromisoformat(month).replace(tzinfo=UTC))
    machine.live(30 * DAY)
    assert machine.days() == Counter(days(month, 30))
    hours = {at.astimezone(BERLIN).hour for _, at in machine.runs}
    # The night in March that has no half past two has half past three.
    assert hours == ({2, 3} if month == "2026-03-10" else {2})


def test_a_duty_by_the_hour_runs_in_both_hours_of_the_repeated_night() -> None:
    machine = Machine({"sync": daily("0 * * * *")}, datetime(2026, 10, 24, 22, 30, tzinfo=UTC))
    machine.live(6 * HOUR)
    assert len(machine.runs) == 6


def test_what_was_missed_is_caught_up_once() -> None:
    machine = Machine({"sync": daily()}, datetime(2026, 5, 1, tzinfo=UTC))
    machine.live(3 * DAY)
    assert len(machine.runs) == 3
    machine.off(10 * DAY)
    back = machine.now
    machine.live(DAY)
    assert [at for _, at in machine.runs[3:]] == [back, datetime(2026, 5, 14, 0, 30, tzinfo=UTC)]


def test_a_restart_repeats_nothing_and_forgets_nothing() -> None:
    machine = Machine({"sync": daily()}, datetime(2026, 5, 1, tzinfo=UTC))
    for _ in range(300):
        machine.live(17 * MINUTE)
        machine.off(3 * MINUTE)
    assert set(machine.days().values()) == {1}
    assert len(machine.runs) == 5


def test_a_new_duty_waits_for_its_time() -> None:
    machine = Machine({"sync": daily()}, datetime(2026, 5, 1, 12, tzinfo=UTC))
    machine.live(HOUR)
    assert machine.runs == []


def test_a_run_that_outlasts_its_period_covers_what_fell_due() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    machine = Machine({"sync": daily("*/10 * * * *")}, start, lasts=25 * MINUTE)
    machine.live(4 * HOUR)
    starts = [at for _, at in machine.runs]
    gaps = {late - early for early, late in pairwise(starts)}
    assert gaps == {30 * MINUTE}


def test_a_clock_that_jumps_ahead_runs_once() -> None:
    machine = Machine({"sync": daily()}, datetime(2026, 5, 1, 12, tzinfo=UTC))
    machine.now += 400 * DAY
    machine.live(HOUR)
    assert len(machine.runs) == 1


def test_a_clock_that_is_set_back_silences_nothing() -> None:
    machine = Machine({"sync": daily()}, datetime(2030, 5, 1, tzinfo=UTC))
    machine.live(2 * DAY)
    machine.now = datetime(2026, 5, 1, tzinfo=UTC)
    machine.runs.clear()
    machine.live(3 * DAY)
    assert machine.days() == Counter(days("2026-05-01", 3))
    # The same when it was set back while nothing ran.
    machine.off(timedelta(0))
    machine.noted["sync"] = datetime(2030, 1, 1, tzinfo=UTC)
    machine.start()
    machine.runs.clear()
    machine.live(DAY)
    assert len(machine.runs) == 1


def test_either_of_day_and_weekday_is_enough() -> None:
    when = daily("0 0 13 * fri")
    found, moment = [], datetime(2026, 2, 1, tzinfo=UTC)
    for _ in range(5):
        moment = when.after(moment, UTC) or moment
        found.append(f"{moment:%m-%d}")
    assert found == ["02-06", "02-13", "02-20", "02-27", "03-06"]


def test_new_settings_keep_the_history() -> None:
    start = datetime(2026, 5, 1, tzinfo=UTC)
    machine = Machine({"sync": daily()}, start)
    machine.live(DAY)
    agenda = machine.agenda.replaced({"sync": daily("45 2 * * *")}, BERLIN, machine.now)
    assert agenda.due(machine.now) == []
    assert agenda.next("sync") == datetime(2026, 5, 2, 0, 45, tzinfo=UTC)
    machine.off(DAY)
    agenda = machine.agenda.replaced({"sync": daily()}, BERLIN, machine.now)
    assert agenda.due(machine.now) == ["sync"]


def test_an_interval_counts_from_the_last_start() -> None:
    when = When(every=10 * MINUTE)
    machine = Machine({"send": when}, datetime(2026, 5, 1, tzinfo=UTC))
    machine.live(HOUR)
    assert len(machine.runs) == 5
    machine.off(DAY)
    machine.live(5 * MINUTE)
    assert len(machine.runs) == 6


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from(["live", "off", "ahead", "back"]), st.integers(1, 2000)),
        max_size=12,
    ),
    st.integers(1, 200),
)
def test_whatever_happens_a_day_of_peace_brings_a_run(
    life: list[tuple[str, int]], lasts: int
) -> None:
    machine = Machine({"sync": daily()}, datetime(2026, 3, 20, tzinfo=UTC), lasts * MINUTE)
    for what, minutes in life:
        if what == "live":
            machine.live(minutes * MINUTE)
        elif what == "off":
            machine.off(minutes * MINUTE)
        else:
            machine.now += minutes * MINUTE * (1 if what == "ahead" else -1)
    machine.live(lasts * MINUTE + MINUTE)
    machine.runs.clear()
    machine.live(25 * HOUR + 2 * lasts * MINUTE)
    assert 1 <= len(machine.runs) <= 3
