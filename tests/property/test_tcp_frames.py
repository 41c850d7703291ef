"""Frames: whatever lies between them and whatever bit flips, whole parts or nothing."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cds.tcp.frames import (
    BUDGET,
    HEADER,
    MAGIC,
    MAX_BODY,
    Damage,
    Decoder,
    Frame,
    Kind,
    digest,
    header,
)
from cds.tcp.landing import Field, Landing
from manifests import errors
from store.seam import Seam
from tests.support.tcp import decode, landed, part_frames

KINDS = st.integers(0, 255)
BODIES = st.one_of(st.binary(max_size=300), st.binary(max_size=20).map(lambda b: MAGIC + b))
FRAMES = st.lists(
    st.tuples(KINDS, st.binary(min_size=16, max_size=16), st.integers(0, 2**64 - 1), BODIES),
    max_size=6,
)
GARBAGE = st.one_of(
    st.binary(max_size=200),
    st.integers(1, 7).map(lambda n: MAGIC[:n]),
    st.just(MAGIC),
    st.binary(max_size=100).map(lambda b: MAGIC + b),
)
PIECES = st.lists(st.integers(1, 400), min_size=1)


def _wire(kind: int, transfer: bytes, offset: int, body: bytes) -> bytes:
    return header(kind, transfer, offset, body) + body


def _good(found: list[Frame | Damage]) -> list[tuple[int, bytes, int, bytes]]:
    return [(f.kind, f.transfer, f.offset, bytes(f.body)) for f in found if isinstance(f, Frame)]


@given(FRAMES, PIECES)
def test_frames_come_out_as_they_went_in(
    frames: list[tuple[int, bytes, int, bytes]], pieces: list[int]
) -> None:
    stream = b"".join(_wire(*each) for each in frames)
    found = decode(stream, itertools.cycle(pieces))
    assert _good(found) == frames
    assert len(found) == len(frames)


@given(FRAMES, st.data(), PIECES)
def test_garbage_before_between_and_after_costs_no_frame(
    frames: list[tuple[int, bytes, int, bytes]], data: st.DataObject, pieces: list[int]
) -> None:
    stream = b""
    rubbish = 0
    for each in frames:
        noise = data.draw(GARBAGE)
        rubbish += len(noise)
        stream += noise + _wire(*each)
    noise = data.draw(GARBAGE)
    rubbish += len(noise)
    stream += noise
    found = decode(stream, itertools.cycle(pieces))
    assert _good(found) == frames
    assert sum(f.skipped for f in found if isinstance(f, Damage)) == rubbish
    for each in found:
        if isinstance(each, Damage):
            assert isinstance(each.error, errors.DamagedFrame)


PARTS = {f"part{n}.tar": random.Random(n).randbytes(700 + n) for n in range(3)}


def _stream() -> tuple[bytes, list[tuple[int, int, str]]]:
    """Three parts with a keep-alive between, and which bytes belong to which part."""
    stream, places = b"", []
    for number, (name, data) in enumerate(PARTS.items()):
        for piece in part_frames(name, data, bytes([number + 1]) * 16, 256):
            places.append((len(stream), len(stream) + len(piece), name))
            stream += piece
        alive = header(Kind.ALIVE)
        places.append((len(stream), len(stream) + len(alive), ""))
        stream += alive
    return stream, places


def _land(stream: bytes, folder: Path) -> tuple[dict[str, bytes], list[errors.SluiceError]]:
    told: list[errors.SluiceError] = []
    field = Field(Seam(), folder, 1 << 20, 0)
    field.prepare()
    landing = Landing(field, "1", told.append)
    for found in decode(stream):
        if isinstance(found, Frame):
            landing.take(found)
        else:
            told.append(found.error)
    landing.give_up("the connection ended")
    here = landed(folder)
    assert not list(field.incoming.iterdir())
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    return here, told


def test_a_flipped_bit_is_noticed_and_costs_one_part(tmp_path: Path) -> None:
    stream, places = _stream()
    assert _land(stream, tmp_path) == (PARTS, [])
    chance = random.Random(7)
    for start, end, owner in places:
        head, body = range(start, start + HEADER), range(start + HEADER, end)
        for at in [*chance.sample(head, 4), *chance.sample(body, min(2, len(body)))]:
            flipped = bytearray(stream)
            flipped[at] ^= 1 << chance.randrange(8)
            here, told = _land(bytes(flipped), tmp_path)
            assert here == {name: data for name, data in PARTS.items() if name != owner}, at
            assert told
            assert {type(error) for error in told} == {errors.DamagedFrame}


def test_every_bit_of_a_frame_is_covered() -> None:
    wire = _wire(Kind.DATA, b"t" * 16, 77, b"some body")
    for bit in range(len(wire) * 8):
        flipped = bytearray(wire)
        flipped[bit // 8] ^= 1 << bit % 8
        found = decode(bytes(flipped) + header(Kind.ALIVE))
        assert [f.kind for f in found if isinstance(f, Frame)] == [Kind.ALIVE], bit


def test_a_lost_doubled_or_swapped_frame_costs_one_part(tmp_path: Path) -> None:
    pieces = {
        name: part_frames(name, data, bytes([n + 1]) * 16, 256)
        for n, (name, data) in enumerate(PARTS.items())
    }
    first, second, third = pieces.values()
    rest = {name: data for name, data in PARTS.items() if name != "part1.tar"}
    for number in range(len(second)):
        lost = [*first, *second[:number], *second[number + 1 :], *third]
        assert _land(b"".join(lost), tmp_path)[0] == rest
    for number in range(1, len(second) - 2):
        doubled = [*first, *second[:number], second[number], *second[number:], *third]
        here, _ = _land(b"".join(doubled), tmp_path)
        assert here == rest
        swapped = [*second[:number], second[number + 1], second[number], *second[number + 2 :]]
        assert _land(b"".join([*first, *swapped, *third]), tmp_path)[0] == rest


def test_a_frame_that_a_broken_one_swallowed_is_found(tmp_path: Path) -> None:
    """A relay goes on with a new connection behind the stump of the old one's frame."""
    stump = part_frames("part0.tar", PARTS["part0.tar"], b"a" * 16)[1][: HEADER + 100]
    whole = b"".join(part_frames("part1.tar", PARTS["part1.tar"], b"b" * 16))
    here, _ = _land(stump + whole, tmp_path)
    assert here == {"part1.tar": PARTS["part1.tar"]}


def test_an_announcement_beyond_measure_is_not_waited_for() -> None:
    import struct

    fields = struct.pack(">8sBB6xQQ16s32s", MAGIC, 1, 2, 10**18, 0, b"x" * 16, bytes(32))
    monster = fields + digest(fields)[:16]
    [damage, good] = decode(monster + header(Kind.ALIVE))
    assert isinstance(damage, Damage)
    assert "announces 1000000000000000000 bytes" in damage.error.what
    assert isinstance(good, Frame)


def test_frames_of_a_later_version_are_named() -> None:
    import struct

    fields = struct.pack(">8sBB6xQQ16s32s", MAGIC, 2, 2, 0, 0, b"x" * 16, bytes(32))
    [damage] = decode(fields + digest(fields)[:16])
    assert isinstance(damage, Damage)
    assert "version 2" in damage.error.what


@pytest.mark.parametrize(
    "noise",
    [
        b"\0" * 100_000,
        MAGIC * 12_500,
        # Good headers whose bodies never fit: each makes us hash a megabyte.
        header(Kind.DATA, body=bytes(MAX_BODY), known=b"x" * 32) * 1000,
    ],
    ids=["zeros", "magic", "headers"],
)
def test_endless_garbage_ends(noise: bytes) -> None:
    decoder = Decoder()
    fed = 0
    with pytest.raises(errors.DamagedFrame, match="without one good frame"):
        while fed <= 2 * BUDGET:
            space = decoder.space()
            piece = noise[: len(space)]
            space[: len(piece)] = piece
            decoder.received(len(piece))
            fed += len(piece)
            while decoder.next() is not None:
                pass
    assert fed <= BUDGET + 2 * len(noise) + MAX_BODY


def test_the_largest_frames_pass() -> None:
    body = random.Random(1).randbytes(MAX_BODY)
    stream = _wire(Kind.DATA, b"t" * 16, 0, body) * 3
    assert [bytes(f.body) == body for f in decode(stream) if isinstance(f, Frame)] == [True] * 3
