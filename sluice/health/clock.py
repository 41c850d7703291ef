"""The clock, against what is known to have happened before now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from manifests.state import format_time
from manifests.trust import TrustState
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site

_FIRST, _LAST = 2024, 2100
_SLACK = timedelta(minutes=5)
_HELD = timedelta(days=1)
"""A bundle that is so far ahead is held."""


def clock(site: Site) -> Iterator[Finding]:
    """The newest event of the log, the newest bundle, and what the inside accepted last."""
    past: list[tuple[str, datetime]] = []
    if site.store is not None:
        with site.store.ledger.read() as tx:
            past += [(f"event {event.seq}", event.time) for event in tx.last_events(1)]
            for name in site.zone.streams:
                for bundle in tx.bundles(name, limit=1):
                    label = f"bundle {bundle.sequence} of {name}"
                    past.append((label, bundle.created))
                saved = tx.trust_state(name)
                floor = None if saved is None else TrustState.from_bytes(saved).time_floor
                if floor is not None:
                    past.append((f"the newest accepted bundle of {name}", floor))
    yield from judge(site.now, past)


def judge(now: datetime, past: Sequence[tuple[str, datetime]]) -> Iterator[Finding]:
    """Pure: ``past`` are things that were made before ``now``, if the clock is right."""
    where, said = "clock", format_time(now)
    remedy = "set the clock (`timedatectl`), and let chrony or another NTP client keep it"
    if not _FIRST <= now.year < _LAST:
        yield problem(where, f"it says {said}", remedy)
        return
    wrong = False
    for what, moment in past:
        if moment > now + _SLACK:
            wrong = True
            say = problem if moment > now + _HELD else warning
            yield say(where, f"it says {said}, but {what} is of {format_time(moment)}", remedy)
    if not wrong:
        yield ok(where, f"{said} (UTC), and nothing is dated later")
