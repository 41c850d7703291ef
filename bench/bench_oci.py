"""Pulls of images against docker-registry: the same image, the same clients, in turns.

    python bench/bench_oci.py [--rounds N] [--seconds S]

A pull is what a client fetches of an image that it has nothing of: the manifest by its tag,
config and layers, by one connection, thrown away as they come, so that neither the client's
disk nor its hashing is measured. Both servers have both cores; ours runs a worker on each.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Figure, quick, report
from manifests.tree import Entry
from store.store import KeptTree
from tests.support import tools
from tests.support.images import OCI_MANIFEST, Layout
from tests.support.registry import Registry
from tests.support.served import Published, Serving

IMAGE = "team/app"
LAYERS = 4
CLIENTS = (1, 16)
GOAL = 0.9
"""At least so much of docker-registry's speed."""


class _Files(Published):
    """Takes files from their place, since a layer is too large for memory."""

    def keep(self, files: dict[str, bytes]) -> KeptTree:
        with self.store.blobs.batch() as batch:
            entries = [
                Entry(path, *batch.put_file(Path(os.fsdecode(place))))
                for path, place in sorted(files.items())
            ]
            return self.store.keep_tree(entries, batch)


def pull(urls: list[str], clients: int) -> float:
    """Seconds until so many clients at once have fetched all of ``urls``."""
    words = [tools.need("curl"), "-sSf", "-H", f"Accept: {OCI_MANIFEST}"]
    for url in urls:
        words += [url, "-o", "/dev/null"]
    start = time.perf_counter()
    running = [
        subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        for _ in range(clients)
    ]
    failed = [one.wait() for one in running]
    taken = time.perf_counter() - start
    if any(failed):
        raise AssertionError(f"curl ended with {failed}: {urls[0]}")
    return taken


def manifests(url: str, seconds: int) -> float:
    """Answers a second to requests for a manifest. Raises AssertionError if one was not 200."""
    done = subprocess.run(
        [tools.need("wrk"), "-t1", "-c16", f"-d{seconds}s", "-H", f"Accept: {OCI_MANIFEST}", url],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise AssertionError(done.stdout)
    return float(found[1])


def measure(size: int, rounds: int, seconds: int) -> bool:
    """Report every figure; whether all goals are reached. ``size``: bytes of the image."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-")))
        layout = Layout(folder / "layout")
        layers = [layout.random_layer(size // LAYERS, seed) for seed in range(LAYERS)]
        what = layout.image(layers=layers)
        registry = stack.enter_context(Registry(fast=True))
        registry.push(layout, IMAGE, what, "v1")
        published = _Files(folder / "store")
        stack.callback(published.close)
        published.publish("bench", _places(layout, what.digest), format="oci")
        ours = stack.enter_context(Serving(folder / "store", workers=os.cpu_count() or 1))
        value = json.loads(layout.read(what))
        names = ["manifests/v1"]
        names += [f"blobs/{row['digest']}" for row in (value["config"], *value["layers"])]
        places = (f"{registry.url}/v2/{IMAGE}", f"{ours.url}/v2/bench/{IMAGE}")
        good = True
        for clients in CLIENTS:
            good &= _pulls(places, names, clients, size, rounds)
        return good & _manifests(places, rounds, seconds)


def _places(layout: Layout, digest: str) -> dict[str, bytes]:
    """The tree's paths and where the layout has the bytes."""
    top = layout.blobs / digest.partition(":")[2]
    files = {f"{IMAGE}/_tags/v1": os.fsencode(top)}
    value = json.loads(top.read_bytes())
    files[f"{IMAGE}/_manifests/sha256/{top.name}"] = os.fsencode(top)
    for row in (value["config"], *value["layers"]):
        name = row["digest"].partition(":")[2]
        files[f"{IMAGE}/_blobs/sha256/{name}"] = os.fsencode(layout.blobs / name)
    return files


def _pulls(places: tuple[str, str], names: list[str], clients: int, size: int, rounds: int) -> bool:
    pairs = []
    for turn in range(rounds + 1):
        theirs, our = (pull([f"{place}/{name}" for name in names], clients) for place in places)
        if turn:  # the first one warms up
            pairs.append((theirs / our, our, theirs))
    ratio = statistics.median(pair[0] for pair in pairs)
    speed = [statistics.median(clients * size / pair[at] / 1e9 for pair in pairs) for at in (1, 2)]
    who = "1 client" if clients == 1 else f"{clients} clients at once"
    figure = Figure(
        f"pull of a {size >> 20} MiB image by {who}",
        f"{speed[0]:.2f} GB/s",
        f"docker-registry {speed[1]:.2f} GB/s",
        ratio,
        f"at least {GOAL}",
        ratio >= GOAL,
    )
    return report(figure).reached


def _manifests(places: tuple[str, str], rounds: int, seconds: int) -> bool:
    pairs = []
    for turn in range(rounds + 1):
        theirs, our = (manifests(f"{place}/manifests/v1", seconds) for place in places)
        if turn:
            pairs.append((our / theirs, our, theirs))
    ratio = statistics.median(pair[0] for pair in pairs)
    figure = Figure(
        "requests for a manifest by its tag, 16 connections",
        f"{statistics.median(pair[1] for pair in pairs):,.0f}/s",
        f"docker-registry {statistics.median(pair[2] for pair in pairs):,.0f}/s",
        ratio,
        f"at least {GOAL}",
        ratio >= GOAL,
    )
    return report(figure).reached


def main() -> int:
    """0 if all goals are reached, else 1."""
    parser = argparse.ArgumentParser(description="pulls against docker-registry")
    parser.add_argument("--rounds", type=int, default=1 if quick() else 2)
    parser.add_argument("--seconds", type=int, default=1 if quick() else 2)
    parser.add_argument("--quick", action="store_true", help="a small image: see that it runs")
    words = parser.parse_args()
    size = (32 << 20) if quick() else (1 << 30)
    return int(not measure(size, words.rounds, words.seconds))


if __name__ == "__main__":
    raise SystemExit(main())
