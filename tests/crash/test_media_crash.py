"""Writing a volume under kills and power cuts: what is listed is there, whole."""

from __future__ import annotations

import errno
import hashlib
from pathlib import Path

import pytest

from cds.media import Begun, Intake, MediaOutbox
from cds.media.volume import read_label, read_sums
from manifests.durable import Durable
from store.seam import Kind, Operation, Seam
from tests.crash.harness import (
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)

PARTS = {"a.tar": b"first part " * 50, "b.tar": b"second part " * 50}


def _setup(root: Path) -> None:
    (root / "medium").mkdir()
    for name, data in PARTS.items():
        (root / f"spool-{name}").write_bytes(data)


def _write(root: Path, files: Durable) -> None:
    outbox = MediaOutbox(
        files, root / "medium", "hq", 8 << 20, last=Begun(), begun=lambda last: None
    )
    for name in PARTS:
        outbox.offer(name.removesuffix(".tar"), root / f"spool-{name}")
        files.committed(name)
    outbox.close()


def _check(root: Path, promised: list[str]) -> None:
    listed: dict[str, str] = {}
    for folder in (root / "medium").iterdir():
        label = read_label(folder)
        sums = read_sums(folder)
        assert label is not None or not sums, "parts are on a volume that says whose it is"
        listed.update(sums)
        for name, digest in sums.items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
            assert (folder / name).read_bytes() == PARTS[name]
    assert set(promised) <= set(listed)


def _medium(root: Path) -> None:
    _setup(root)
    _write(root, Seam())


def _take(root: Path, files: Durable) -> None:
    Intake(files, root / "medium", root / "inbox", "hq").take({})
    files.committed("taken")


def _check_taken(root: Path, promised: list[str]) -> None:
    there = {}
    if (root / "inbox").exists():
        there = {
            path.name.rpartition(".")[0]: path.read_bytes()
            for path in (root / "inbox").iterdir()
            if path.is_file()
        }
    assert there.items() <= PARTS.items()
    if promised:
        assert there == PARTS


TAKE = Scenario(_take, _check_taken, _medium)
WRITE = Scenario(_write, _check, _setup)


BOTH = pytest.mark.parametrize("scenario", [WRITE, TAKE], ids=["write", "take"])


@BOTH
def test_a_kill_at_each_operation_harms_nothing(scenario: Scenario, tmp_path: Path) -> None:
    assert kill_at_each(scenario, tmp_path) >= 10


@BOTH
def test_a_power_cut_at_each_operation_harms_nothing(scenario: Scenario, tmp_path: Path) -> None:
    assert cut_power_at_each(scenario, tmp_path) >= 50


@BOTH
@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_refused_operation_harms_nothing(scenario: Scenario, code: int, tmp_path: Path) -> None:
    assert fail_at_each(scenario, tmp_path, code) >= 8


def _spare(operation: Operation, turn: int) -> bool:
    # The check file is empty at first. The label at the end only tells that nothing follows;
    # the volume is whole without it. A folder's fsync also keeps the names before it.
    name = operation.path.name
    if operation.kind is Kind.SYNC_DIR:
        return name == "sluice-hq-00001" and turn != 3
    return name == ".SHA256SUMS.tmp" or (name == ".LABEL.txt.tmp" and turn == 2)


def test_every_fsync_is_needed(tmp_path: Path) -> None:
    # The folder's name, the label, each part's bytes, names and line.
    assert assert_every_sync_needed(WRITE, tmp_path, _spare) >= 5


def _spare_taking(operation: Operation, turn: int) -> bool:
    # The folder's first fsync keeps only the sub-folder, the second only what the third does.
    return operation.kind is Kind.SYNC_DIR and operation.path.name == "inbox" and turn < 3


def test_every_fsync_of_taking_is_needed(tmp_path: Path) -> None:
    # The inbox's own name, two parts' bytes, their names.
    assert assert_every_sync_needed(TAKE, tmp_path, _spare_taking) == 4
