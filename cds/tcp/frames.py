"""The frames of the TCP carrier, version 1: bytes to frames and back, no I/O.

A frame is a header of 96 bytes and a body. All numbers are unsigned, most significant
byte first::

    byte  0   8  magic     89 53 4C 55 43 0D 0A 1A
    byte  8   1  version   1
    byte  9   1  kind      1 begin, 2 data, 3 end, 4 alive
    byte 10   6  zeros
    byte 16   8  length    bytes of the body, at most 1 MiB
    byte 24   8  offset    data: where in the part the body belongs; begin, end: its size
    byte 32  16  transfer  chosen anew for each part that is sent; alive: zeros
    byte 48  32  BLAKE3 of the body
    byte 80  16  first half of the BLAKE3 of bytes 0 to 79

The header's hash tells a frame from bytes that happen to look like one, before its length
is believed. After anything that does not hold, a reader looks for the next magic.
BLAKE3 is the hash of its specification (32 bytes, no key): as hard to forge as SHA-256, and
fast enough that a core is not busy with it alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

from blake3 import blake3

from manifests import errors

MAGIC = b"\x89SLUC\r\n\x1a"
"""Neither text nor UTF-8, and broken by anything that rewrites line ends or stops at Ctrl-Z."""

VERSION = 1
MAX_BODY = 1 << 20
TRANSFER = 16
NO_TRANSFER = bytes(TRANSFER)

BUDGET = 16 << 20
"""Bytes without a good frame among them after which a peer is not worth reading."""

_FIELDS = struct.Struct(">8sBB6xQQ16s32s")
_CHECK = 16
HEADER = _FIELDS.size + _CHECK
_LOOK = 1 << 10
"""What a look at a header that is none counts in the budget: it costs us time."""
_RECEIVE = 256 << 10
"""Bytes to take in at once while no frame says how many will come."""


class Kind(IntEnum):
    BEGIN = 1
    """A part begins; the body is its name, in ASCII."""
    DATA = 2
    """Bytes of the part."""
    END = 3
    """The part is whole; the body is the hash of all its data frames' hashes in order."""
    ALIVE = 4
    """Nothing to send, and still there."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A good frame. ``body`` is valid until its buffer is given more bytes."""

    kind: int
    transfer: bytes
    offset: int
    body: memoryview
    digest: bytes
    """Hash of the body, as it was found."""


@dataclass(frozen=True, slots=True)
class Damage:
    """``skipped`` bytes that were no good frame; ``error`` says what was first wrong."""

    skipped: int
    error: errors.DamagedFrame


def digest(body: bytes | bytearray | memoryview) -> bytes:
    """The 32 bytes by which a frame knows its body."""
    return blake3(body).digest()


def header(
    kind: int,
    transfer: bytes = NO_TRANSFER,
    offset: int = 0,
    body: bytes | bytearray | memoryview = b"",
    known: bytes | None = None,
) -> bytes:
    """The 96 bytes that go before ``body``; ``known`` is its digest if that is known."""
    found = known or digest(body)
    fields = _FIELDS.pack(MAGIC, VERSION, kind, len(body), offset, transfer, found)
    return fields + digest(fields)[:_CHECK]


def frame(kind: int, transfer: bytes = NO_TRANSFER, offset: int = 0, body: bytes = b"") -> bytes:
    """A whole small frame."""
    return header(kind, transfer, offset, body) + body


def new_buffer() -> bytearray:
    """Room for what a decoder holds at a time: one frame and a bit."""
    return bytearray(MAX_BODY + HEADER + _RECEIVE)


class Decoder:
    """Finds the frames in a stream of bytes, whatever lies between them.

    Receive into ``space()``, say how much by ``received(n)``, then call ``next()`` until it
    returns None. Memory is one buffer.
    """

    def __init__(self) -> None:
        self._buffer = new_buffer()
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._skipped = 0
        self._wasted = 0
        self._why: errors.DamagedFrame | None = None
        self._ended = False
        self._missing = 0
        # Bytes that a frame whose header was good still lacks.

    def space(self) -> memoryview:
        """Where the next bytes go; never empty."""
        if self._start == self._end:
            self._start = self._end = 0
        elif len(self._buffer) - self._end < _RECEIVE or self._end - self._start <= HEADER:
            kept = self._end - self._start
            self._view[:kept] = bytes(self._view[self._start : self._end])
            self._start, self._end = 0, kept
        # To the end of the frame and no further: then there is nothing to move.
        return self._view[self._end : self._end + (self._missing or _RECEIVE)]

    @property
    def promised(self) -> bool:
        """Whether the header of a frame says that all of ``space()`` will be filled."""
        return bool(self._missing)

    def go_on_in(self, buffer: bytearray) -> bytearray:
        """Leave the buffer to the frames that came from it, and use ``buffer`` from now on.

        Returns the one that was left; the frames in it are valid until it is used again.
        ``buffer`` is of ``new_buffer``, and nothing in it is looked at.
        """
        left, view = self._buffer, self._view[self._start : self._end]
        self._buffer, self._view = buffer, memoryview(buffer)
        self._view[: len(view)] = view
        self._start, self._end = 0, len(view)
        return left

    def received(self, count: int) -> None:
        """``count`` bytes stand in ``space()``."""
        self._end += count

    def end(self) -> None:
        """No more bytes will come: what is left of a frame is not waited for any more."""
        self._ended = True

    def next(self) -> Frame | Damage | None:
        """The next good frame, or what lay before it; None: give me more bytes, or the end.

        Raises ``DamagedFrame`` once more than ``BUDGET`` bytes were read in vain.
        """
        while True:
            found = self._look()
            if self._wasted > BUDGET:
                raise errors.DamagedFrame(
                    f"{self._wasted} bytes without one good frame",
                    remedy="find out who sends here; it is not the carrier of this version",
                )
            if found is None and not self._ended:
                return None
            if found is True:
                continue
            if self._why is not None:
                # The frame stays where it is: what lay before it comes first.
                damage = Damage(self._skipped, self._why)
                self._skipped, self._why = 0, None
                return damage
            if isinstance(found, Frame):
                self._take(found)
            return found

    def _take(self, good: Frame) -> None:
        self._start += HEADER + len(good.body)
        self._wasted = 0

    def _look(self) -> Frame | Literal[True] | None:
        """A frame at the start; True: something was skipped; None: too few bytes."""
        self._missing = 0
        at = self._buffer.find(MAGIC, self._start, self._end)
        if at < 0:
            # The last bytes may be the first of a magic.
            keep = 0 if self._ended else min(len(MAGIC) - 1, self._end - self._start)
            self._skip(self._end - self._start - keep, "bytes that are no frame")
            return None
        if at > self._start:
            self._skip(at - self._start, "bytes that are no frame")
        if self._end - self._start < HEADER:
            return self._cut_short()
        head = bytes(self._view[self._start : self._start + HEADER])
        if digest(head[:-_CHECK])[:_CHECK] != head[-_CHECK:]:
            self._wasted += _LOOK
            return self._skip(len(MAGIC), "the header of a frame is damaged")
        _, version, kind, length, offset, transfer, stated = _FIELDS.unpack(head[:-_CHECK])
        if version != VERSION:
            return self._skip(len(MAGIC), f"a frame of version {version}, not {VERSION}")
        if length > MAX_BODY:
            return self._skip(len(MAGIC), f"a frame that announces {length} bytes")
        if self._end - self._start < HEADER + length:
            self._missing = HEADER + length - (self._end - self._start)
            return self._cut_short()
        body = self._view[self._start + HEADER : self._start + HEADER + length]
        if digest(body) != stated:
            # Its length may be a lie, so the next frame may begin within it. That makes a
            # liar's bytes count more than once, and so does the budget.
            self._wasted += length
            return self._skip(len(MAGIC), "the body of a frame is damaged")
        return Frame(kind, transfer, offset, body.toreadonly(), stated)

    def _cut_short(self) -> Literal[True] | None:
        if not self._ended:
            return None
        # A relay may have gone on with another connection's frames behind the stump.
        return self._skip(len(MAGIC), "a frame ends too early")

    def _skip(self, count: int, why: str) -> Literal[True]:
        if count:
            self._start += count
            self._skipped += count
            self._wasted += count
            self._why = self._why or errors.DamagedFrame(
                why, remedy="nothing: the part it belongs to counts as lost and is sent again"
            )
        return True
