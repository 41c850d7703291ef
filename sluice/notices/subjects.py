"""What a zone could tell of now: its holds, silent streams, and gaps."""

from __future__ import annotations

from datetime import datetime

from manifests.zone import InsideZone
from manifests.zone.notices import GAP
from sluice.context import Context
from sluice.held import all_holds, missing
from sluice.notices.plan import Subject
from sluice.text import some
from store.ledger import ReadTransaction


def subjects(
    context: Context, tx: ReadTransaction, gaps: dict[str, datetime], now: datetime
) -> list[Subject]:
    """All of them. ``gaps`` says since when streams have had a gap, and is brought up to date."""
    now = now.replace(microsecond=0)
    found = [
        Subject(
            hold.key, hold.kind, hold.stream, hold.repository, hold.since, hold.reason, hold.remedy
        )
        for hold in all_holds(context.zone, tx, now)
    ]
    standing = dict(gaps)
    gaps.clear()
    if not isinstance(context.zone, InsideZone):
        return found
    for stream in context.zone.streams:
        bundles = missing(context, tx, stream)
        if not bundles:
            continue
        gaps[stream] = since = standing.get(stream, now)
        words = [
            f"bundle {each['bundle']}"
            + (f" (part {some([str(n) for n in each['parts']])})" if each["parts"] else "")
            for each in bundles
        ]
        found.append(
            Subject(
                key=f"gap:{stream}",
                kind=GAP,
                stream=stream,
                repository="",
                since=since,
                reason=f"not come, or not whole: {some(words)}",
                remedy="wait; or outside: `resend` of what is missing, as `sluice status` words it",
            )
        )
    return found
