"""From the carrier to publications: look, import, and only then let files go."""

from __future__ import annotations

import time

from cds.base import Inlet
from manifests.zone import InsideStream
from sluice import stopping
from sluice.context import Context
from sluice.fulfilled import strike_off
from sluice.pinned import pinned_root
from sluice.wiring import InsideChecks, offer_keys
from transfer.arrivals import Progress, Report, Verdict
from transfer.publish import Judges
from transfer.receive import receive

_LONGEST_SETTLING = 60.0
"""Seconds that one look waits for half-written files before it goes on without them."""


def receive_stream(
    context: Context,
    stream: InsideStream,
    inlet: Inlet,
    *,
    settle: bool,
    progress: Progress | None = None,
) -> Report:
    """Import what lies there and publish what is complete; wants that came are struck off.

    ``settle`` waits (at most a minute) for files that are still being written.
    Raises StoreBusy when another importer is at work on this stream; errors of
    single files are in the report.
    """
    zone = context.inside
    checks = InsideChecks(context.store, zone)
    arrivals = list(inlet.arrivals(time.time()))
    deadline = time.time() + _LONGEST_SETTLING
    while settle and (until := inlet.waiting().until) and time.time() < deadline:
        time.sleep(max(0.05, min(until, deadline) - time.time()))
        arrivals = list(inlet.arrivals(time.time()))
    report = receive(
        context.store,
        stream,
        arrivals,
        pinned_root=pinned_root(stream).data,
        judges=Judges(checks.problems, checks.signatures, checks.derive),
        now=context.now(),
        progress=progress,
    )
    stopping.check()  # no file is judged by what a stop may have spoiled
    by_identity = {arrival.identity: arrival for arrival in arrivals}
    # Everything above is committed; only now may a file be taken away.
    for outcome in report.outcomes:
        arrival = by_identity[outcome.arrival.identity]
        if outcome.verdict is Verdict.DONE:
            inlet.finish(arrival)
        elif outcome.verdict is Verdict.BAD:
            inlet.quarantine(arrival, outcome.reason)
    for live in report.published:
        offer_keys(context.store, live, context.actor)
    if report.published or not report.outcomes:  # not between the parts of a bundle
        strike_off(context.store, context.actor)
    return report
