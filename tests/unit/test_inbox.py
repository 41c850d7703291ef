"""The inbox: what counts as whole, what is left alone, what is read."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cds.base import Arrival, printable
from cds.filedrop import FileInbox
from manifests import errors
from manifests.zone import After, PartNames
from store.seam import Seam
from tests.support import scratch
from tests.support.filedrop import NOW, age, read_only

MARKED = PartNames(suffix="", done_marker=".done")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    folder = tmp_path / "inbox"
    folder.mkdir()
    return folder


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the test's own."""
    with scratch.elsewhere(tmp_path) as folder:
        yield folder


def _inlet(inbox: Path, files: Seam | None = None, **options: object) -> FileInbox:
    return FileInbox(files or Seam(), inbox, inbox.parent / "quarantine", **options)  # type: ignore[arg-type]


def _put(inbox: Path, name: str, data: bytes = b"data", old: float = 100) -> Path:
    path = inbox / name
    path.write_bytes(data)
    age(path, old)
    return path


def _names(inlet: FileInbox, now: float = NOW) -> list[str]:
    return [arrival.name for arrival in inlet.arrivals(now)]


def test_a_file_that_still_grows_waits_until_it_is_left_alone(inbox: Path) -> None:
    inlet = _inlet(inbox, settle=2.0)
    for second in range(5):
        _put(inbox, "part", b"x" * (second + 1), old=-second)
        assert _names(inlet, NOW + second) == []
        assert inlet.waiting().settling == 1
        assert inlet.waiting().until == NOW + second + 2
    assert _names(inlet, NOW + 6) == ["part"]
    assert inlet.waiting().settling == 0
    assert inlet.waiting().until is None


def test_a_file_dated_ahead_of_our_clock_settles_between_two_looks(inbox: Path) -> None:
    _put(inbox, "part", old=-86_400)
    inlet = _inlet(inbox, settle=2.0)
    assert _names(inlet, NOW) == []
    assert inlet.waiting().until == NOW + 2
    assert _names(inlet, NOW + 1.9) == []
    assert _names(inlet, NOW + 2) == ["part"]


def test_a_file_that_is_replaced_between_two_looks_starts_anew(inbox: Path) -> None:
    _put(inbox, "part", old=-86_400)
    inlet = _inlet(inbox, settle=2.0)
    assert _names(inlet, NOW) == []
    _put(inbox, "part", b"longer", old=-86_400)
    assert _names(inlet, NOW + 2) == []
    assert _names(inlet, NOW + 4) == ["part"]


def test_with_a_marker_a_file_waits_for_it_and_still_settles(inbox: Path) -> None:
    inlet = _inlet(inbox, names=MARKED)
    _put(inbox, "one")
    assert _names(inlet) == []
    assert inlet.waiting().unmarked == 1
    assert inlet.waiting().until is None
    _put(inbox, "one.done")
    # This one's marker overtook it.
    _put(inbox, "two.done")
    _put(inbox, "two", b"half", old=0)
    assert _names(inlet) == ["one"]
    assert inlet.waiting().settling == 1


def test_finishing_takes_the_marker_along(inbox: Path) -> None:
    inlet = _inlet(inbox, names=MARKED)
    for name in ("one", "one.done", "two", "two.done"):
        _put(inbox, name)
    one, two = inlet.arrivals(NOW)
    inlet.finish(one)
    inlet.quarantine(two, "bad")
    assert os.listdir(inbox) == []


def test_foreign_things_are_left_alone_and_reported_once(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(inbox, "hq-1.tar")
    _put(inbox, "readme.txt")
    (inbox / "link.tar").symlink_to(inbox / "hq-1.tar")
    os.mkfifo(inbox / "pipe.tar")
    # The null device: opening a device may do anything, so none is opened.
    os.mknod(inbox / "device.tar", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as sock:
        monkeypatch.chdir(inbox)
        sock.bind("sock.tar")
    (inbox / "folder.tar").mkdir()
    for quiet in (".hidden.tar", ".sluice-hq-2.tar.tmp"):
        _put(inbox, quiet)
    before = sorted(os.listdir(inbox))
    inlet = _inlet(inbox, names=PartNames(prefix="hq-", suffix=".tar"))
    assert _names(inlet) == ["hq-1.tar"]
    report = inlet.foreign()
    assert sorted(report.fresh) == [
        ("device.tar", "not a plain file"),
        ("link.tar", "a symbolic link"),
        ("pipe.tar", "not a plain file"),
        ("readme.txt", "its name is not one of this stream"),
        ("sock.tar", "not a plain file"),
    ]
    assert report.total == 5
    _put(inbox, "new.txt")
    assert _names(inlet) == ["hq-1.tar"]
    assert [name for name, _ in inlet.foreign().fresh] == ["new.txt"]
    assert sorted(os.listdir(inbox)) == sorted([*before, "new.txt"])


@pytest.mark.parametrize("name", ["a.tmp", "a~", "a.partial", "a.filepart", ".a"])
def test_names_of_unfinished_copies_are_passed_over(inbox: Path, name: str) -> None:
    _put(inbox, name)
    inlet = _inlet(inbox)
    assert _names(inlet) == []
    assert inlet.foreign().total == 0


def test_very_many_foreign_files_are_counted_not_remembered(inbox: Path) -> None:
    for i in range(100_000):
        (inbox / f"junk{i}").symlink_to("nowhere")
    _put(inbox, "part")
    inlet = _inlet(inbox)
    assert _names(inlet) == ["part"]
    report = inlet.foreign()
    assert (report.total, len(report.fresh)) == (100_000, 100)
    assert _names(inlet) == ["part"]
    assert inlet.foreign().fresh == ()


def test_a_missing_inbox_says_so(tmp_path: Path) -> None:
    with pytest.raises(errors.CarrierError, match="No such file") as caught:
        _inlet(tmp_path / "inbox").arrivals(NOW)
    assert caught.value.remedy


def _swaps(path: Path, secret: Path) -> list[tuple[str, object]]:
    return [
        ("link", lambda: path.symlink_to(secret)),
        ("pipe", lambda: os.mkfifo(path)),
        ("folder", path.mkdir),
        ("gone", lambda: None),
        ("other", lambda: path.write_bytes(b"other")),
        ("socket", lambda: socket.socket(socket.AF_UNIX).bind(str(path))),
    ]


@pytest.mark.parametrize("swap", range(6))
def test_a_file_that_was_swapped_is_not_opened_finished_or_put_aside(
    inbox: Path, swap: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(inbox)
    secret = _put(inbox.parent, "secret", b"secr")
    path = _put(inbox, "part")
    inlet = _inlet(inbox)
    (arrival,) = inlet.arrivals(NOW)
    path.unlink()
    name, act = _swaps(Path("part"), secret)[swap]
    act()  # type: ignore[operator]
    with pytest.raises(errors.ArrivalChanged):
        arrival.open()
    with pytest.raises(errors.ArrivalChanged):
        inlet.quarantine(arrival, "bad")
    inlet.finish(arrival)
    assert os.path.lexists(path) is (name != "gone")
    assert not (inbox.parent / "quarantine").exists()
    assert secret.read_bytes() == b"secr"


def test_what_is_swapped_after_opening_does_not_reach_the_reader(inbox: Path) -> None:
    path = _put(inbox, "part", b"first")
    (arrival,) = _inlet(inbox).arrivals(NOW)
    with arrival.open() as source:
        path.rename(inbox / "away")
        path.write_bytes(b"second")
        assert source.read() == b"first"


def test_a_part_brought_again_under_its_name_is_a_new_arrival(inbox: Path) -> None:
    inlet = _inlet(inbox, after=After.KEEP)
    path = _put(inbox, "part", b"damaged!")
    (first,) = inlet.arrivals(NOW)
    inlet.finish(first)
    again = _put(inbox, "part.new", b"repaired")
    again.rename(path)
    (second,) = inlet.arrivals(NOW)
    assert second.identity != first.identity


def test_finished_files_are_moved_under_names_that_are_safe(inbox: Path, elsewhere: Path) -> None:
    for done in (inbox.parent / "done", elsewhere / "done"):
        inlet = _inlet(inbox, after=After.MOVE, done=done)
        _put(inbox, "-rf $(x)\n.tar", b"content")
        (arrival,) = inlet.arrivals(NOW)
        inlet.finish(arrival)
        (kept,) = done.iterdir()
        assert kept.name == f"rf___x__.tar-{arrival.identity[:16]}"
        assert kept.read_bytes() == b"content"
        assert os.listdir(inbox) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"-",
        b"..." + b"x" * 50,
        b"a" * 255,
        b"\xff\xfe\x00name".replace(b"\x00", b""),
        "ünïcode".encode(),
        b"a\nb\x1b[31m",
        b"x.reason.txt",
        b"$(reboot)",
    ],
)
def test_any_name_can_be_put_aside(inbox: Path, raw: bytes) -> None:
    name = os.fsdecode(raw)
    if name.startswith("."):
        name = "_" + name
    _put(inbox, name, b"bad")
    inlet = _inlet(inbox, after=After.KEEP)
    (arrival,) = inlet.arrivals(NOW)
    kept = inlet.quarantine(arrival, "evil\x1b[2J reason\u202e" + "x" * 10_000)
    assert kept.parent == inbox.parent / "quarantine"
    assert kept.name.isascii()
    assert len(kept.name) <= 117
    assert kept.name[0] not in ".-"
    assert kept.read_bytes() == b"bad"
    reason = kept.with_name(kept.name + ".reason.txt").read_bytes()
    assert reason.isascii()
    assert reason[:-1].decode().isprintable()
    assert len(reason) < 1000
    assert arrival.label.isprintable()
    assert os.listdir(inbox) == []


def test_two_bad_files_of_like_names_do_not_replace_each_other(inbox: Path) -> None:
    _put(inbox, "a b", b"1")
    _put(inbox, "a_b", b"2")
    inlet = _inlet(inbox)
    kept = [inlet.quarantine(arrival, "bad") for arrival in inlet.arrivals(NOW)]
    assert sorted(path.read_bytes() for path in kept) == [b"1", b"2"]


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES])
def test_a_read_only_inbox_is_read_and_its_bad_files_are_remembered(inbox: Path, code: int) -> None:
    for name in ("bad", "good", "large"):
        _put(inbox, name, name.encode() * (1 if name != "large" else 1000))
    inlet = _inlet(inbox, Seam(read_only(inbox, code)), after=After.KEEP, copy_limit=100)
    bad, good, large = inlet.arrivals(NOW)
    assert inlet.quarantine(bad, "damaged").read_bytes() == b"bad"
    kept = inlet.quarantine(large, "damaged")
    assert kept.read_bytes() == b"large" * 20
    assert "first 100 of 5000" in kept.with_name(kept.name + ".reason.txt").read_text()
    inlet.finish(good)
    assert _names(inlet) == []
    assert sorted(os.listdir(inbox)) == ["bad", "good", "large"]
    # Another process knows what was put aside, by the quarantine itself.
    assert _names(_inlet(inbox)) == ["good"]
    kept.unlink()
    assert _names(_inlet(inbox)) == ["good", "large"]


def test_deleting_from_a_read_only_inbox_says_what_to_set(inbox: Path) -> None:
    _put(inbox, "part")
    inlet = _inlet(inbox, Seam(read_only(inbox)), after=After.DELETE)
    (arrival,) = inlet.arrivals(NOW)
    with pytest.raises(errors.CarrierError) as caught:
        inlet.finish(arrival)
    assert "after: keep" in caught.value.remedy


def test_a_large_bad_file_on_another_file_system_is_not_deleted_for_a_piece_of_it(
    elsewhere: Path, tmp_path: Path
) -> None:
    for name, size in (("large", 1000), ("small", 10)):
        _put(elsewhere, name, b"x" * size)
    inlet = FileInbox(Seam(), elsewhere, tmp_path / "quarantine", copy_limit=100)
    kept = [inlet.quarantine(arrival, "bad") for arrival in inlet.arrivals(NOW)]
    assert [path.stat().st_size for path in kept] == [100, 10]
    assert os.listdir(elsewhere) == ["large"]
    assert _names(inlet) == []


def test_a_mirror_that_puts_back_what_was_deleted_brings_a_new_arrival(
    inbox: Path, tmp_path: Path
) -> None:
    path = _put(inbox, "part")
    shutil.copy2(path, tmp_path / "copy")
    inlet = _inlet(inbox)
    (arrival,) = inlet.arrivals(NOW)
    inlet.finish(arrival)
    # The new file may well get the old one's inode, and so its identity.
    shutil.copy2(tmp_path / "copy", path)
    assert _names(inlet) == ["part"]
    assert _names(_inlet(inbox)) == ["part"]


def test_moving_needs_a_folder_to_move_to(inbox: Path) -> None:
    with pytest.raises(errors.ConfigError, match="needs a folder"):
        _inlet(inbox, after=After.MOVE)


def test_printable_is_one_line_and_short() -> None:
    assert printable("a\\b\nc\x7fé\udcff") == "a\\\\b\\nc\\x7f\\xe9\\udcff"
    assert len(printable("\n" * 500)) <= 120
    assert printable("x" * 121).endswith("...")


def test_an_arrival_that_may_not_be_read_says_so(
    inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _put(inbox, "part")
    found = path.lstat()
    arrival = Arrival(path, found.st_size, found.st_mtime_ns, found.st_ino)

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(errors.CarrierError, match="may not be read"):
        arrival.open()
