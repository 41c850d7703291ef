"""Decompression that stops where the promise stops.

A few megabytes can inflate to terabytes, so nothing here ever asks a
decompressor for more than a block of output, and the sum of all blocks is held
against a limit. The kind of compression is read from the first bytes, never
from a name. Known are gzip (RFC 1952), xz and lzma (XZ Utils), bzip2,
Zstandard (RFC 8878), and plain bytes.
"""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from manifests.errors import MalformedIndex, OversizedIndex

if sys.version_info >= (3, 14):  # pragma: no cover - the same module under its final name
    from compression import zstd
else:
    from backports import zstd

#: Bytes read and produced in one step.
BLOCK = 1 << 16
#: No index inflates to more than this many bytes, whatever it promises.
CAP = 16 << 30
#: Without a promise an index may inflate to this many times its own size ...
RATIO = 200
#: ... but always to this many bytes.
FLOOR = 16 << 20
#: Memory that an xz stream may ask for, in bytes; `xz -9` needs 65 MiB.
XZ_MEMORY = 80 << 20
#: The largest Zstandard window is two to this power (128 MiB with `--ultra`; 8 MiB is usual).
ZSTD_WINDOW_LOG = 25

_MAGIC = (
    (b"\x1f\x8b", "gzip"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x5d\x00\x00", "lzma"),
    (b"BZh", "bzip2"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x00ZCK1", "zchunk"),
    (b"\x00ZHR1", "zchunk"),
)


class _Decoder(Protocol):
    """What the decoders of the standard library share, gzip through an adapter."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Gzip:
    """Gives zlib the interface of the other decoders."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        # A full block may hide more output than there is input left.
        return not self._inner.unconsumed_tail and not self._full

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out


def _zstd() -> _Decoder:
    options = {int(zstd.DecompressionParameter.window_log_max): ZSTD_WINDOW_LOG}
    return zstd.ZstdDecompressor(options=options)


_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
    "lzma": lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=XZ_MEMORY),
    "bzip2": bz2.BZ2Decompressor,
    "zstd": _zstd,
}
_BROKEN = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError, zstd.ZstdError)


def compression(head: bytes) -> str:
    """The kind of compression that the first bytes show; ``plain`` if none."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), "plain")


def read_small(source: BinaryIO, limit: int, where: str) -> bytes:
    """All bytes of a file that may have at most ``limit``; raises OversizedIndex."""
    data = source.read(min(limit, BLOCK) + 1)  # a buffer of the whole limit costs time
    if BLOCK < len(data) <= limit:
        data += source.read(limit + 1 - len(data))
    if len(data) > limit:
        raise OversizedIndex(f"more than {limit} bytes", where=where)
    return data


def inflate(
    source: BinaryIO, *, where: str, promised: int | None = None, cap: int = CAP
) -> Iterator[bytes]:
    """The decompressed bytes of ``source`` in blocks of at most ``BLOCK`` bytes.

    ``promised`` is the size that an index gives for the decompressed bytes.
    Raises OversizedIndex beyond it (without it: beyond ``RATIO`` times the
    bytes read so far) and beyond ``cap``; MalformedIndex for damaged, truncated or
    unknown data. A shorter result than promised is the caller's finding.
    """
    data = source.read(BLOCK)
    kind = compression(data)
    if kind == "zchunk":
        raise MalformedIndex("zchunk compression is not read here", where=where)
    taken, given = len(data), 0
    decoder = None if kind == "plain" else _DECODERS[kind]()
    while True:
        if decoder is None:
            out, ended = data, not data
        else:
            try:
                out = decoder.decompress(data, BLOCK)
            except _BROKEN as error:
                raise MalformedIndex(f"damaged {kind} data ({error})", where=where) from error
            ended = False
        given += len(out)
        limit = max(FLOOR, RATIO * taken) if promised is None else promised
        if given > min(limit, cap):
            word = "allowed" if promised is None or cap < promised else "promised"
            raise OversizedIndex(f"inflates to more than the {word} size", where=where)
        if out:
            yield out
        if ended:
            return
        data = b""
        if decoder is None:
            data = source.read(BLOCK)
        elif decoder.eof:
            rest = _next_member(decoder.unused_data, source)
            if not rest:
                return
            taken += max(0, len(rest) - len(decoder.unused_data))
            if compression(rest) != kind:
                raise MalformedIndex(f"other bytes follow the {kind} data", where=where)
            decoder, data = _DECODERS[kind](), rest
        elif decoder.needs_input:
            data = source.read(BLOCK)
            taken += len(data)
            if not data:
                raise MalformedIndex(f"truncated {kind} data", where=where)


def _next_member(rest: bytes, source: BinaryIO) -> bytes:
    """What follows a compressed member, without the zero bytes that may pad it."""
    rest = rest.lstrip(b"\0")
    while len(rest) < 16:
        more = source.read(BLOCK)
        if not more:
            break
        rest += more if rest else more.lstrip(b"\0")
    return rest
