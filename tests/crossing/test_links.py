"""Hundreds of bundles over links that lose, repeat, reorder, rename and delay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.links import Crossing, Link, Tally


def cross(tmp_path: Path, link: Link, bundles: int, **options: int) -> Tally:
    crossing = Crossing(tmp_path, link, **options)  # type: ignore[arg-type]
    try:
        crossing.run(bundles)
        crossing.repeat(min(20, len(crossing.delivered)))
        return crossing.tally
    finally:
        crossing.close()


@pytest.mark.parametrize(
    ("link", "options"),
    [
        (Link(0.15, twice=0.15, late=0.1), {"seed": 1, "full": 12}),
        (Link(0.2, burst=6, twice=0.15, late=0.1), {"seed": 2, "full": 12}),
        (Link(0.1, burst=3, twice=0.15, late=0.1), {"seed": 3, "resend": 4, "full": 0}),
        (Link(0.05, twice=0.15, late=0.1), {"seed": 4, "window": 2, "full": 0}),
    ],
    ids=["loss", "bursts", "resend", "window"],
)
def test_what_a_link_loses_costs_time_and_never_truth(
    tmp_path: Path, link: Link, options: dict[str, int]
) -> None:
    tally = cross(tmp_path, link, 24, **options)
    assert tally.lost > 0
    assert tally.held > 0
    assert tally.late + tally.twice > 0


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("burst", [0, 4])
@pytest.mark.parametrize("loss", [0.01, 0.1, 0.3])
def test_hundreds_of_bundles(tmp_path: Path, loss: float, burst: float, seed: int) -> None:
    options = {"seed": seed, "full": 40, "resend": 7 * (seed % 2), "window": seed % 3}
    tally = cross(tmp_path, Link(loss, burst), 250, **options)
    assert tally.bundles == 251
    # One in a hundred, in bursts of four, may be none at all of the few hundred files.
    assert tally.lost > 0 or loss < 0.05
