"""``/metrics`` of the server: the answers of all workers, and none lost with a worker."""

from __future__ import annotations

import http.client
import os
import re
import signal
import time
from pathlib import Path

from tests.support import tools
from tests.support.served import Published, Serving


def fetch(server: Serving, *paths: str) -> bytes:
    """GET all by one connection; the body of the last."""
    line = http.client.HTTPConnection(*server.address, timeout=60)
    try:
        for path in paths:
            line.request("GET", path)
            body = line.getresponse().read()
        return body
    finally:
        line.close()


def counted(server: Serving) -> dict[tuple[str, str], int]:
    text = fetch(server, "/metrics")
    done = tools.run([tools.need("promtool"), "check", "metrics"], stdin=text)
    assert done.stdout + done.stderr == ""
    found = re.findall(r'format="(\w+)",status="(\w+)"\} (\d+)', text.decode())
    return {(name, status): int(count) for name, status, count in found}


def test_all_answers_of_all_workers_are_counted(tmp_path: Path) -> None:
    site = Published(tmp_path / "store")
    site.publish("tools", {"a": b"1"}, format="files")
    with Serving(tmp_path / "store", workers=2) as server:
        for _ in range(12):  # by several connections, so that both workers get some
            fetch(server, "/files/tools/a", "/files/tools/a", "/files/tools/none", "/else", "/v2/")
        before = counted(server)
        assert before["files", "2xx"] == 24 and before["files", "4xx"] == 12
        assert before["other", "4xx"] == 12 and before["oci", "2xx"] == 12
        assert counted(server)["other", "2xx"] == before["other", "2xx"] + 1

        old = list(server.server.pids)
        os.kill(old[0], signal.SIGKILL)
        until = time.monotonic() + 60
        while len(server.server.pids) < 2 or set(server.server.pids) == set(old):
            assert time.monotonic() < until
            time.sleep(0.05)
        after = counted(server)
        assert after["files", "2xx"] == 24 and after["files", "4xx"] == 12
    site.close()
