"""What a lossy link costs: how often repositories are held, and what has to be sent again.

A simulation with a seed (tests/support/links.py), not a measurement of time: 4 repositories,
a bundle every twelve hours, 5 % of the files twice, 2 % up to three weeks late, the others in
any order under other names. It checks on the way that nothing false is published and that each
hold names exactly what is missing, and ends with a full bundle after which both sides agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.common import Figure, quick, report
from tests.support import scratch
from tests.support.links import Crossing, Link, Tally

_LINKS: Sequence[Link] = (
    Link(0.01),
    Link(0.05),
    Link(0.05, burst=5),
    Link(0.2, burst=5),
)
_TITLES = (
    *("Lost", "Repair", "Parts, lost", "Held", "Longest hold", "Sent again"),
    "Ended by: itself, resend, full",
)
_WAYS: Mapping[str, Mapping[str, int]] = {
    "a full bundle every 40": {"full": 40},
    "window 2, full every 40": {"window": 2, "full": 40},
    "resend every 4": {"resend": 4, "full": 0},
}


def main() -> int:
    rows = []
    for link in _LINKS[1:3] if quick() else _LINKS:
        for way, options in _WAYS.items():
            # Thousands of commits; nothing here hangs on the disk.
            with TemporaryDirectory(prefix="sluice-", dir=scratch.memory()) as folder:
                crossing = Crossing(Path(folder), link, 7, **options)  # type: ignore[arg-type]
                tally = crossing.run(20 if quick() else 100)
                crossing.close()
            rows.append(_row(link, way, tally))
            report(_figure(link, way, tally))
    print(f"| {' | '.join(_TITLES)} |")
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
    return 0


def _row(link: Link, way: str, tally: Tally) -> tuple[str, ...]:
    return (
        link.name(),
        way,
        f"{tally.parts}, {tally.lost}",
        f"{100 * tally.held / tally.rows:.1f} %",
        f"{tally.longest}",
        f"{100 * tally.resent_bytes / tally.bytes:.1f} %",
        f"{tally.by_itself}, {tally.by_resend}, {tally.by_full}",
    )


def _figure(link: Link, way: str, tally: Tally) -> Figure:
    return Figure(
        f"repositories held, {link.name()} of the parts lost, {way}",
        f"{100 * tally.held / tally.rows:.1f} %, at most {tally.longest} bundles long",
        f"{tally.lost} of {tally.parts} parts lost, {tally.late} late",
        None,
        "whole after a full bundle",
        reached=True,  # else the simulation would have failed
    )


if __name__ == "__main__":
    raise SystemExit(main())
