"""The exported audit log: the document is enough to check it; a broken one is not written."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from pathlib import Path

from tests.support.drive import Outside, Upstream


def chained(text: bytes) -> str:
    """Check the lines as docs/operations.md says; the last digest."""
    previous = "0" * 64
    for number, line in enumerate(text.splitlines(), 1):
        event = json.loads(line)
        digest = event.pop("digest")
        assert (event["seq"], event.pop("previous")) == (number, previous)
        rest = json.dumps(event, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256((previous + rest).encode()).hexdigest() == digest
        previous = digest
    return previous


def test_an_export_can_be_checked_alone_and_continues_an_older_one(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"name": b"1", "na\u00efve": b"2"})
    out = Outside.make(tmp_path / "OUT", {"tools": upstream})
    out.cycle()
    file = tmp_path / "events.jsonl"
    out.sluice("events", "export", file)
    first = file.read_bytes()
    upstream.write({"name": b"3"})
    out.cycle()
    said = out.sluice("events", "export", file).out
    second = file.read_bytes()
    assert len(first) < len(second) and second.startswith(first)
    assert chained(second) in said
    assert file.stat().st_mode & 0o007 == 0

    with sqlite3.connect(out.folder / "ledger.sqlite") as ledger:
        assert ledger.execute("UPDATE events SET actor = 'other' WHERE seq = 2").rowcount == 1
    refused = out.sluice("events", "export", file, expect=1)
    assert "event 2" in refused.err
    assert file.read_bytes() == second and list(tmp_path.glob(".*")) == []
