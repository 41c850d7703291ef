"""Trees of 10^5 and 10^6 paths: look-ups a second, and memory that does not grow.

    python -m bench.bench_scale [--quick]

Look-ups, diff, check and pack run each in a process of its own over a small and a ten
times larger tree. Flat means: the larger one takes at most 1.25 times the memory.
Files of the tree that are mapped into memory are the page cache's, and shared by all
processes; streaming gives them back as it goes, random look-ups touch all of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench import scale_steps
from bench.common import CHECKOUT, Figure, quick, report, work_folder

FLAT = 1.25
LOOKUPS = 100_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step told: seconds, those of its own CPU time, peak bytes, how much it did."""

    seconds: float
    cpu: float
    total: int
    private: int
    work: int


def step(name: str, folder: Path, paths: int) -> Outcome:
    """Run a step in a fresh interpreter, so that its peak memory is its own."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.scale_steps", name, str(folder), str(paths)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    """0 when all targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work, instead of .bench")
    options = parser.parse_args()
    sizes = (10_000, 100_000) if quick() else (100_000, 1_000_000)
    found: dict[str, list[Outcome]] = {}
    with work_folder(options.folder) as folder:
        for paths in sizes:
            place = folder / str(paths)
            place.mkdir()
            for preparation in scale_steps.PREPARE:
                step(preparation, place, paths)
            for name in scale_steps.MEASURE:
                found.setdefault(name, []).append(step(name, place, paths))
    figures = [_lookups(found["lookup"][1], sizes[1])]
    figures += [_memory(name, few, many, sizes) for name, (few, many) in found.items()]
    for figure in figures:
        report(figure)
    return 0 if all(figure.reached for figure in figures) else 1


def _lookups(outcome: Outcome, paths: int) -> Figure:
    speed = outcome.work / outcome.cpu
    return Figure(
        f"look-ups in a tree of {paths:,} paths, a second of CPU time",
        f"{speed:,.0f}/s",
        f"{LOOKUPS:,}/s",
        speed / LOOKUPS,
        "at least 1",
        speed >= LOOKUPS,
    )


def _memory(name: str, small: Outcome, large: Outcome, sizes: tuple[int, int]) -> Figure:
    ratio = large.private / small.private
    total = f"with mapped files {large.total / 1e6:.0f} to {small.total / 1e6:.0f}"
    return Figure(
        f"{scale_steps.MEASURE[name]}: memory at {sizes[1]:,} against {sizes[0]:,} paths",
        f"{large.private / 1e6:.0f} MB in {large.seconds:.2f} s",
        f"{small.private / 1e6:.0f} MB in {small.seconds:.2f} s ({total} MB)",
        ratio,
        f"at most {FLAT}",
        ratio <= FLAT,
    )


if __name__ == "__main__":
    raise SystemExit(main())
