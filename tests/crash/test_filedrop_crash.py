"""The file drop under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cds.aside import REASON
from cds.filedrop import FileInbox, FileOutbox
from manifests.durable import Durable
from manifests.zone import After, PartNames, Retain
from store.seam import Kind, Operation, Seam
from tests.crash.disk import Keep
from tests.crash.harness import (
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
    record,
)
from tests.support.filedrop import NOW, age, visible

NAMES = PartNames(prefix="hq-", suffix=".tar", done_marker=".done")
DATA = b"a part of a bundle " * 100


def _outlet(root: Path, files: Durable) -> FileOutbox:
    return FileOutbox(files, root / "outbox", names=NAMES, retain=Retain(age=10.0))


def _send(root: Path, files: Durable) -> None:
    """Offer a part that some other program packed, and that nobody fsynced."""
    part = root / "part"
    if not part.exists() or part.read_bytes() != DATA:
        part.write_bytes(DATA)
    _outlet(root, files).offer("one", part)
    files.committed("sent")


def _check_sent(root: Path, promised: list[str]) -> None:
    shown = visible(root / "outbox")
    assert shown in ([], ["hq-one.tar"], ["hq-one.tar", "hq-one.tar.done"])
    if shown:
        assert (root / "outbox" / "hq-one.tar").read_bytes() == DATA
    if promised:
        assert shown == ["hq-one.tar", "hq-one.tar.done"]


def _empty_outbox(root: Path) -> None:
    (root / "outbox").mkdir()


SEND = Scenario(_send, _check_sent, _empty_outbox)


def _expire(root: Path, files: Durable) -> None:
    _outlet(root, files).expire(100.0, {"one": 0.0})
    files.committed("expired")


def _check_expired(root: Path, promised: list[str]) -> None:
    # A power cut may take back one of two removals; the next run ends what is left.
    part = root / "outbox" / "hq-one.tar"
    assert not part.exists() or part.read_bytes() == DATA
    if promised:
        assert visible(root / "outbox") == []


def _full_outbox(root: Path) -> None:
    _empty_outbox(root)
    _send(root, Seam())


EXPIRE = Scenario(_expire, _check_expired, _full_outbox)


def _inlet(root: Path, files: Durable) -> FileInbox:
    return FileInbox(
        files, root / "inbox", root / "quarantine", after=After.MOVE, done=root / "done"
    )


def _arrived(root: Path) -> None:
    (root / "inbox").mkdir()
    (root / "inbox" / "part").write_bytes(DATA)
    age(root / "inbox" / "part", 100)


def _refuse(root: Path, files: Durable) -> None:
    inlet = _inlet(root, files)
    for arrival in inlet.arrivals(NOW):
        inlet.quarantine(arrival, "bad")
    files.committed("aside")


def _keep(root: Path, files: Durable) -> None:
    inlet = _inlet(root, files)
    for arrival in inlet.arrivals(NOW):
        inlet.finish(arrival)
    files.committed("done")


def _check_not_lost(root: Path, promised: list[str]) -> None:
    """The bytes are in the inbox, or aside with all that belongs to them."""
    folders = [root / each for each in ("inbox", "quarantine", "done")]
    found = [
        path
        for folder in folders
        if folder.exists()
        for path in folder.iterdir()
        if not path.name.startswith(".") and not path.name.endswith(REASON)
    ]
    assert found
    for path in found:
        assert path.read_bytes() == DATA
        if path.parent.name == "quarantine":
            assert path.with_name(path.name + REASON).read_text() == "part: bad\n"
    if promised:
        aside = "quarantine" if promised == ["aside"] else "done"
        assert [path for path in found if path.parent.name == aside]


REFUSE = Scenario(_refuse, _check_not_lost, _arrived)
KEEP = Scenario(_keep, _check_not_lost, _arrived)
ALL = pytest.mark.parametrize(
    "scenario", [SEND, EXPIRE, REFUSE, KEEP], ids=["send", "expire", "refuse", "keep"]
)


@ALL
def test_a_kill_at_each_operation_harms_nothing(scenario: Scenario, tmp_path: Path) -> None:
    assert kill_at_each(scenario, tmp_path) >= 3


@ALL
def test_a_power_cut_at_each_operation_harms_nothing(scenario: Scenario, tmp_path: Path) -> None:
    assert cut_power_at_each(scenario, tmp_path) >= 15


@ALL
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_refused_operation_harms_nothing(scenario: Scenario, tmp_path: Path, code: int) -> None:
    assert fail_at_each(scenario, tmp_path, code) >= 3


def _spare(operation: Operation, turn: int) -> bool:
    # The staging folder holds nothing that must survive; its parent is synced for nothing.
    # The first fsyncs of the others put names in order, which has a test of its own below.
    first = operation.path.name in ("outbox", "quarantine") and turn == 1
    return operation.kind is Kind.SYNC_DIR and (operation.path.name == "record" or first)


def _only_first(operation: Operation, turn: int) -> bool:
    return _spare(operation, turn) and operation.path.name != "record"


def test_every_fsync_of_sending_is_needed(tmp_path: Path) -> None:
    # The part's bytes, both names.
    assert assert_every_sync_needed(SEND, tmp_path, _spare) == 2


def test_every_fsync_of_expiring_is_needed(tmp_path: Path) -> None:
    assert assert_every_sync_needed(EXPIRE, tmp_path) == 1


def test_every_fsync_of_putting_aside_is_needed(tmp_path: Path) -> None:
    # The folder's own name, the reason's bytes, both names.
    assert assert_every_sync_needed(REFUSE, tmp_path, _only_first) == 3
    assert assert_every_sync_needed(KEEP, tmp_path) == 2


@pytest.mark.parametrize(
    ("scenario", "folder"), [(SEND, "outbox"), (REFUSE, "quarantine")], ids=["send", "refuse"]
)
def test_the_fsync_between_two_names_keeps_their_order(
    scenario: Scenario, folder: str, tmp_path: Path
) -> None:
    """Without it, a marker could outlive its part, or a bad file its reason."""
    recording = record(scenario, tmp_path / "record")
    between = next(
        number
        for number, op in enumerate(recording.operations)
        if op.kind is Kind.SYNC_DIR and op.path.name == folder
    )
    last = max(n for n, op in enumerate(recording.operations) if op.kind is Kind.RENAME) + 1
    broken = 0
    for seed in range(24):
        for without in (None, between):
            root = recording.rebuild(
                tmp_path / f"{seed}-{without}", last, Keep.SOME, seed, without=without
            )
            try:
                scenario.check(root, recording.promised(last))
            except (AssertionError, OSError):
                assert without is not None
                broken += 1
    assert broken
