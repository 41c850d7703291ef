"""The TCP carrier's write path under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
import random
from pathlib import Path

import pytest

from cds.filedrop import FileInbox
from cds.tcp.frames import Frame
from cds.tcp.landing import INCOMING, Field, Landing
from manifests.durable import Durable
from manifests.errors import SluiceError
from store.seam import Kind, Operation, Seam
from tests.crash.harness import (
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)
from tests.support.tcp import decode, part_frames

DATA = random.Random(3).randbytes(5000)
STREAM = b"".join(part_frames("one.tar", DATA, size=2048))


def _once(root: Path, files: Durable) -> None:
    _land(root, files, STREAM)


def _twice(root: Path, files: Durable) -> None:
    _land(root, files, STREAM + STREAM)


def _land(root: Path, files: Durable, stream: bytes) -> None:
    """What a connection does: prepare, land a part, promise it."""
    told: list[SluiceError] = []
    field = Field(files, root / "in", 1 << 20, 0)
    field.prepare()
    landing = Landing(field, "1", told.append)
    for found in decode(stream):
        assert isinstance(found, Frame)
        landing.take(found)
    if told:
        raise told[0]
    files.committed("landed")


def _check(root: Path, promised: list[str]) -> None:
    """An inbox shows the whole part or nothing, whatever lies half-way beside it."""
    inbox = root / "in"
    shown = []
    if inbox.exists():
        plain = FileInbox(Seam(), inbox, root / "quarantine", settle=0.0)
        shown = list(plain.arrivals(4e9))
    for arrival in shown:
        assert arrival.name.startswith("one.tar.")
        assert arrival.path.read_bytes() == DATA
    assert len(shown) <= 1
    if promised:
        assert len(shown) == 1


ONCE = Scenario(_once, _check)
TAKE = Scenario(_twice, _check)


def test_a_kill_at_each_operation_harms_nothing(tmp_path: Path) -> None:
    assert kill_at_each(TAKE, tmp_path) >= 10


def test_a_power_cut_at_each_operation_harms_nothing(tmp_path: Path) -> None:
    assert cut_power_at_each(TAKE, tmp_path) >= 50


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("lasting", [False, True])
def test_a_refused_operation_harms_nothing(code: int, lasting: bool, tmp_path: Path) -> None:
    # To remove a second copy may fail: the next part's beginning does it then.
    assert fail_at_each(ONCE, tmp_path, code, lasting=lasting) >= 8


def _spare(operation: Operation, turn: int) -> bool:
    # The first fsync of the folder keeps only the sub-folder, which holds nothing that must stay.
    return operation.kind is Kind.SYNC_DIR and operation.path.name == "in" and turn == 1


def test_every_fsync_is_needed(tmp_path: Path) -> None:
    # The folder's own name, the part's bytes, the part's name.
    assert assert_every_sync_needed(TAKE, tmp_path, _spare) == 3


def test_leftovers_do_not_pile_up(tmp_path: Path) -> None:
    kill_at_each(TAKE, tmp_path)
    assert not list((tmp_path / "kill" / "in" / INCOMING).iterdir())
