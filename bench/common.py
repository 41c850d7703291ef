"""What the benchmarks share: figures, facts about the machine, work folders, peak memory.

A benchmark is a module ``bench/bench_NAME.py`` with a ``main()`` that returns an exit
code. It runs alone (``python -m bench.bench_NAME``) or under ``python -m bench``. It
works in ``work_folder()``, measures less when ``quick()`` says so, and calls ``report``
for each figure. Figures are ratios taken in one run, so that they travel.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
FIGURES = "SLUICE_BENCH_FIGURES"
QUICK = "SLUICE_BENCH_QUICK"


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. ``ours``, ``peer`` and ``target`` are text with their units.

    ``peer`` is what ours is compared with: another program, or the limit itself.
    """

    what: str
    ours: str
    peer: str
    ratio: float | None
    target: str
    reached: bool


def report(figure: Figure) -> Figure:
    """Print a figure as a line and hand it to ``python -m bench`` if that started us."""
    ratio = "" if figure.ratio is None else f", ratio {figure.ratio:.2f}"
    verdict = "ok" if figure.reached else "MISSED"
    print(f"{figure.what}: {figure.ours} / {figure.peer}{ratio} ({figure.target}) {verdict}")
    sys.stdout.flush()
    if FIGURES in os.environ:
        with Path(os.environ[FIGURES]).open("a") as file:
            file.write(json.dumps(asdict(figure)) + "\n")
    return figure


def quick() -> bool:
    """Whether to measure with small sizes, to see that everything runs."""
    return "--quick" in sys.argv[1:] or os.environ.get(QUICK) == "1"


@contextmanager
def work_folder(parent: Path | None = None) -> Iterator[Path]:
    """An empty folder below ``parent`` (or ``.bench`` in the checkout), removed afterwards.

    Under ``python -m bench`` it lies below the folder given there.
    """
    if parent is None:
        parent = Path(tempfile.gettempdir()) if FIGURES in os.environ else CHECKOUT / ".bench"
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="work-", dir=parent) as folder:
        yield Path(folder)


def machine() -> list[str]:
    """Facts that a reader needs to judge figures; no names of hosts, people or folders."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    now = datetime.now(UTC)
    return [
        f"processor: {_processor()}, {len(os.sched_getaffinity(0))} cores",
        f"memory: {memory:.1f} GiB",
        f"system: {_system()}, Linux {platform.release()}",
        f"Python: {platform.python_implementation()} {platform.python_version()}",
        f"load before the run: {os.getloadavg()[0]:.1f}",
        f"date: {now:%Y-%m-%d}",
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        return platform.system()


@dataclass(frozen=True, slots=True)
class Peak:
    """Peak memory in bytes. ``private`` leaves out mapped files, which all processes share."""

    total: int
    private: int


class PeakMemory:
    """Watches the memory of this process while it is open; then ``peak`` is there.

    ``total`` is the kernel's own high-water mark of the process; the kernel keeps none
    for private pages, so those are sampled.
    """

    def __enter__(self) -> PeakMemory:
        self._stop = threading.Event()
        self._private = _memory("RssAnon")
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.01):
            self._private = max(self._private, _memory("RssAnon"))

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = Peak(_memory("VmHWM"), max(self._private, _memory("RssAnon")))


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the kernel does not tell {field}")


def seconds(step: Callable[[], object], *, times: int = 1) -> float:
    """The best of several runs, by the clock on the wall."""
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        step()
        best = min(best, time.perf_counter() - start)
    return best
