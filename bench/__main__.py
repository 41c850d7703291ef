"""``python -m bench [NAME...] [--quick] [--folder DIR]``: run the benchmarks, print a table.

Each ``bench/bench_NAME.py`` runs in a process of its own; what it prints goes to standard
error, the result as Markdown to standard output, ready for ``docs/benchmarks.md``. Ends
with 0 when every figure reached its target, else 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from bench.common import CHECKOUT, FIGURES, QUICK, Figure, machine, work_folder

_HERE = Path(__file__).resolve().parent


def names() -> list[str]:
    """The benchmarks that there are."""
    return sorted(path.stem.removeprefix("bench_") for path in _HERE.glob("bench_*.py"))


def run(name: str, folder: Path, *, quick: bool) -> list[Figure]:
    """Run one benchmark below ``folder``. One that reports nothing yields its exit code."""
    print(f"== {name}", file=sys.stderr, flush=True)
    figures = folder / f"{name}.figures"
    scratch = folder / name
    scratch.mkdir()
    environment = {
        **os.environ,
        "TMPDIR": str(scratch),
        FIGURES: str(figures),
        QUICK: "1" if quick else "0",
    }
    done = subprocess.run(
        [sys.executable, "-m", f"bench.bench_{name}"],
        cwd=CHECKOUT,
        env=environment,
        stdout=sys.stderr,
        check=False,
    )
    text = figures.read_text() if figures.exists() else ""
    found = [Figure(**json.loads(line)) for line in text.splitlines()]
    if not found or (done.returncode != 0 and all(figure.reached for figure in found)):
        ended = f"ended with {done.returncode}"
        found.append(Figure(name, ended, "", None, "ends with 0", done.returncode == 0))
    return found


def table(figures: list[Figure]) -> str:
    """Figures as a table in Markdown."""
    rows = [
        "| figure | ours | peer or limit | ratio | target | reached |",
        "|---|---|---|---|---|---|",
    ]
    for each in figures:
        ratio = "" if each.ratio is None else f"{each.ratio:.2f}"
        reached = "yes" if each.reached else "**no**"
        rows.append(
            f"| {each.what} | {each.ours} | {each.peer} | {ratio} | {each.target} | {reached} |"
        )
    return "\n".join(rows)


def main() -> int:
    """0 when all targets are reached."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.split("\n")[0])
    known = names()
    parser.add_argument("name", nargs="*", help=f"of: {', '.join(known)}; all if none is given")
    parser.add_argument("--quick", action="store_true", help="small sizes: see that it runs")
    parser.add_argument("--folder", type=Path, help="where to work, instead of .bench")
    options = parser.parse_args()
    if unknown := set(options.name) - set(known):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {known}")
    facts = machine()
    figures = []
    with work_folder(options.folder) as folder:
        for name in options.name or known:
            figures += run(name, folder, quick=options.quick)
    if options.quick:
        facts.append("**quick run with small sizes: no figure to quote**")
    print("\n".join(f"- {fact}" for fact in facts), end="\n\n")
    print(table(figures))
    return 0 if all(figure.reached for figure in figures) else 1


if __name__ == "__main__":
    raise SystemExit(main())
