"""The harness itself: it must find each of the classical mistakes."""

import errno
import itertools
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from manifests.durable import Durable, publish_file
from tests.crash.harness import (
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)


def check_note(root: Path, promised: list[str]) -> None:
    note = root / "note"
    assert note.exists() or not promised
    assert not note.exists() or note.read_bytes() in (b"old", b"new" * 100)
    if promised:
        assert note.read_bytes() == b"new" * 100


def right(root: Path, files: Durable) -> None:
    publish_file(files, root / "note", b"new" * 100)
    files.committed("note")


def in_place(root: Path, files: Durable) -> None:
    files.unlink(root / "note")
    with files.create(root / "note") as out:
        out.write(b"new" * 50)
        out.write(b"new" * 50)
        out.sync()
    files.sync_dir(root)
    files.committed("note")


def without_file_sync(root: Path, files: Durable) -> None:
    files.unlink(root / "note.tmp")
    with files.create(root / "note.tmp") as out:
        out.write(b"new" * 100)
    files.rename(root / "note.tmp", root / "note")
    files.sync_dir(root)
    files.committed("note")


def without_folder_sync(root: Path, files: Durable) -> None:
    files.unlink(root / "note.tmp")
    with files.create(root / "note.tmp") as out:
        out.write(b"new" * 100)
        out.sync()
    files.rename(root / "note.tmp", root / "note")
    files.committed("note")


def sync_after_rename(root: Path, files: Durable) -> None:
    files.unlink(root / "note.tmp")
    with files.create(root / "note.tmp") as out:
        out.write(b"new" * 100)
        files.rename(root / "note.tmp", root / "note")
        out.sync()
    files.sync_dir(root)
    files.committed("note")


def old_note(root: Path) -> None:
    (root / "note").write_bytes(b"old")


def test_a_right_scenario_passes_every_trial(tmp_path: Path) -> None:
    scenario = Scenario(right, check_note, old_note)
    assert kill_at_each(scenario, tmp_path) == 7
    assert cut_power_at_each(scenario, tmp_path) == 8 * 6
    assert assert_every_sync_needed(scenario, tmp_path) == 2
    assert fail_at_each(scenario, tmp_path, errno.EIO) == 6
    assert fail_at_each(scenario, tmp_path, errno.ENOSPC, lasting=True) == 6


@pytest.mark.parametrize("run", [without_file_sync, without_folder_sync, sync_after_rename])
def test_a_power_cut_finds_a_missing_or_late_fsync(
    tmp_path: Path, run: Callable[[Path, Durable], None]
) -> None:
    scenario = Scenario(run, check_note, old_note)
    kill_at_each(scenario, tmp_path)  # a kill alone cannot see it
    with pytest.raises(AssertionError):
        cut_power_at_each(scenario, tmp_path)


def test_a_kill_finds_writing_in_place(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        kill_at_each(Scenario(in_place, check_note), tmp_path)


def test_a_superfluous_fsync_is_named(tmp_path: Path) -> None:
    def twice(root: Path, files: Durable) -> None:
        files.sync_dir(root)
        right(root, files)

    scenario = Scenario(twice, check_note)
    with pytest.raises(AssertionError, match=r"operation 0: sync_dir .*, turn 1"):
        assert_every_sync_needed(scenario, tmp_path)
    assert assert_every_sync_needed(scenario, tmp_path, lambda op, turn: turn == 1) == 1


def test_a_swallowed_refusal_is_found(tmp_path: Path) -> None:
    def careless(root: Path, files: Durable) -> None:
        try:
            right(root, files)
        except Exception:  # noqa: BLE001
            files.committed("pretended")

    with pytest.raises(AssertionError, match="not reported"):
        fail_at_each(Scenario(careless, lambda root, promised: None), tmp_path, errno.EIO)


def test_a_run_may_need_an_operation_less_than_the_recorded_one(tmp_path: Path) -> None:
    runs = itertools.count()

    def run(root: Path, files: Durable) -> None:
        files.mkdir(root / "always")
        if next(runs) == 0:
            files.mkdir(root / "sometimes")
        files.committed("folders")

    assert fail_at_each(Scenario(run, lambda root, promised: None), tmp_path, errno.EIO) >= 2


def test_what_another_program_wrote_is_lost_unless_synced(tmp_path: Path) -> None:
    def run(root: Path, files: Durable, sync: bool = True) -> None:
        (root / "fetched").write_bytes(b"new" * 100)
        if sync:
            files.sync_file(root / "fetched")
        files.rename(root / "fetched", root / "note")
        files.sync_dir(root)
        files.committed("note")

    scenario = Scenario(run, check_note, old_note)
    cut_power_at_each(scenario, tmp_path)
    assert assert_every_sync_needed(scenario, tmp_path) == 2
    with pytest.raises(AssertionError):
        cut_power_at_each(
            Scenario(lambda root, files: run(root, files, False), check_note, old_note), tmp_path
        )


def database(root: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(root / "ledger.db")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY)")
    connection.commit()
    return connection


def check_ledger(root: Path, promised: list[str]) -> None:
    with closing(database(root)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM notes")]
    assert set(promised) <= set(names)
    for name in names:
        assert (root / name).read_bytes() == b"new" * 100


def with_ledger(root: Path, files: Durable, file_first: bool) -> None:
    def file(name: str) -> None:
        publish_file(files, root / name, b"new" * 100)

    def commit(name: str) -> None:
        with closing(database(root)) as connection:
            connection.execute("INSERT OR IGNORE INTO notes VALUES (?)", (name,))
            connection.commit()
        files.committed(name)

    for name in ("one", "two"):
        for act in (file, commit) if file_first else (commit, file):
            act(name)


def test_the_database_is_as_new_as_the_last_commit(tmp_path: Path) -> None:
    scenario = Scenario(
        lambda root, files: with_ledger(root, files, True),
        check_ledger,
        lambda root: database(root).close(),
        databases=("ledger.db",),
    )
    kill_at_each(scenario, tmp_path)
    cut_power_at_each(scenario, tmp_path)
    assert assert_every_sync_needed(scenario, tmp_path) == 4


def test_a_commit_before_its_file_is_found(tmp_path: Path) -> None:
    scenario = Scenario(
        lambda root, files: with_ledger(root, files, False),
        check_ledger,
        databases=("ledger.db",),
    )
    with pytest.raises(FileNotFoundError):
        kill_at_each(scenario, tmp_path)
    with pytest.raises(FileNotFoundError):
        cut_power_at_each(scenario, tmp_path)
