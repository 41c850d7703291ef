"""Wants on their way into the ledger, also when it cannot be written."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.errors import BlobMissing, LedgerDamaged, StoreBusy, StoreError, WrongVersion
from repo_server import Miss
from sluice import noting
from sluice.noting import Notebook, is_read_only
from store.ledger import Ledger
from store.seam import Seam

LIB = Miss("maven", "central", "org.example:lib:1")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger.open(tmp_path / "ledger.sqlite", Seam())
    yield made
    made.close()


def kept(ledger: Ledger) -> dict[tuple[str, str], int]:
    with ledger.read() as tx:
        return {(each.repository, each.what): each.count for each in tx.wants()}


def opener(ledger: Ledger, tmp_path: Path) -> Ledger:
    return Ledger.open(tmp_path / "ledger.sqlite", Seam())


def test_batches_reach_the_ledger(ledger: Ledger, tmp_path: Path) -> None:
    said: list[str] = []
    # The first batch waits for nothing, so that whoever looks finds what just failed.
    notebook = Notebook(lambda: opener(ledger, tmp_path), (), pause=60, say=said.append)
    notebook.note([(LIB, 2)])
    until = time.monotonic() + 60
    while not kept(ledger) and time.monotonic() < until:
        time.sleep(0.02)
    assert kept(ledger) == {("central", LIB.want): 2}
    notebook.note([(LIB, 1)])
    notebook.close()  # what is left is written, too
    assert kept(ledger) == {("central", LIB.want): 3}
    assert said == []


def test_it_closes_also_when_a_miss_was_just_seen(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared = threading.Event()
    notebook = Notebook(lambda: opener(ledger, tmp_path), (), pause=60)
    real = notebook._fresh.clear

    def clear() -> None:
        notebook._stop.set()  # as `close` does, in this very moment
        notebook._fresh.set()
        real()
        cleared.set()

    monkeypatch.setattr(notebook._fresh, "clear", clear)
    notebook.note([(LIB, 1)])
    assert cleared.wait(60)
    notebook._thread.join(60)
    assert not notebook._thread.is_alive()
    notebook.close()
    assert kept(ledger) == {("central", LIB.want): 1}


def test_what_is_ignored_or_no_plain_line_is_never_noted(ledger: Ledger, tmp_path: Path) -> None:
    notebook = Notebook(lambda: opener(ledger, tmp_path), ("com.corp*",), pause=60)
    wants = ("com.corp.app:x:1", "COM/Corp/app", "", "a\nb", "x" * 2000, "org.example:y:1")
    notebook.note([(Miss("maven", "central", want), 1) for want in wants])
    notebook.close()
    assert kept(ledger) == {("central", "org.example:y:1"): 1}


def test_a_ledger_that_is_busy_loses_nothing(ledger: Ledger, tmp_path: Path) -> None:
    said: list[str] = []
    fails = threading.Event()

    def open_ledger() -> Ledger:
        if not fails.is_set():
            fails.set()
            raise StoreBusy("another process has been writing")
        return opener(ledger, tmp_path)

    notebook = Notebook(open_ledger, (), pause=0.05, say=said.append)
    notebook.note([(LIB, 2)])
    assert fails.wait(60)
    notebook.note([(LIB, 1)])
    notebook.close()
    assert kept(ledger) == {("central", LIB.want): 3}
    assert said == ["wants cannot be written down now: another process has been writing"]


def test_without_a_ledger_wants_are_counted_and_said_at_the_end() -> None:
    said: list[str] = []
    notebook = Notebook(None, (), say=said.append)
    notebook.note([(LIB, 2), (Miss("files", "tools", "a b"), 1)])
    notebook.note([(LIB, 1)])
    notebook.close()
    assert said == [
        "2 wants could not be written down, among them:",
        "  central org.example:lib:1 (3)",
        "  tools a%20b (1)",
    ]


def test_memory_has_an_end(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "MOST", 2)
    said: list[str] = []
    notebook = Notebook(lambda: opener(ledger, tmp_path), (), pause=60, say=said.append)
    notebook.note([(Miss("maven", "central", f"g:a:{n}"), 1) for n in range(5)])
    notebook.close()
    assert len(kept(ledger)) == 2
    assert said == ["3 misses were too many to be noted"]


def test_only_a_store_that_may_not_be_written_is_served_without_writing() -> None:
    for error in (
        PermissionError(13, "Permission denied"),
        StoreError("the file system is read-only"),
        StoreError("the ledger failed: attempt to write a readonly database"),
        StoreError("the ledger failed: permission denied for table meta"),
    ):
        assert is_read_only(error)
    for other in (
        WrongVersion("the ledger has version 9"),
        LedgerDamaged("read-only nonsense"),
        BlobMissing("x"),
        StoreError("there is no store here"),
        FileNotFoundError(2, "No such file"),
    ):
        assert not is_read_only(other)
