"""Frames that are put down behind the reader's back: whole, in order, few at a time."""

from __future__ import annotations

import errno
import random
import threading
from pathlib import Path

import pytest

from cds.tcp.behind import WAITING, WriteBehind
from cds.tcp.frames import HEADER, Decoder, Frame, Kind, frame, new_buffer
from cds.tcp.landing import Field, Landing
from manifests.errors import PeerRefused, SluiceError
from store.seam import Kind as Does
from store.seam import Operation, Seam
from tests.support.tcp import landed, listener, part_frames, push, until

PART = random.Random(7).randbytes(3_000_000)


def feed(behind: WriteBehind, stream: bytes, piece: int) -> int:
    """Put all frames of ``stream``, given in pieces; how many there were."""
    decoder = Decoder()
    count = at = 0
    while at < len(stream):
        space = decoder.space()
        new = stream[at : at + min(piece, len(space))]
        space[: len(new)] = new
        decoder.received(len(new))
        at += len(new)
        while (found := decoder.next()) is not None:
            assert isinstance(found, Frame)
            behind.put(found, decoder)
            count += 1
    return count


def landing(folder: Path, files: Seam, told: list[SluiceError]) -> Landing:
    field = Field(files, folder, 1 << 30, 0)
    field.prepare()
    return Landing(field, "1", told.append)


@pytest.mark.parametrize("body", [1000, 64 << 10, (64 << 10) + 1, 200_000, 1 << 20])
@pytest.mark.parametrize("piece", [70_001, 10 << 20])
def test_frames_of_every_size_land_whole(tmp_path: Path, body: int, piece: int) -> None:
    told: list[SluiceError] = []
    came: list[Path] = []
    behind = WriteBehind(landing(tmp_path / "in", Seam(), told), came.append)
    frames = [
        each
        for name in ("a.tar", "b.tar")
        for each in part_frames(name, PART[::-1] if name == "b.tar" else PART, size=body)
    ]
    stream = frame(Kind.ALIVE).join(frames)
    assert feed(behind, stream, piece) == 2 * len(frames) - 1
    behind.close()
    assert not behind.busy
    assert told == []
    assert [path.name.rpartition(".")[0] for path in came] == ["a.tar", "b.tar"]
    assert landed(tmp_path / "in") == {"a.tar": PART, "b.tar": PART[::-1]}


class Slow:
    """A disk that begins to write when it is told to."""

    def __init__(self, does: Does) -> None:
        self._does = does
        self.waits = threading.Event()
        self.go = threading.Event()

    def __call__(self, operation: Operation) -> None:
        if operation.kind is self._does and operation.path.name.endswith(".part"):
            self.waits.set()
            assert self.go.wait(60)


def test_who_sends_waits_for_a_slow_disk(tmp_path: Path) -> None:
    disk = Slow(Does.WRITE)
    told: list[SluiceError] = []
    came: list[Path] = []
    behind = WriteBehind(landing(tmp_path / "in", Seam(disk), told), came.append)
    frames = part_frames("a.tar", PART, size=len(PART) // 16)
    put: list[int] = []

    def send() -> None:
        for each in frames:
            put.append(feed(behind, each, 10 << 20))

    sender = threading.Thread(target=send)
    sender.start()
    assert disk.waits.wait(60)
    most = 2 + WAITING  # begin, the one that is written, those that wait
    assert len(frames) > most
    until(lambda: len(put) >= most)
    assert behind.busy
    assert len(put) <= most
    disk.go.set()
    sender.join(60)
    behind.close()
    assert landed(tmp_path / "in") == {"a.tar": PART}


def test_what_a_disk_refuses_is_raised_to_who_puts(tmp_path: Path) -> None:
    def refuse(operation: Operation) -> None:
        if operation.kind is Does.WRITE:
            raise OSError(errno.EBUSY, "refused")

    behind = WriteBehind(landing(tmp_path / "in", Seam(refuse), []), lambda path: None)
    with pytest.raises(OSError, match="refused"):
        for each in part_frames("a.tar", PART, size=100_000):
            feed(behind, each, 10 << 20)
    with pytest.raises(OSError, match="refused"):
        behind.close()
    assert landed(tmp_path / "in") == {}


def test_a_peer_is_not_dropped_while_our_disk_syncs(tmp_path: Path) -> None:
    disk = Slow(Does.SYNC_FILE)
    with listener(tmp_path / "in", files=Seam(disk), timeout=60.0) as inside:
        push(inside.address, *part_frames("a.tar", PART, size=1 << 20))
        assert disk.waits.wait(60)
        # It has said all; that it says no more is not held against it, however long we take.
        until(lambda: [peer.deadline for peer in inside._peers] == [None], 60)
        disk.go.set()
        until(lambda: inside.parts == 1, 60)
    assert [error for error, _ in inside.problems() if isinstance(error, PeerRefused)] == []
    assert landed(tmp_path / "in") == {"a.tar": PART}


def test_what_stands_behind_a_frame_goes_along() -> None:
    decoder = Decoder()
    first = frame(Kind.ALIVE)
    space = decoder.space()
    space[: 2 * HEADER] = 2 * first
    decoder.received(2 * HEADER)
    assert isinstance(decoder.next(), Frame)
    left = decoder.go_on_in(new_buffer())
    assert bytes(left[:HEADER]) == first
    assert isinstance(decoder.next(), Frame)
    assert decoder.next() is None
