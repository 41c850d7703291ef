"""Volumes: what is written, what a person may do with it, and what is taken in."""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cds.media import Begun, Intake, Label, MediaOutbox, Next
from cds.media.volume import LABEL, SUMS, read_label, read_sums
from manifests import errors
from sluice.volumes import Taken
from store.seam import Kind, Operation, Seam

SIZE = 4 << 20
PART = 900_000


class Desk:
    """Where media are written: it remembers what the ledger would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last = Begun()
        self.complete: list[tuple[int, Next, int]] = []
        folder.mkdir()

    def outbox(
        self, size: int = SIZE, observer: Callable[[Operation], None] | None = None
    ) -> MediaOutbox:
        def begun(last: Begun) -> None:
            self.last = last

        return MediaOutbox(
            Seam(observer),
            self.folder,
            "hq",
            size,
            last=self.last,
            begun=begun,
            written=lambda label, parts: self.complete.append((label.volume, label.next, parts)),
        )

    def part(self, number: int, size: int = PART) -> tuple[str, Path]:
        path = self.folder.parent / f"spool-{number}"
        path.write_bytes(random.Random(number).randbytes(size))
        return f"p{number:03}", path

    def send(self, *numbers: int, size: int = SIZE) -> None:
        outbox = self.outbox(size)
        try:
            for number in numbers:
                outbox.offer(*self.part(number))
        finally:
            outbox.close()

    def volumes(self) -> dict[int, tuple[str, list[str]]]:
        """Number: next, names."""
        found = {}
        for path in sorted(self.folder.iterdir()):
            label = read_label(path)
            if label is not None:
                found[label.volume] = (label.next.value, sorted(read_sums(path)))
        return found


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "media")


def sha256sum(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sha256sum", "--strict", "-c", SUMS], cwd=folder, capture_output=True, text=True
    )


def test_volumes_are_filled_one_after_the_other_and_verify(desk: Desk) -> None:
    desk.send(*range(1, 8))
    assert desk.volumes() == {
        1: ("yes", ["p001.tar", "p002.tar", "p003.tar", "p004.tar"]),
        2: ("no", ["p005.tar", "p006.tar", "p007.tar"]),
    }
    assert desk.complete == [(1, Next.YES, 4), (2, Next.NO, 3)]
    for path in desk.folder.iterdir():
        assert sum(file.stat().st_size for file in path.iterdir()) <= SIZE
        checked = sha256sum(path)
        assert checked.returncode == 0, checked.stderr
        assert checked.stdout.count(": OK") == len(read_sums(path))
        damaged = next(iter(read_sums(path)))
        with (path / damaged).open("r+b") as file:
            file.write(b"\0\0\0")
        assert sha256sum(path).returncode == 1
    desk.send(8)
    assert desk.volumes()[3] == ("no", ["p008.tar"])
    label = read_label(desk.folder / "sluice-hq-00003")
    assert label == Label("hq", 3, 3, Next.NO)


class Stop(SystemExit):
    """What a signal raises."""


def test_a_stop_between_two_parts_leaves_the_volume_open_for_the_next_run(desk: Desk) -> None:
    outbox = desk.outbox()
    with pytest.raises(Stop), closing(outbox):
        outbox.offer(*desk.part(1))
        raise Stop
    assert desk.volumes() == {1: ("open", ["p001.tar"])}
    assert desk.complete == []
    desk.send(2)
    assert desk.volumes() == {1: ("no", ["p001.tar", "p002.tar"])}
    assert desk.complete == [(1, Next.NO, 2)]


def test_a_volume_whose_label_alone_is_missing_is_completed_by_the_next_run(desk: Desk) -> None:
    def stop(operation: Operation) -> None:
        label = operation.target is not None and operation.target.name == LABEL
        if label and operation.kind is Kind.RENAME and desk.last.volume:
            raise Stop

    outbox = desk.outbox(observer=stop)
    outbox.offer(*desk.part(1))
    with pytest.raises(Stop):
        outbox.close()
    assert desk.volumes() == {1: ("open", ["p001.tar"])}
    desk.send()
    assert desk.volumes() == {1: ("no", ["p001.tar"])}
    assert desk.complete == [(1, Next.NO, 1)]
    desk.send()  # a complete one is left alone
    assert desk.complete == [(1, Next.NO, 1)]


def test_the_label_is_for_people_too(desk: Desk) -> None:
    desk.send(1)
    text = (desk.folder / "sluice-hq-00001" / LABEL).read_text()
    assert text == "sluice-volume 1\nstream hq\nvolume 1\nset 1\nnext no\n"


def test_a_part_that_no_volume_holds_is_refused(desk: Desk) -> None:
    with pytest.raises(errors.CarrierError, match="does not fit a volume") as caught:
        desk.send(1, size=910_000)
    assert "`volume`" in caught.value.remedy
    assert desk.volumes() == {}


def test_no_medium_is_named_and_never_made(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "media")
    desk.folder.rmdir()
    with pytest.raises(errors.CarrierError, match="there is no medium"):
        desk.send(1)
    assert not desk.folder.exists()


def _small(monkeypatch: pytest.MonkeyPatch, desk: Desk, capacity: int) -> None:
    """A medium of ``capacity`` bytes."""

    def free(self: MediaOutbox) -> int:
        used = sum(file.stat().st_size for file in desk.folder.rglob("*") if file.is_file())
        return capacity - used

    monkeypatch.setattr(MediaOutbox, "_free", free)


def test_a_full_medium_asks_for_the_next(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    _small(monkeypatch, desk, 4 << 20)
    outbox = desk.outbox(size=20 << 20)
    sent = []
    with pytest.raises(errors.MediumFull, match="volume 1 is complete") as caught:
        for number in range(1, 9):
            outbox.offer(*desk.part(number))
            sent.append(number)
    outbox.close()
    assert caught.value.exit_code == 3
    assert "insert the next medium" in caught.value.remedy
    assert sent == [1, 2, 3]
    assert desk.volumes() == {1: ("yes", ["p001.tar", "p002.tar", "p003.tar"])}
    # Forgot to change it: nothing happens, and no number is lost.
    with pytest.raises(errors.MediumFull):
        desk.send(4)
    shutil.move(desk.folder, desk.folder.with_name("first"))
    desk.folder.mkdir()
    desk.send(4, 5)
    assert desk.volumes() == {2: ("no", ["p004.tar", "p005.tar"])}
    label = read_label(desk.folder / "sluice-hq-00002")
    assert label is not None and label.set == 1


def test_a_disk_that_says_full_by_itself(desk: Desk) -> None:
    def full(operation: Operation) -> None:
        if operation.kind is Kind.WRITE and "p002" in operation.path.name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    outbox = desk.outbox(observer=full)
    outbox.offer(*desk.part(1))
    with pytest.raises(errors.MediumFull):
        outbox.offer(*desk.part(2))
    outbox.close()
    assert desk.volumes() == {1: ("yes", ["p001.tar"])}
    assert sha256sum(desk.folder / "sluice-hq-00001").returncode == 0
    assert sorted(os.listdir(desk.folder / "sluice-hq-00001")) == [LABEL, SUMS, "p001.tar"]


def test_a_medium_that_is_pulled_goes_on_when_it_is_back(desk: Desk) -> None:
    outbox = desk.outbox()
    outbox.offer(*desk.part(1))
    away = desk.folder.with_name("pulled")
    desk.folder.rename(away)
    with pytest.raises(errors.CarrierError) as caught:
        outbox.offer(*desk.part(2))
    assert "insert" in caught.value.remedy
    outbox.close()
    assert read_label(away / "sluice-hq-00001") == Label("hq", 1, 1, Next.OPEN)
    # What was half there when it was pulled.
    (away / "sluice-hq-00001" / ".p002.tar.tmp").write_bytes(b"half")
    (away / "sluice-hq-00001" / "p009.tar").write_bytes(b"without a line")
    with (away / "sluice-hq-00001" / SUMS).open("ab") as file:
        file.write(b"0123")
    away.rename(desk.folder)
    desk.send(2)
    assert desk.volumes() == {1: ("no", ["p001.tar", "p002.tar"])}
    assert sha256sum(desk.folder / "sluice-hq-00001").returncode == 0
    assert not list((desk.folder / "sluice-hq-00001").glob(".*"))


def test_another_medium_instead_of_the_pulled_one(desk: Desk) -> None:
    outbox = desk.outbox()
    outbox.offer(*desk.part(1))
    desk.folder.rename(desk.folder.with_name("pulled"))
    desk.folder.mkdir()
    desk.send(2)
    assert desk.volumes() == {2: ("no", ["p002.tar"])}


def test_an_open_volume_that_comes_back_late_gives_no_number_twice(desk: Desk) -> None:
    outbox = desk.outbox()
    outbox.offer(*desk.part(1))
    del outbox  # killed, and its medium pulled out
    first = desk.folder.rename(desk.folder.with_name("first"))
    desk.folder.mkdir()
    desk.send(2)
    assert desk.volumes() == {2: ("no", ["p002.tar"])}
    shutil.rmtree(desk.folder)
    first.rename(desk.folder)
    desk.send()
    desk.send(3)
    shutil.rmtree(desk.folder)
    desk.folder.mkdir()
    desk.send(4)
    numbers = [number for number, _, _ in desk.complete]
    assert numbers == [2, 3, 4]


def test_volumes_of_other_streams_are_left_alone(desk: Desk) -> None:
    other = desk.folder / "sluice-hq-b-00007"
    other.mkdir()
    (other / LABEL).write_bytes(Label("hq-b", 7, 7, Next.OPEN).text())
    (other / "x").write_bytes(b"x")
    desk.send(1)
    assert desk.volumes()[1] == ("no", ["p001.tar"])
    assert (other / "x").exists()


# Taking in


def intake(folder: Path, into: Path | None = None, **options: int) -> Intake:
    return Intake(Seam(), folder, into or folder.parent / "inbox", "hq", **options)


def arrived(folder: Path) -> list[str]:
    """Names of the parts in an inbox, without the tag of their content."""
    return sorted(p.name.rpartition(".")[0] for p in folder.glob("*") if p.is_file())


def test_a_volume_may_lie_in_a_folder_or_be_the_medium_itself(desk: Desk, tmp_path: Path) -> None:
    desk.send(1, 2)
    for number, folder in enumerate((desk.folder, desk.folder / "sluice-hq-00001")):
        into = tmp_path / f"inbox-{number}"
        [seen] = intake(folder, into).take({})
        assert (seen.label.volume, seen.damaged) == (1, {})
        assert arrived(into) == ["p001.tar", "p002.tar"]
        for path in into.glob("p*"):
            [original] = desk.folder.glob(f"*/{path.name.rpartition('.')[0]}")
            assert path.read_bytes() == original.read_bytes()


def test_the_medium_is_only_read_and_only_once(desk: Desk, tmp_path: Path) -> None:
    desk.send(1, 2)
    before = sorted((p, p.lstat().st_mtime_ns) for p in desk.folder.rglob("*"))
    slot = intake(desk.folder)
    [seen] = slot.take({})
    assert slot.parts == 2
    slot.take({})
    for path in (tmp_path / "inbox").glob("p*"):
        path.unlink()  # imported
    slot.take({})
    assert slot.parts == 2
    later = intake(desk.folder)
    later.take({1: seen.sums})
    assert later.parts == 0
    assert sorted((p, p.lstat().st_mtime_ns) for p in desk.folder.rglob("*")) == before


def test_no_medium_is_nothing_to_do(tmp_path: Path) -> None:
    slot = intake(tmp_path / "absent")
    assert slot.take({}) == []
    assert slot.foreign() == []


@pytest.mark.parametrize(
    ("file", "data"),
    [
        (LABEL, b"sluice-volume 1\n"),
        (LABEL, b"x" * 100_000),
        (LABEL, Label("hq", 1, 1).text() + b"\n"),
        (LABEL, Label("hq", 1, 2).text()),
        (LABEL, Label("hq", 1, 1).text().replace(b"volume 1\ns", b"volume 1234567890\ns")),
        (SUMS, b"0" * 64 + b"  ../../etc/passwd\n"),
        (SUMS, b"0" * 64 + b"  .hidden\n"),
        (SUMS, b"0" * 64 + b"\n"),
        (SUMS, b"\xff\xfe\n"),
        (SUMS, b"x" * (33 << 20)),
    ],
    ids=range(10),
)
def test_volumes_that_mean_harm_are_left_alone(
    file: str, data: bytes, desk: Desk, tmp_path: Path
) -> None:
    desk.send(1)
    desk.send(2)
    (desk.folder / "sluice-hq-00001" / file).write_bytes(data)
    slot = intake(desk.folder)
    assert [seen.label.volume for seen in slot.take({})] == [2]
    assert arrived(tmp_path / "inbox") == ["p002.tar"]
    [(name, why)] = slot.foreign()
    assert name == "sluice-hq-00001" and why
    slot.take({})
    assert slot.foreign() == []


def test_damage_links_pipes_and_missing_files_are_named(desk: Desk, tmp_path: Path) -> None:
    desk.send(1, 2, 3, 4)
    desk.send(5)
    folder = desk.folder / "sluice-hq-00001"
    for name in ("p001.tar", "p002.tar", "p003.tar"):
        (folder / name).unlink()
    (folder / "p001.tar").symlink_to("/etc/passwd")
    os.mkfifo(folder / "p002.tar")
    with (folder / "p004.tar").open("r+b") as file:
        file.write(b"\0\0\0\0")
    first, second = intake(desk.folder).take({})
    assert first.damaged.keys() == {"p001.tar", "p002.tar", "p003.tar", "p004.tar"}
    assert "check file" in first.damaged["p004.tar"]
    assert second.damaged == {}
    assert arrived(tmp_path / "inbox") == ["p005.tar"]
    assert not list((tmp_path / "inbox" / ".incoming").iterdir())


def test_of_one_volume_no_more_than_the_limit_is_taken(desk: Desk, tmp_path: Path) -> None:
    desk.send(1, 2, 3)
    slot = intake(desk.folder, limit=2 * PART)
    assert slot.take({}) == []
    assert "more than" in slot.foreign()[0][1]
    assert len(arrived(tmp_path / "inbox")) <= 2
    assert intake(desk.folder, tmp_path / "other", limit=4 * PART).take({}) != []


def test_a_full_inbox_stops_it_and_it_goes_on(desk: Desk, tmp_path: Path) -> None:
    desk.send(1, 2)
    slot = intake(desk.folder, reserve_free=1 << 60)
    with pytest.raises(errors.NoSpace):
        slot.take({})
    slot._reserve = 0
    slot.take({})
    assert arrived(tmp_path / "inbox") == ["p001.tar", "p002.tar"]


# Which are wanted


def _look(taken: Taken, desk: Desk, *numbers: int, settled: bool = False) -> list[int]:
    seen = intake(desk.folder).take(taken.known())
    taken.look([each for each in seen if each.label.volume in numbers])
    if settled:
        taken.settle()
    return [number for number, _ in taken.wanted()]


def test_which_volumes_are_wanted(desk: Desk) -> None:
    desk.send(*range(1, 15))
    assert len(desk.volumes()) == 4
    taken = Taken()
    assert _look(taken, desk, 3) == [1, 2, 4]
    assert _look(taken, desk, 3) == [1, 2, 4]
    shutil.rmtree(desk.folder.parent / "inbox")
    (desk.folder / "sluice-hq-00001" / "p002.tar").unlink()
    assert _look(taken, desk, 1) == [1, 2, 4]
    assert "p002.tar" in dict(taken.wanted())[1]
    assert _look(taken, desk, 4) == [1, 2]
    assert _look(taken, desk, 2) == [1]
    desk.part(2)[1].replace(desk.folder / "sluice-hq-00001" / "p002.tar")
    assert _look(taken, desk, 1) == []
    assert (taken.floor, taken.whole, taken.damaged) == (4, [], {})
    assert set(taken.known()) == {1, 2, 3, 4}


def test_nothing_is_wanted_once_nothing_is_missing(desk: Desk) -> None:
    desk.send(1)
    desk.send(2)
    desk.send(3)
    taken = Taken()
    _look(taken, desk, 1, settled=True)
    assert _look(taken, desk, 3) == [2]
    assert _look(taken, desk, 3, settled=True) == []


def test_an_announced_volume_is_wanted_though_all_else_is_settled(desk: Desk) -> None:
    desk.send(*range(1, 8))
    taken = Taken()
    assert _look(taken, desk, 1, settled=True) == [2]


def test_a_stream_that_is_taken_up_late_wants_only_its_set(desk: Desk) -> None:
    desk.send(1)
    desk.send(*range(2, 8))
    taken = Taken()
    assert _look(taken, desk, 3) == [2]


def test_a_label_that_claims_a_huge_number_names_only_some() -> None:
    taken = Taken(floor=0, announced=999_999_999)
    assert len(taken.wanted()) == 100
