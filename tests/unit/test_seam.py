"""The seam: what it does to the disk, what it tells its observer, how it refuses."""

import errno
import os
from pathlib import Path

import pytest

from manifests import errors
from manifests.durable import Durable, publish_file
from store.seam import Kind, Operation, Seam


def test_a_new_file_holds_what_was_written_and_appends_ignore_write_at(tmp_path: Path) -> None:
    files: Durable = Seam()
    with files.create(tmp_path / "a", 0o600) as out:
        out.write(b"hello ")
        out.write_at(0, b"J")
        out.write(memoryview(b"world"))
        out.sync()
    assert (tmp_path / "a").read_bytes() == b"Jello world"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_create_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        Seam().create(tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"old"


def test_publish_file_replaces_whole_even_over_a_leftover(tmp_path: Path) -> None:
    (tmp_path / ".a.tmp").write_bytes(b"half")
    (tmp_path / "a").write_bytes(b"old")
    publish_file(Seam(), tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("observed", [False, True])
def test_copy_range_copies_exactly_the_range(tmp_path: Path, observed: bool) -> None:
    seen: list[Operation] = []
    files = Seam(seen.append if observed else None)
    source = tmp_path / "source"
    source.write_bytes(os.urandom(3 << 20))
    with source.open("rb") as src, files.create(tmp_path / "copy") as out:
        out.write(b"head")
        files.copy_range(src.fileno(), 7, (2 << 20) + 5, out)
        out.write(b"tail")
        assert src.tell() == 0
    want = source.read_bytes()[7 : 7 + (2 << 20) + 5]
    assert (tmp_path / "copy").read_bytes() == b"head" + want + b"tail"


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_copy_range_falls_back_where_the_kernel_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def cannot(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", cannot)
    source = tmp_path / "source"
    source.write_bytes(b"0123456789")
    files = Seam()
    with source.open("rb") as src, files.create(tmp_path / "copy") as out:
        files.copy_range(src.fileno(), 2, 5, out)
    assert (tmp_path / "copy").read_bytes() == b"23456"


def test_copy_range_from_a_source_that_is_too_short_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(b"short")
    files = Seam()
    with (
        (tmp_path / "source").open("rb") as src,
        files.create(tmp_path / "copy") as out,
        pytest.raises(errors.StoreError, match="5 bytes early"),
    ):
        files.copy_range(src.fileno(), 0, 10, out)


def test_writes_that_the_kernel_takes_in_pieces_are_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: real(fd, bytes(data)[:3], at))
    with Seam().create(tmp_path / "a") as out:
        out.write(b"0123456789")
        out.write(b"abc")
    assert (tmp_path / "a").read_bytes() == b"0123456789abc"


def test_the_observer_sees_each_operation_before_it_happens(tmp_path: Path) -> None:
    there: list[tuple[Kind, bool]] = []

    def observe(operation: Operation) -> None:
        there.append((operation.kind, (tmp_path / "x" / "a").exists()))

    files = Seam(observe)
    files.mkdir(tmp_path / "x")
    with files.create(tmp_path / "x" / "a") as out:
        out.write(b"1")
        out.sync()
    files.unlink(tmp_path / "x" / "a")
    files.unlink(tmp_path / "x" / "a")
    files.committed("done")
    assert there == [
        (Kind.MKDIR, False),
        (Kind.SYNC_DIR, False),
        (Kind.CREATE, False),
        (Kind.WRITE, True),
        (Kind.SYNC_FILE, True),
        (Kind.UNLINK, True),
        (Kind.UNLINK, False),
        (Kind.COMMITTED, False),
    ]


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EIO, errors.StoreError),
        (errno.EROFS, errors.StoreError),
    ],
)
def test_a_failing_disk_says_what_to_do(
    tmp_path: Path, code: int, error: type[errors.SluiceError]
) -> None:
    def fail(operation: Operation) -> None:
        if operation.kind is Kind.WRITE:
            raise OSError(code, os.strerror(code))

    with Seam(fail).create(tmp_path / "a") as out, pytest.raises(error) as caught:
        out.write(b"x")
    assert caught.value.remedy
    assert str(tmp_path / "a") == caught.value.where


def test_after_a_failed_fsync_a_second_one_never_claims_success(tmp_path: Path) -> None:
    failing = [True]

    def fail(operation: Operation) -> None:
        if operation.kind is Kind.SYNC_FILE and failing:
            failing.clear()
            raise OSError(errno.EIO, "I/O error")

    with Seam(fail).create(tmp_path / "a") as out:
        out.write(b"x")
        for _ in range(2):
            with pytest.raises(errors.StoreError):
                out.sync()


def test_mkdir_makes_parents_and_tolerates_what_exists_but_not_a_file(tmp_path: Path) -> None:
    files = Seam()
    files.mkdir(tmp_path / "a" / "b" / "c")
    files.mkdir(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()
    (tmp_path / "f").touch()
    with pytest.raises(FileExistsError):
        files.mkdir(tmp_path / "f")


def test_mkdir_syncs_a_folder_that_someone_else_made(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    seen: list[Operation] = []
    Seam(seen.append).mkdir(tmp_path / "a")
    assert [(op.kind, op.path) for op in seen] == [(Kind.SYNC_DIR, tmp_path)]


def test_symbolic_links_are_neither_followed_nor_synced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"s")
    (tmp_path / "link").symlink_to("secret")
    files = Seam()
    with pytest.raises(OSError, match="Too many levels"):
        files.sync_file(tmp_path / "link")
    files.link(tmp_path / "link", tmp_path / "hard")
    assert (tmp_path / "hard").is_symlink()


def test_a_file_that_was_reopened_is_overwritten_in_place(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    seen: list[Operation] = []
    with Seam(seen.append).reopen(path) as file:
        file.write_at(2, b"ab")
        file.write(b"end")
        file.sync()
    assert path.read_bytes() == b"01ab456789end"
    assert [(op.kind, op.path, op.handle, op.offset) for op in seen] == [
        (Kind.WRITE, path, 0, 2),
        (Kind.WRITE, path, 0, 10),
        (Kind.SYNC_FILE, path, 0, 0),
    ]
    (tmp_path / "link").symlink_to(path)
    with pytest.raises(OSError, match="symbolic"):
        Seam().reopen(tmp_path / "link")
