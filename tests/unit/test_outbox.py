"""The outbox: what a pick-up can see, when, and what stays behind."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.filedrop import FileOutbox
from manifests import errors
from manifests.zone import PartNames, Retain
from store.seam import Kind, Operation, Seam
from tests.support import scratch
from tests.support.filedrop import visible

MARKED = PartNames(prefix="hq-", suffix=".tar", done_marker=".done")


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


@pytest.fixture
def part(tmp_path: Path) -> Path:
    path = tmp_path / "part"
    path.write_bytes(b"0123456789" * 1000)
    return path


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the test's own."""
    with scratch.elsewhere(tmp_path) as folder:
        yield folder


def test_a_part_on_the_same_file_system_is_linked_not_copied(outbox: Path, part: Path) -> None:
    FileOutbox(Seam(), outbox).offer("one", part)
    assert (outbox / "one").stat().st_ino == part.stat().st_ino


def test_a_part_on_another_file_system_is_copied(outbox: Path, part: Path, elsewhere: Path) -> None:
    shutil.copy(part, elsewhere / "part")
    FileOutbox(Seam(), outbox).offer("one", elsewhere / "part")
    assert (outbox / "one").read_bytes() == part.read_bytes()
    assert not os.listdir(outbox.parent / ".outbox-staging")


def test_an_outbox_on_another_file_system_shows_only_hidden_temporaries(
    part: Path, elsewhere: Path, tmp_path: Path
) -> None:
    shown: set[str] = set()
    files = Seam(lambda _: shown.update(os.listdir(elsewhere)))
    outlet = FileOutbox(files, elsewhere, staging=tmp_path / "staging", names=MARKED)
    outlet.offer("one", part)
    assert (elsewhere / "hq-one.tar").read_bytes() == part.read_bytes()
    assert visible(elsewhere) == sorted(os.listdir(elsewhere)) == ["hq-one.tar", "hq-one.tar.done"]
    assert {name for name in shown if not name.startswith(".")} <= {"hq-one.tar", "hq-one.tar.done"}


def test_files_appear_by_rename_whole_and_synced(outbox: Path, part: Path) -> None:
    done: list[Operation] = []
    FileOutbox(Seam(done.append), outbox, names=MARKED).offer("one", part)
    into = [op for op in done if outbox in (op.path.parent, (op.target or op.path).parent)]
    assert {op.kind for op in into} == {Kind.RENAME}
    steps = [(op.kind, (op.target or op.path).name) for op in done]
    synced = steps.index((Kind.SYNC_FILE, "part"))
    shown = steps.index((Kind.RENAME, "hq-one.tar"))
    durable = steps.index((Kind.SYNC_DIR, "outbox"))
    marked = steps.index((Kind.RENAME, "hq-one.tar.done"))
    assert synced < shown < durable < marked
    assert steps[-1] == (Kind.SYNC_DIR, "outbox")


def test_a_pick_up_that_takes_files_the_moment_they_appear(
    outbox: Path, part: Path, tmp_path: Path
) -> None:
    taken: list[bytes] = []

    def pick_up(_: Operation) -> None:
        for name in visible(outbox):
            taken.append((outbox / name).read_bytes())
            (outbox / name).unlink()

    outlet = FileOutbox(Seam(pick_up), outbox, names=MARKED)
    assert outlet.offer("one", part).size == 10_000
    pick_up(Operation(Kind.COMMITTED, Path()))
    assert taken == [part.read_bytes(), b""]
    assert not outlet.outstanding()


def test_the_marker_is_written_again_if_the_first_try_ended_before_it(
    outbox: Path, part: Path
) -> None:
    os.link(part, outbox / "hq-one.tar")
    assert FileOutbox(Seam(), outbox, names=MARKED).offer("one", part).again
    assert visible(outbox) == ["hq-one.tar", "hq-one.tar.done"]


@pytest.mark.parametrize("kind", ["other bytes", "same size", "folder", "link", "pipe"])
def test_another_file_of_that_name_is_never_replaced(outbox: Path, part: Path, kind: str) -> None:
    there = outbox / "one"
    match kind:
        case "other bytes":
            there.write_bytes(b"x")
        case "same size":
            there.write_bytes(part.read_bytes()[:-1] + b"x")
        case "folder":
            there.mkdir()
        case "link":
            there.symlink_to(part)
        case "pipe":
            os.mkfifo(there)
    before = there.lstat()
    with pytest.raises(errors.CarrierError, match="another file of that name") as caught:
        FileOutbox(Seam(), outbox).offer("one", part)
    assert caught.value.where == str(there)
    assert there.lstat() == before


def test_the_same_bytes_under_another_inode_count_as_sent(outbox: Path, part: Path) -> None:
    shutil.copy(part, outbox / "one")
    assert FileOutbox(Seam(), outbox).offer("one", part).again


def test_a_missing_outbox_is_an_error_not_a_folder_to_make(tmp_path: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), tmp_path / "outbox")
    for act in (lambda: outlet.offer("one", part), outlet.outstanding):
        with pytest.raises(errors.CarrierError, match="outbox is missing"):
            act()
    assert not (tmp_path / "outbox").exists()


def test_a_name_that_ends_like_a_marker_is_refused(outbox: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), outbox, names=PartNames(suffix="", done_marker=".done"))
    with pytest.raises(errors.CarrierError, match="done-marker"):
        outlet.offer("one.done", part)


def test_size_ends_the_oldest_first_and_nobody_elses(outbox: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), outbox, names=MARKED, retain=Retain(size=25_000))
    for name in "abcd":
        outlet.offer(name, part)
    (outbox / "readme").write_bytes(bytes(100_000))
    (outbox / "hq-e.tar").write_bytes(bytes(100_000))
    # Sent in another order than their names are.
    sent = {"d": 1.0, "c": 2.0, "b": 3.0, "a": 4.0}
    assert outlet.expire(5.0, sent) == ["d", "c"]
    assert visible(outbox) == [
        *("hq-a.tar", "hq-a.tar.done", "hq-b.tar", "hq-b.tar.done", "hq-e.tar", "readme")
    ]
    assert outlet.expire(5.0, sent) == []


def test_nothing_expires_without_retain(outbox: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), outbox)
    outlet.offer("one", part)
    assert outlet.expire(1e12, {"one": 0.0}) == []


def test_what_expires_stays_gone_after_a_power_cut_and_its_marker_goes_first(
    outbox: Path, part: Path
) -> None:
    done: list[Operation] = []
    outlet = FileOutbox(Seam(done.append), outbox, names=MARKED, retain=Retain(age=10))
    outlet.offer("one", part)
    done.clear()
    outlet.expire(10.0, {"one": 0.0})
    assert [(op.kind, op.path.name) for op in done] == [
        (Kind.UNLINK, "hq-one.tar.done"),
        (Kind.UNLINK, "hq-one.tar"),
        (Kind.SYNC_DIR, "outbox"),
    ]


def test_a_marker_whose_part_was_taken_expires_alone(outbox: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), outbox, names=MARKED, retain=Retain(age=10))
    outlet.offer("one", part)
    (outbox / "hq-one.tar").unlink()
    assert outlet.expire(5.0, {"one": 0.0}) == []
    assert visible(outbox) == ["hq-one.tar.done"]
    assert outlet.expire(10.0, {"one": 0.0}) == []
    assert visible(outbox) == []


def test_leftovers_of_a_crash_are_cleared_after_a_day_and_only_they(
    outbox: Path, tmp_path: Path
) -> None:
    staging = tmp_path / ".outbox-staging"
    staging.mkdir()
    for leftover in (staging / "hq-1.tar", outbox / ".sluice-hq-1.tar.tmp", outbox / ".mine"):
        leftover.write_bytes(b"half")
    outlet = FileOutbox(Seam(), outbox)
    now = (outbox / ".mine").stat().st_ctime
    outlet.expire(now + 3600, {})
    assert len(os.listdir(staging)) == 1
    outlet.expire(now + 90_000, {})
    assert os.listdir(staging) == []
    assert os.listdir(outbox) == [".mine"]


def test_names_that_are_not_ours_are_not_outstanding(outbox: Path, part: Path) -> None:
    outlet = FileOutbox(Seam(), outbox, names=MARKED)
    outlet.offer("one", part)
    for name in ("hq-", ".tar", "hq-.tar", "x.tar", "hq-ä.tar", os.fsdecode(b"hq-\xff.tar")):
        (outbox / name).write_bytes(b"")
    (outbox / "hq-dir.tar").mkdir()
    assert [o.name for o in outlet.outstanding()] == ["one"]
