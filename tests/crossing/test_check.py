"""`sluice check` on real zones: what is broken is named with its remedy, the rest is well."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.conftest import RsyncdFactory
from tests.support.loopback import WebServer
from tests.support.zones import Zones


class _Answers(BaseHTTPRequestHandler):
    """The first segment of a path is the status that is answered."""

    def do_GET(self) -> None:
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Web(WebServer):
    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return _Answers


@pytest.fixture
def web() -> Iterator[str]:
    with _Web() as server:
        yield server.url


def test_every_broken_thing_is_named_with_what_to_do(
    tmp_path: Path, web: str, rsyncd: RsyncdFactory
) -> None:
    (tmp_path / "vendor").mkdir()
    (tmp_path / "vendor" / "file").write_text("x")
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        nobody = free.getsockname()[1]
        upstreams = {
            "local": "file:///no/such/folder/",
            "nobody": f"http://127.0.0.1:{nobody}/",
            "locked": f"{web}/401/",
            "empty": f"{web}/404/",
            "good": f"{web}/200/",
            "daemon": rsyncd({"tools": tmp_path / "vendor"}).url("tools"),
        }
        zones = Zones(
            tmp_path, {name: {"format": "yum", "upstream": url} for name, url in upstreams.items()}
        )
        (key,) = (zones.outside / "keys" / "hq").glob("hq.targets.*.pem")
        key.chmod(0o644)
        shutil.rmtree(zones.outside / "outbox")
        (zones.outside / "spool").mkdir(exist_ok=True)
        (zones.outside / "spool").chmod(0o777)
        said = zones.out("check", expect=3).out
    bad = [line for line in said.splitlines() if line.startswith("problem")]
    assert all(" -> " in line for line in bad), said
    for beginning in (
        f"keys: {key}: others may read this private key",
        f"carriers: {zones.outside / 'outbox'}: there is no such folder",
        f"owners: {zones.outside / 'spool'}: everybody may write to it",
        "upstreams: local: file:///no/such/folder/: it is not there",
        f"upstreams: nobody: http://127.0.0.1:{nobody}/: no answer",
        f"upstreams: locked: {web}/401/: it does not let us in (status 401)",
        f"upstreams: empty: {web}/404/: it has no repodata/repomd.xml",
    ):
        assert any(line[8:].startswith(beginning) for line in bad), (beginning, said)
    assert len(bad) == 7, said
    assert f"ok      upstreams: good: {web}/200/: it answers (status 200)" in said
    assert "the daemon answers" in said
    # Repaired, and without asking anybody:
    key.chmod(0o600)
    (zones.outside / "outbox").mkdir()
    (zones.outside / "spool").chmod(0o755)
    said = zones.out("check", "--offline").out
    assert "problem" not in said.replace("0 problems", "") and "upstreams" not in said
    assert not [path for path in zones.outside.iterdir() if path.name.startswith(".check-")]


def test_an_inside_whose_ledger_is_gone_is_told_the_rest_too(tmp_path: Path) -> None:
    zones = Zones(tmp_path, {}, inside={"require": {"x": {"signed_by": "keys/none.asc"}}})
    said = zones.within("check", "--json", expect=3)
    found = json.loads(said.out)
    assert (found["version"], found["zone"], found["level"]) == (1, "inside", "problem")
    (bad,) = [one for one in found["findings"] if one["level"] == "problem"]
    assert bad["check"] == "keys" and bad["where"].endswith("keys/none.asc") and bad["remedy"]
    zones.configure_inside()
    assert zones.within("check").out.endswith("all is well\n")
    (zones.inside / "ledger.sqlite").write_bytes(b"not a database" * 100)
    for name in ("-wal", "-shm"):
        (zones.inside / f"ledger.sqlite{name}").unlink(missing_ok=True)
    said = zones.within("check", expect=3)
    assert "problem ledger: " in said.out
    assert "ok      carriers: " in said.out and "ok      keys: hq: root version 1" in said.out
