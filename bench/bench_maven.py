"""A Maven repository of 100,000 artifacts: sync, check, derive; and requests against nginx.

``python -m bench.bench_maven [--quick]``. Each step is a process of its own, and its time that of
the whole process. The peers:

* a no-change sync of a Nexus: a program that reads the same listing and does nothing else, since
  a Nexus tells what it has in no other way;
* the first check: ``sha1sum`` of the same files, since every checksum has to be compared once;
* the metadata after one artifact changed: making all of it anew, and, as the limit, a program that
  reads both trees and tells what differs;
* small POMs and ``.sha1`` files: nginx, one worker process each, the same files, in turns.
"""

from __future__ import annotations

import hashlib
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from bench.bench_serve import nginx, rate
from bench.common import CHECKOUT, Figure, quick, report, work_folder
from bench.maven_steps import NAME, files
from tests.support.served import Published, Serving

ARTIFACTS = 100_000
RUNS = 3
SERVED = 1000
"""Artifacts whose files are asked for in turn."""
CONNECTIONS = 16
_LISTING = """
location = /service/rest/v1/assets { try_files /pages/$arg_continuationToken.json =404; }
"""
_LUA = """
local requests, at = {}, 0
init = function(args)
  for line in io.lines(args[1]) do
    requests[#requests + 1] = wrk.format("GET", args[2] .. line)
  end
end
request = function()
  at = at % #requests + 1
  return requests[at]
end
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """What a step said, and took: seconds by the clock and of CPU time, bytes of memory."""

    seconds: float
    cpu: float
    memory: int
    said: str

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s ({self.cpu:.2f} s of CPU)"


def best(ran: list[Ran]) -> Ran:
    """The quickest of several."""
    return min(ran, key=lambda each: each.seconds)


def _cpu() -> float:
    """CPU seconds of all children that ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def step(folder: Path, name: str, *words: str) -> Ran:
    """Run one step; its seconds are those of the whole process."""
    started, used = time.perf_counter(), _cpu()
    done = subprocess.run(
        [sys.executable, "-m", "bench.maven_steps", name, str(folder), *words],
        cwd=CHECKOUT, check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    spent, used = time.perf_counter() - started, _cpu() - used
    *said, last = done.stdout.splitlines()
    return Ran(spent, used, json.loads(last)["memory"], said[-1] if said else "")


def measure_sync(folder: Path, artifacts: int) -> None:
    with nginx(folder / "www", _LISTING) as url:
        step(folder, "no-change", url)  # the first one compares every promise
        ours, theirs = [], []
        for _ in range(RUNS):
            theirs.append(step(folder, "read-listing", url))
            ours.append(step(folder, "no-change", url))
    if any(each.said != "unchanged" for each in ours):
        raise SystemExit("a sync without changes made a snapshot")
    assert int(theirs[0].said) == 2 * artifacts
    our, peer = best(ours), best(theirs)
    limit = 3 * peer.seconds + 1
    report(
        Figure(
            f"no-change sync of a Nexus with {artifacts:,} artifacts ({2 * artifacts:,} files)",
            str(our),
            f"reading its listing {peer}",
            our.seconds / peer.seconds,
            f"at most 3 times + 1 s = {limit:.2f} s",
            our.seconds <= limit,
        )
    )
    report(
        Figure(
            "memory of that sync",
            f"{our.memory / 1e6:.0f} MB",
            f"reading its listing {peer.memory / 1e6:.0f} MB",
            our.memory / peer.memory,
            "at most 2",
            our.memory <= 2 * peer.memory,
        )
    )


def measure_check(folder: Path, artifacts: int) -> None:
    blobs = folder / "store/blobs"
    started = time.perf_counter()
    subprocess.run(
        f"find '{blobs}' -type f -print0 | xargs -0 sha1sum > /dev/null",
        shell=True, check=True,
    )  # fmt: skip
    peer = time.perf_counter() - started
    ran = [step(folder, "check") for _ in range(2)]
    report(
        Figure(
            f"first check of {artifacts:,} artifacts, every POM read",
            f"{ran[0]}; again {ran[1]}",
            f"`sha1sum` of the same files {peer:.1f} s",
            ran[0].seconds / peer,
            "no bound" if quick() else f"at most 10 times = {10 * peer:.1f} s",
            quick() or ran[0].seconds <= 10 * peer,
        )
    )


def measure_derive(folder: Path, artifacts: int) -> None:
    step(folder, "derive", "first")
    anew = step(folder, "derive", "anew")
    ran = [step(folder, "derive", "step") for _ in range(RUNS)]
    trees = [step(folder, "read-trees") for _ in range(RUNS)]
    if any(each.said != anew.said for each in ran):
        raise SystemExit("step by step something else is derived than anew")
    our, least = best(ran), best(trees)
    what = f"metadata after one of {artifacts:,} artifacts changed"
    small = quick()  # then it is mostly the start of two processes
    report(
        Figure(
            what,
            str(our),
            f"all of it anew {anew}",
            our.seconds / anew.seconds,
            "no bound" if small else "at most 0.2",
            small or our.seconds <= 0.2 * anew.seconds,
        )
    )
    report(
        Figure(
            what,
            str(our),
            f"reading and comparing both trees {least}",
            our.seconds / least.seconds,
            f"at most 2 times + 0.5 s = {2 * least.seconds + 0.5:.2f} s",
            our.seconds <= 2 * least.seconds + 0.5,
        )
    )


def measure_serving(folder: Path) -> None:
    """Small POMs and checksums, each URL in turn; our checksums are made, nginx has files."""
    www = folder / "served"
    served = dict(files(SERVED))
    kinds = {"POM": [path for path in served if path.endswith(".pom")]}
    kinds[".sha1"] = [f"{path}.sha1" for path in served]
    for path, data in served.items():
        (www / path).parent.mkdir(parents=True, exist_ok=True)
        (www / path).write_bytes(data)
        (www / f"{path}.sha1").write_text(hashlib.sha1(data, usedforsecurity=False).hexdigest())
    script = folder / "turns.lua"
    script.write_text(_LUA)
    with ExitStack() as stack:
        published = Published(folder / "published")
        stack.callback(published.close)
        published.publish(NAME, served, format="maven")
        theirs = stack.enter_context(nginx(www))
        ours = stack.enter_context(Serving(folder / "published", workers=1))
        for kind, paths in kinds.items():
            listed = folder / "paths"
            listed.write_text("".join(f"{path}\n" for path in paths))
            places = ((f"{theirs}/", "/"), (f"{ours.url}/", f"/maven/{NAME}/"))
            _ask_all(ours.address, [f"/maven/{NAME}/{path}" for path in paths])
            pairs = []
            for turn in range(3 if quick() else 6):
                seconds = 1 if quick() else 2
                their, our = (
                    rate(url, CONNECTIONS, seconds, small=True,
                         turns=(str(script), str(listed), prefix))
                    for url, prefix in places
                )  # fmt: skip
                if turn:  # the first one warms up
                    pairs.append((our / their, our, their))
            ratio, our, their = (statistics.median(column) for column in zip(*pairs, strict=True))
            report(
                Figure(
                    f"GET of {len(paths):,} small {kind} files in turn, one worker process each",
                    f"{our:,.0f} requests/s",
                    f"nginx {their:,.0f} requests/s",
                    ratio,
                    "at least 0.35",
                    ratio >= 0.35,
                )
            )


def _ask_all(address: tuple[str, int], paths: list[str]) -> None:
    """Every URL once, since the first answer is worked out; tells what that takes."""
    server = HTTPConnection(*address)
    started = time.perf_counter()
    for path in paths:
        server.request("GET", path)
        answer = server.getresponse()
        answer.read()
        assert answer.status == 200, path
    spent = time.perf_counter() - started
    print(f"asked for the first time, by one connection: {len(paths) / spent:,.0f} requests/s")


def main() -> int:
    artifacts = ARTIFACTS // 50 if quick() else ARTIFACTS
    with work_folder() as folder:
        measure_serving(folder)
        step(folder, "make", str(artifacts))
        measure_derive(folder, artifacts)
        measure_check(folder, artifacts)
        measure_sync(folder, artifacts)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
