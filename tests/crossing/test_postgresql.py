"""The whole path with both ledgers in PostgreSQL."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.drive import Upstream, noise, pair
from tests.support.postgres import Postgres


@pytest.fixture
def databases(postgres: Postgres) -> Callable[[], str]:
    return lambda: postgres.create().replace("postgresql+psycopg://", "postgresql://")


def test_the_whole_path_on_postgresql(tmp_path: Path, databases: Callable[[], str]) -> None:
    files = {f"d/f{n}": noise(n, 12_000) for n in range(12)}
    upstream = Upstream(tmp_path / "vendor", files)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB", resend_window=1)
    for zone in (out, inside):
        zone.common["ledger"] = databases()
        zone.configure()
    parts = out.cycle()
    inside.bring(parts[:2], rename=random.Random(1))
    inside.receive(expect=3)
    inside.receive(*parts)
    assert inside.content("tools") == upstream.files()
    upstream.write({"new": b"new"})
    out.cycle()
    upstream.write({"newer": b"newer"})
    upstream.remove("d/f0")
    assert "never arrived: bundle 2" in inside.receive(*out.cycle()).err
    assert inside.content("tools") == upstream.files()
    assert inside.digest() == out.digest()
    assert inside.status()["streams"]["hq"]["imported"]["sequence"] == 3
    inside.sluice("rollback", "tools", 1)
    assert inside.content("tools") == files
    with inside.server("--workers", 2) as server:
        assert server.get("/files/tools/d/f0").body == files["d/f0"]
        inside.sluice("rollback", "tools", 3)
        server.wait("/files/tools/newer", b"newer")
        assert server.get("/files/tools@1/d/f0").body == files["d/f0"]
    for zone in (out, inside):
        zone.sluice("gc")
        zone.sluice("verify")
        zone.sluice("events", "--verify")
