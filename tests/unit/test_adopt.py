"""Adopting somebody else's folder: hostile names and files, runs that are broken off."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.errors import NoSpace
from store import adopt as adopting
from store.adopt import Taken, adopt, measure
from store.adopted import adopted
from store.gc import collect
from store.ledger import Ledger
from store.records import PinKind
from store.seam import Seam
from store.store import Store


class Told:
    """A progress that adds up."""

    def __init__(self) -> None:
        self.expected = self.done = 0

    def expect(self, items: int = 0, size: int = 0) -> None:
        self.expected += size

    def advance(self, items: int = 0, size: int = 0) -> None:
        self.done += size


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store", files=Seam(), actor="tester") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "mirror"
    (place / "a").mkdir(parents=True)
    (place / "a" / "one").write_bytes(b"one")
    (place / "a.b").write_bytes(b"sorts before a/one")
    (place / "empty").touch()
    return place


def take(store: Store, folder: Path, **options: bool) -> Taken:
    return adopt(store, "tools", folder, progress=Told(), **options)


def content(store: Store, taken: Taken) -> dict[str, bytes]:
    assert taken.tree is not None
    found = {}
    for entry in store.tree(taken.tree).entries():
        with store.blobs.open(entry.digest) as body:
            found[entry.path] = body.read()
    return found


def test_what_is_no_file_for_a_tree_is_named_and_stops_nothing(store: Store, folder: Path) -> None:
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "socket"))
    (folder / "out").symlink_to("/etc")
    (folder / "a" / "loop").symlink_to("..")
    (folder / ".sluice").mkdir()
    (folder / ".sluice" / "facts.json").write_text("{}")
    Path(os.fsdecode(bytes(folder) + b"/not\xffutf8")).write_bytes(b"x")
    (folder / "line\nbreak").mkdir()
    (folder / "line\nbreak" / "inner").write_bytes(b"x")
    deep = folder
    for _ in range(6):
        deep = deep / ("d" * 200)
    os.makedirs(deep)
    taken = take(store, folder)
    assert content(store, taken) == {"a.b": b"sorts before a/one", "a/one": b"one", "empty": b""}
    assert taken.links == 2
    reasons = {one.path[:12]: one.why for one in taken.named}
    assert reasons["fifo"] == reasons["socket"] == "neither a file nor a folder"
    assert "Sluice's own" in reasons[".sluice"]
    assert "bad name" in reasons["not\udcffutf8"]
    assert "bad name" in reasons["line\nbreak"]
    assert "bad name" in reasons["d" * 12]
    assert taken.refused == len(taken.named) == 6
    counted = measure(folder)
    assert (counted.files, counted.refused, counted.links) == (3, 6, 2)


def test_a_file_that_changes_or_goes_meanwhile_is_left_out(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Seam.copy_range

    def copied(self: Seam, fd: int, offset: int, length: int, target: object) -> None:
        real(self, fd, offset, length, target)  # type: ignore[arg-type]
        if length == 3:
            (folder / "a" / "one").write_bytes(b"two")
            (folder / "empty").unlink()

    monkeypatch.setattr(Seam, "copy_range", copied)
    taken = take(store, folder)
    assert content(store, taken) == {"a.b": b"sorts before a/one"}
    assert {one.path: one.why for one in taken.named} == {
        "a/one": "it changed while it was read",
        "empty": "cannot be read: No such file or directory",
    }


def test_what_was_taken_is_kept_from_gc_until_there_is_a_snapshot(
    store: Store, folder: Path
) -> None:
    taken = take(store, folder)
    collect(store)
    assert len(content(store, taken)) == 3
    with store.ledger.read() as tx:
        found = adopted(tx, "tools")
        pins = tx.pins()
    assert found is not None and found.tree == taken.tree and found.keeps
    assert [pin.kind for pin in pins] == [PinKind.TREES]
    (folder / "a" / "one").write_bytes(b"changed later")
    assert content(store, taken)["a/one"] == b"one", "a copy is not its owner's any more"


def test_a_run_that_was_broken_off_reads_nothing_twice(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adopting, "_FILES", 1)
    (folder / "z").write_bytes(b"last")
    real = adopting._Run._take

    def broken(self: adopting._Run, one: adopting.ForeignFile, batch: adopting.BlobBatch) -> object:
        if one.path == "z":
            raise KeyboardInterrupt
        return real(self, one, batch)

    with monkeypatch.context() as patch:
        patch.setattr(adopting._Run, "_take", broken)
        with pytest.raises(KeyboardInterrupt):
            take(store, folder)
    collect(store)
    # One was replaced meanwhile, by one of the same size and time.
    before = (folder / "a.b").stat()
    (folder / "new").write_bytes(b"Sorts before a/one")
    os.utime(folder / "new", ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "new").rename(folder / "a.b")
    reads: list[Ledger] = []
    read = Ledger.read
    monkeypatch.setattr(Ledger, "read", lambda self: reads.append(self) or read(self))
    taken = take(store, folder)
    assert len(reads) == 1, "the journal is read once, not for each file"
    assert (taken.files, taken.again) == (4, 2)
    assert content(store, taken) == {
        "a.b": b"Sorts before a/one", "a/one": b"one", "empty": b"", "z": b"last"
    }  # fmt: skip
    assert take(store, folder).again == 0, "the run that ended left nothing to go on with"


def test_linked_files_share_their_bytes_and_become_read_only(store: Store, folder: Path) -> None:
    taken = take(store, folder, link=True)
    assert taken.tree is not None
    entry = store.tree(taken.tree).lookup("a/one")
    assert entry is not None
    assert os.path.samefile(store.blobs.path(entry.digest), folder / "a" / "one")
    assert (folder / "a" / "one").stat().st_mode & 0o222 == 0


def test_what_does_not_fit_is_refused_before_anything_is_copied(store: Store, folder: Path) -> None:
    store.reserve_free = 1 << 60
    with pytest.raises(NoSpace) as caught:
        take(store, folder)
    assert "--link" in caught.value.remedy
    assert list(store.blobs.digests()) == []
