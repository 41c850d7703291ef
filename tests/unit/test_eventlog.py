"""Archived events: the chain goes on through them, and nothing of them can be taken away."""

from __future__ import annotations

import gzip
from datetime import timedelta
from pathlib import Path

import pytest

from manifests.errors import LedgerDamaged
from sluice.auditing import export_events
from store.eventlog import archive_events, every_event, verify_log
from store.gc import collect
from store.store import Store
from store.verify import Kind, verify
from tests.support.clock import NOON, Clock

YEAR = timedelta(days=365)


def write(store: Store, count: int) -> None:
    with store.ledger.write() as tx:
        for number in range(count):
            tx.event("tried", "hq", "näme", number=number, items=["a", "b"])


def exported(store: Store, file: Path) -> bytes:
    with store.ledger.read() as tx:
        export_events(store, tx, store.files, file)
    return file.read_bytes()


def test_old_events_go_by_blocks_and_the_log_stays_one(
    store: Store, clock: Clock, tmp_path: Path
) -> None:
    write(store, 7)
    before = exported(store, tmp_path / "log")
    clock.time += YEAR
    write(store, 5)
    assert archive_events(store, NOON + timedelta(days=1), block=3) == 6
    assert archive_events(store, NOON + timedelta(days=1), block=3) == 0  # the 7th fills no block
    with store.ledger.read() as tx:
        assert [event.seq for event in tx.events()] == list(range(7, 15))
        assert verify_log(store, tx) == 14
        assert [event.seq for event in every_event(store, tx)] == list(range(1, 15))
        assert [event.kind for event in tx.last_events(2)] == ["events.archived"] * 2
    after = exported(store, tmp_path / "log")
    assert after.startswith(before) and after.count(b"\n") == 14
    collect(store)
    assert verify(store).sound


def test_a_lost_or_altered_archive_is_found(store: Store, clock: Clock, tmp_path: Path) -> None:
    write(store, 6)
    clock.time += YEAR
    archive_events(store, clock.time, block=3)
    good = exported(store, tmp_path / "log")
    with store.ledger.read() as tx:
        _, second = tx.event_archives()
    path = store.blobs.path(second.blob)
    data = path.read_bytes()
    for change in (b"not gzip", gzip.compress(good.splitlines(True)[3]), data[:-9], None):
        path.unlink(missing_ok=True)
        if change is not None:
            path.write_bytes(change)
        found = verify(store)
        assert found.counts[Kind.EVENTS] == 1
        assert "archived events 4 to 6" in str(found.findings)
        with store.ledger.read() as tx, pytest.raises(LedgerDamaged, match="archived events 4"):
            export_events(store, tx, store.files, tmp_path / "log")
    assert (tmp_path / "log").read_bytes() == good
    path.write_bytes(data)
    assert verify(store).sound


def test_what_was_altered_before_is_not_archived(store: Store, clock: Clock) -> None:
    write(store, 3)
    with store.ledger.write() as tx:
        tx._connection.exec_driver_sql("UPDATE events SET actor = 'nobody' WHERE seq = 2")
    clock.time += YEAR
    with pytest.raises(LedgerDamaged, match="event 2"):
        archive_events(store, clock.time, block=3)
    with store.ledger.read() as tx:
        assert len(tx.events()) == 3 and tx.event_archives() == []
