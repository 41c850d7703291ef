"""What an operator is told when the ledger cannot be opened."""

import sqlite3
from pathlib import Path

import pytest

from manifests import errors
from store.ledger import Ledger, connect
from store.seam import Seam


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(errors.StoreError) as caught:
        Ledger.open_read_only(tmp_path / "ledger.sqlite")
    assert "check that the file is there" in caught.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"some text that is surely not a database\n" * 100)
    with pytest.raises(errors.LedgerDamaged, match="not a database"):
        Ledger.open(path, Seam())


@pytest.mark.parametrize(
    "url", ["mysql://x/y", "sqlite://", "sqlite:///:memory:", "://", "postgresql+nope://x/y"]
)
def test_addresses_that_cannot_be(url: str) -> None:
    with pytest.raises(errors.ConfigError):
        Ledger.open(url, Seam())


def test_a_dead_server_is_named_without_its_password() -> None:
    with pytest.raises(errors.StoreError) as caught:
        Ledger.open("postgresql://kim@127.0.0.1:1/x", Seam(), password="very-secret")
    assert "127.0.0.1:1" in str(caught.value)
    assert "very-secret" not in str(caught.value) + caught.value.remedy


def test_a_writer_that_waits_too_long_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connect, "BUSY_SECONDS", 0.1)
    ledger = Ledger.open(tmp_path / "ledger.sqlite", Seam())
    other = sqlite3.connect(tmp_path / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(errors.StoreBusy), ledger.write():
        pass
    with ledger.read() as tx:
        assert tx.generation() == 0
    other.execute("ROLLBACK")
    with ledger.write() as tx:
        tx.bump_generation()
    other.close()
    ledger.close()


def test_sqlite_keeps_what_it_commits(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "ledger.sqlite", Seam())
    with ledger.write() as tx:
        pragma = tx._connection.exec_driver_sql
        assert pragma("PRAGMA journal_mode").scalar() == "wal"
        assert pragma("PRAGMA synchronous").scalar() == 2  # FULL
    ledger.close()


def test_somebody_elses_ledger_and_a_full_disk_are_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "ledger.sqlite"
    path.touch()
    with pytest.raises(errors.StoreError, match="readonly") as caught:
        connect.refuse(
            sqlite3.OperationalError("attempt to write a readonly database"), f"sqlite:///{path}"
        )
    assert f"sudo -u {path.owner()} sluice" in caught.value.remedy
    broken = sqlite3.OperationalError("disk I/O error")
    with pytest.raises(errors.StoreError) as caught:
        connect.refuse(broken, f"sqlite:///{path}")
    assert "kernel log" in caught.value.remedy
    monkeypatch.setattr(connect, "_LITTLE", 1 << 62)
    with pytest.raises(errors.NoSpace) as caught:
        connect.refuse(broken, f"sqlite:///{path}")
    assert "free space" in caught.value.remedy
