"""What is planned and how it went: for ``run`` itself, its dry run, and ``status``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from manifests.state import format_time
from manifests.zone import Zone
from sluice.context import Context
from sluice.running.agenda import Agenda, When
from sluice.running.duties import Duty, duties_of, services_of
from sluice.running.history import Run, last_run
from store.ledger import ReadTransaction

LOCK = "run"
"""The named lock that ``run`` holds."""


def timezone_of(zone: Zone) -> tzinfo:
    """What the schedules of a zone are meant in."""
    return UTC if zone.timezone == "UTC" else ZoneInfo(zone.timezone)


def timed(duties: Mapping[str, Duty]) -> dict[str, When]:
    """The duties that have times of their own."""
    return {name: duty.when for name, duty in duties.items() if duty.when is not None}


def last_runs(tx: ReadTransaction, duties: Iterable[str]) -> dict[str, Run]:
    """The last run of each of ``duties`` that ever ran."""
    runs = {name: last_run(tx, name) for name in duties}
    return {name: run for name, run in runs.items() if run is not None}


def agenda_of(
    zone: Zone, duties: Mapping[str, Duty], runs: Mapping[str, Run], now: datetime
) -> Agenda:
    """What is due when, after these last runs."""
    last = {name: run.began for name, run in runs.items()}
    return Agenda(timed(duties), timezone_of(zone), last, now)


def standing(context: Context, tx: ReadTransaction, now: datetime) -> dict[str, Any]:
    """The keys ``run`` and ``duties`` of the status."""
    duties = duties_of(context.zone)
    runs = last_runs(tx, duties)
    agenda = agenda_of(context.zone, duties, runs, now)
    return {
        "run": {
            "running": context.store.locks.busy(LOCK),
            "always": list(services_of(context.zone)),
        },
        "duties": {
            name: {"last": _last(runs.get(name)), "next": _next(agenda, duty)}
            for name, duty in duties.items()
        },
    }


def _last(run: Run | None) -> dict[str, Any] | None:
    if run is None:
        return None
    return {"began": format_time(run.began), "ended": format_time(run.ended), "code": run.code}


def _next(agenda: Agenda, duty: Duty) -> str | None:
    moment = None if duty.when is None else agenda.next(duty.name)
    return None if moment is None else format_time(moment)
