"""GET against nginx: one worker process each, the same files, the same ``wrk``.

    python bench/bench_serve.py [--rounds N] [--seconds S]

Both servers are asked in turns, and each ratio is the median over the rounds, so that
whatever else the machine does meets both. nginx writes no access log and uses sendfile.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Figure, quick, report
from tests.support import tools
from tests.support.served import Published, Serving

GOALS = {"large": 0.9, "small": 0.35}
SIZES = {"large": 64 << 20, "small": 4 << 10}
CONNECTIONS = {"large": 4, "small": 16}
_UNITS = {"": 1.0, "K": 2.0**10, "M": 2.0**20, "G": 2.0**30}


@contextmanager
def nginx(folder: Path, more: str = "") -> Iterator[str]:
    """nginx over ``folder``, with ``more`` lines for its server; its URL."""
    with tempfile.TemporaryDirectory(prefix="sluice-nginx-") as text:
        home = Path(text)
        port = tools.free_port()
        user = "user root;" if os.geteuid() == 0 else ""
        temporary = " ".join(
            f"{kind}_temp_path {home}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = home / "nginx.conf"
        config.write_text(
            f"daemon off; {user} pid {home}/pid; worker_processes 1;\n"
            "events { worker_connections 512; }\n"
            "http { default_type application/octet-stream; sendfile on; tcp_nopush on;\n"
            f"access_log off; keepalive_requests 10000000; {temporary}\n"
            f'server {{ listen 127.0.0.1:{port}; root "{folder}"; {more} }} }}\n',
            "utf-8",
        )
        log = home / "error.log"
        process = tools.spawn(
            [tools.need("nginx"), "-p", home, "-c", config, "-e", log], log=home / "out.log"
        )
        try:
            tools.wait_for_port(port, process, log=log)
            yield f"http://127.0.0.1:{port}"
        finally:
            tools.stop(process)


def rate(
    url: str, connections: int, seconds: int, *, small: bool, turns: Sequence[str] = ()
) -> float:
    """Answers a second if ``small`` (the heads differ in length), else bytes a second.

    ``turns`` are a script for ``wrk`` and its words, to ask for more than one URL. Raises
    AssertionError if one answer was not 200.
    """
    script, words = list(turns[:1]), list(turns[1:])
    done = subprocess.run(
        [tools.need("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s",
         *(["-s", *script] if script else []), url, *(["--", *words] if words else [])],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    word = "Requests" if small else "Transfer"
    found = re.search(rf"{word}/sec:\s+([0-9.]+)([KMG]?)", done.stdout)
    if found is None or "Non-2xx" in done.stdout:
        raise AssertionError(done.stdout)
    return float(found[1]) * _UNITS[found[2]]


def measure(rounds: int, seconds: int) -> dict[str, float]:
    """The ratio to nginx for each kind of file."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluice-bench-")))
        files = {name: os.urandom(size) for name, size in SIZES.items()}
        published = Published(folder / "store")
        stack.callback(published.close)
        published.publish("bench", files, format="files")
        www = folder / "www"
        www.mkdir()
        for name, data in files.items():
            (www / name).write_bytes(data)
        theirs = stack.enter_context(nginx(www))
        ours = stack.enter_context(Serving(folder / "store"))
        ratios = {}
        for name in SIZES:
            small = name == "small"
            pairs = []
            places = (f"{theirs}/{name}", f"{ours.url}/files/bench/{name}")
            for turn in range(rounds + 1):
                ask = [rate(url, CONNECTIONS[name], seconds, small=small) for url in places]
                if turn:  # the first one warms up; nginx counts before and after ours
                    after = rate(places[0], CONNECTIONS[name], seconds, small=small)
                    their_rate = statistics.mean((ask[0], after))
                    pairs.append((ask[1] / their_rate, ask[1], their_rate))
            ratios[name] = statistics.median(pair[0] for pair in pairs)
            unit, scale = ("requests/s", 1.0) if small else ("GB/s", 1e9)
            shown = ", ".join(f"{our / scale:.4g}:{their / scale:.4g}" for _, our, their in pairs)
            print(f"{unit} ours:nginx {shown}")
            size = f"{SIZES[name] >> 20} MiB" if SIZES[name] >> 20 else f"{SIZES[name] >> 10} KiB"
            report(
                Figure(
                    f"GET of {size}, one worker process each",
                    f"{statistics.median(pair[1] for pair in pairs) / scale:.4g} {unit}",
                    f"nginx {statistics.median(pair[2] for pair in pairs) / scale:.4g} {unit}",
                    ratios[name],
                    f"at least {GOALS[name]}",
                    ratios[name] >= GOALS[name],
                )
            )
        return ratios


def main() -> int:
    """0 if all goals are reached, else 1."""
    parser = argparse.ArgumentParser(description="GET against nginx")
    parser.add_argument("--rounds", type=int, default=2 if quick() else 5)
    parser.add_argument("--seconds", type=int, default=1 if quick() else 2)
    parser.add_argument("--quick", action="store_true", help="short rounds: see that it runs")
    words = parser.parse_args()
    ratios = measure(words.rounds, words.seconds)
    return int(any(ratios[name] < goal for name, goal in GOALS.items()))


if __name__ == "__main__":
    raise SystemExit(main())
