"""Figures for Prometheus: what promtool takes, and what an operator would look at."""

from __future__ import annotations

import re
from pathlib import Path

from manifests.state import parse_time
from sluice.cli import main
from store.store import Store
from tests.support import tools
from tests.support.drive import Inside, Outside, Upstream, Zone, noise, pair


def checked(text: str) -> dict[str, int]:
    """Series and value of each sample, after promtool's opinion."""
    done = tools.run([tools.need("promtool"), "check", "metrics"], stdin=text.encode())
    assert done.stdout + done.stderr == ""
    found = re.findall(r"^(sluice_\w+(?:\{.*\})?) (-?\d+)$", text, re.MULTILINE)
    assert len(found) == sum(not line.startswith("#") for line in text.splitlines())
    return {series: int(value) for series, value in found}


def measured(zone: Zone) -> dict[str, int]:
    return checked(zone.sluice("metrics").out)


def halfway(tmp_path: Path) -> tuple[Outside, Inside]:
    """Bundle 1 is inside, of bundle 2 a part is lost."""
    files = {f"f{n:02}": noise(n, 17_000 + n) for n in range(8)}
    upstream = Upstream(tmp_path / "vendor", files)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB")
    inside.receive(*out.cycle())
    upstream.write({f"f{n:02}": noise(100 + n, 17_000) for n in range(8)})
    parts = out.cycle()
    assert len(parts) > 2
    inside.receive(parts[0], *parts[2:], expect=3)
    return out, inside


def test_both_zones_measure_what_went_and_what_is_missing(tmp_path: Path) -> None:
    out, inside = halfway(tmp_path)
    with Store.open(inside.folder) as store, store.ledger.write() as tx:
        tx.add_wants([("tools", 'odd "name"', 3)])
    there, here = measured(out), measured(inside)
    assert there['sluice_stream_step_sequence{stream="hq",step="sent"}'] == 2
    assert there['sluice_repository_serial{repository="tools",state="snapshot"}'] == 2
    assert there['sluice_repository_files{repository="tools",state="snapshot"}'] == 8
    assert there['sluice_stream_bundle_bytes{stream="hq"}'] > 100_000
    assert here['sluice_stream_sequence{stream="hq"}'] == 2
    assert here['sluice_stream_step_sequence{stream="hq",step="imported"}'] == 1
    assert here['sluice_stream_missing_parts{stream="hq"}'] == 1
    assert here['sluice_stream_incomplete_bundles{stream="hq"}'] == 1
    assert here['sluice_repository_serial{repository="tools",state="publication"}'] == 1
    assert here['sluice_repository_wants{repository="tools"}'] == 1
    assert here['sluice_holds{kind="incomplete",stream="hq",repository="tools"}'] == 1
    assert here["sluice_store_free_bytes"] > 0
    status = inside.status()
    taken = status["streams"]["hq"]["imported"]["time"]
    seconds = here['sluice_stream_step_timestamp_seconds{stream="hq",step="imported"}']
    assert parse_time(taken).timestamp() == seconds


def test_a_file_is_replaced_at_once_and_readable_for_the_exporter(tmp_path: Path) -> None:
    main(["init", "outside", str(tmp_path / "OUT"), "--stream", "hq"])
    file = tmp_path / "sluice.prom"
    file.write_text("old")
    before = file.stat().st_ino
    assert main(["-z", str(tmp_path / "OUT"), "metrics", str(file)]) == 0
    assert checked(file.read_text())['sluice_stream_sequence{stream="hq"}'] == 0
    assert file.stat().st_ino != before and file.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.glob("*.prom*")] == ["sluice.prom"]
