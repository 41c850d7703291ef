"""Zones whose ledger an older version wrote: refused, brought up to date, and back."""

from __future__ import annotations

import fcntl
import hashlib
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from manifests import canonical
from store.ledger import schema
from tests.support.drive import Upstream, Zone, pair
from tests.support.oldledger import make_old

NEWEST = schema.SCHEMA_VERSION


@pytest.fixture(params=["sqlite", "postgresql"])
def zones(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Zone, Zone]:
    """An outside and an inside after a crossing; the inside's ledger is of version 1."""
    upstream = Upstream(tmp_path / "vendor", {"a": b"first"})
    out, inside = pair(tmp_path, {"tools": upstream})
    where: str | Path = inside.folder / "ledger.sqlite"
    if request.param == "postgresql":
        where = str(request.getfixturevalue("postgres_url"))
        # Nobody has to think of backslashes in a connection's words.
        where = where.replace("postgresql+psycopg://", "postgresql://")
        inside.common["ledger"] = where
        inside.configure()
    inside.receive(*out.cycle())
    make_old(where)
    upstream.write({"a": b"second"})
    return out, inside


def test_an_older_zone_is_upgraded_and_can_go_back(zones: tuple[Zone, Zone]) -> None:
    out, inside = zones
    for words in (["status"], ["receive", "--once"], ["gc"], ["serve"]):
        refused = inside.sluice(*words, expect=1).err
        assert "has version 1" in refused
        assert "sluice -z DIR upgrade" in refused
    said = inside.sluice("upgrade", "--dry-run").out
    assert "version 1 to 2" in said
    assert not (inside.folder / "upgrades").exists()

    with (inside.folder / "locks" / "receive-hq.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is running already" in inside.sluice("upgrade", expect=1).err
    said = inside.sluice("upgrade").out
    copy = inside.folder / "upgrades" / f"1-ledger-1-to-{NEWEST}"
    assert f"upgrade --back {copy}" in said
    assert (copy / "zone.yaml").read_bytes() == (inside.folder / "zone.yaml").read_bytes()
    assert copy.stat().st_mode & 0o077 == 0
    with (inside.folder / "locks" / "store.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert f"ledger {NEWEST}: up to date" in inside.sluice("upgrade").out
    assert inside.content("tools") == {"a": b"first"}
    inside.sluice("events", "--verify")
    [event] = inside.events("upgraded")
    assert event["detail"] == {"after": NEWEST, "before": 1, "copy": copy.name}
    inside.receive(*out.cycle())
    assert inside.content("tools") == {"a": b"second"}

    said = inside.sluice("upgrade", "--back", copy).out
    assert "version 1 again" in said
    assert "bundles have passed" in said
    assert "has version 1" in inside.sluice("status", expect=1).err
    inside.sluice("upgrade")
    assert inside.content("tools") == {"a": b"first"}
    # The high-water mark has a second place: the bundle is asked for, and not taken as new.
    assert "restored" in inside.receive(expect=3).err


def test_what_cannot_be_upgraded_is_refused(tmp_path: Path) -> None:
    out, _ = pair(tmp_path, {"tools": Upstream(tmp_path / "vendor", {"a": b"x"})})
    ledger = out.folder / "ledger.sqlite"

    def version(number: int) -> None:
        with closing(sqlite3.connect(ledger)) as database, database:
            database.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [number])

    for number, remedy in ((NEWEST + 1, "install the newer Sluice"), (0, "cannot upgrade it")):
        version(number)
        for words in (["status"], ["upgrade"], ["upgrade", "--dry-run"]):
            assert remedy in out.sluice(*words, expect=1).err
    version(NEWEST)
    (out.folder / "VERSION").write_text("2\n")
    for word in ("status", "upgrade"):
        assert "install the newer Sluice" in out.sluice(word, expect=1).err
    (out.folder / "VERSION").write_text("1\n")
    make_old(ledger)
    out.sluice("upgrade")
    copy = next((out.folder / "upgrades").iterdir())
    (copy / "ledger.sqlite").write_bytes(b"something else")
    assert "not what was saved" in out.sluice("upgrade", "--back", copy, expect=1).err
    assert "no whole copy" in out.sluice("upgrade", "--back", tmp_path, expect=1).err
    out.sluice("status")


def test_a_backup_of_an_older_version_is_restored_as_one_of_this(tmp_path: Path) -> None:
    out, _ = pair(tmp_path, {"tools": Upstream(tmp_path / "vendor", {"a": b"x"})})
    out.sluice("sync")
    saved = tmp_path / "saved"
    out.sluice("backup", saved)
    # What an older version would have put there.
    make_old(saved / "ledger.sqlite")
    marker, old = saved / "BACKUP", (saved / "ledger.sqlite").read_bytes()
    _replace_digest(marker, old)
    new = Zone(tmp_path / "new")
    said = new.sluice("restore", saved).out
    assert "ledger version 1 -> 2" in said
    assert new.status()["repositories"]["tools"]["snapshot"]["serial"] == 1


def _replace_digest(marker: Path, ledger: bytes) -> None:
    values = json.loads(marker.read_bytes())
    values["ledger"] = hashlib.sha256(ledger).hexdigest()
    marker.write_bytes(canonical.dumps(values))
