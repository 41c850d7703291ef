"""Bombs cost neither memory nor time, and honest files of every kind are read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import sys
from pathlib import Path

import pytest
from backports import zstd

from manifests.errors import MalformedIndex, OversizedIndex
from manifests.formats.bounded import FLOOR, compression, inflate, read_small
from tests.support.yumrepos import COMPRESS

TEXT = b"".join(b"line %d of an index\n" % i for i in range(40_000))
NAMES = {"": "plain", ".gz": "gzip", ".xz": "xz", ".bz2": "bzip2", ".zst": "zstd"}


def unpacked(data: bytes, promised: int | None = None) -> bytes:
    blocks = list(inflate(io.BytesIO(data), where="x", promised=promised))
    assert max(map(len, blocks), default=0) <= 1 << 16
    return b"".join(blocks)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_honest_files_are_read_to_the_last_byte(suffix: str) -> None:
    packed = COMPRESS[suffix](TEXT)
    assert compression(packed) == NAMES[suffix]
    assert unpacked(packed) == TEXT
    assert unpacked(packed, len(TEXT)) == TEXT
    with pytest.raises(OversizedIndex, match="promised"):
        unpacked(packed, len(TEXT) - 1)


@pytest.mark.parametrize("suffix", [s for s in COMPRESS if s])
def test_damaged_files_are_malformed(suffix: str) -> None:
    packed = COMPRESS[suffix](TEXT)
    for wrong in (
        packed[:-1],
        packed[: len(packed) // 2],
        packed[:8],
        packed + b"trailing garbage that is nothing",
        packed + b"x",
    ):
        with pytest.raises(MalformedIndex):
            unpacked(wrong)


@pytest.mark.parametrize("suffix", [s for s in COMPRESS if s])
def test_members_one_after_the_other_are_one_file(suffix: str) -> None:
    pack = COMPRESS[suffix]
    assert unpacked(pack(TEXT) + pack(b"") + pack(b"end")) == TEXT + b"end"


def test_an_old_lzma_file_is_read_and_zchunk_is_not() -> None:
    assert unpacked(lzma.compress(TEXT, format=lzma.FORMAT_ALONE)) == TEXT
    with pytest.raises(MalformedIndex, match="zchunk"):
        unpacked(b"\0ZCK1....")


def test_decoders_that_ask_for_too_much_memory_are_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 1 << 30}]
    with pytest.raises(MalformedIndex):
        unpacked(b"".join(_streamed_xz(filters)))
    options = {int(zstd.CompressionParameter.window_log): 28, 160: 1}
    compressor = zstd.ZstdCompressor(options=options)
    with pytest.raises(MalformedIndex):
        unpacked(compressor.compress(b"x" * 100) + compressor.flush())


def _streamed_xz(filters: list[dict[str, int]]) -> list[bytes]:
    small = lzma.LZMACompressor(lzma.FORMAT_XZ, filters=[{"id": lzma.FILTER_LZMA2, "preset": 1}])
    good = small.compress(b"x") + small.flush()
    # Only the dictionary size of the block header is forged: making such a file for real
    # would need the very memory that reading it would.
    import zlib

    header = bytearray(good[12:24])
    assert header[2] == 0x21 and header[3] == 1
    header[4] = 36  # 1 GiB
    header[8:12] = zlib.crc32(bytes(header[:8])).to_bytes(4, "little")
    return [good[:12], bytes(header), good[24:]]


def bomb(kind: str, size: int) -> bytes:
    """``size`` zero bytes, small."""
    block = bytes(1 << 20)
    parts: list[bytes] = []
    packer = {
        "gz": lambda: gzip.zlib.compressobj(9, 8, 31),
        "xz": lambda: lzma.LZMACompressor(preset=0),
        "bz2": bz2.BZ2Compressor,
        "zst": zstd.ZstdCompressor,
    }[kind]()
    for _ in range(size >> 20):
        parts.append(packer.compress(block))
    parts.append(packer.flush())
    return b"".join(parts)


_CHILD = """
import resource, sys, time
from manifests.errors import OversizedIndex
from manifests.formats.bounded import inflate
promised = int(sys.argv[2]) or None
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    with open(sys.argv[1], "rb") as file:
        for _ in inflate(file, where="bomb", promised=promised):
            pass
except OversizedIndex as error:
    print("oversized", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.parametrize("kind", ["gz", "xz", "bz2", "zst"])
@pytest.mark.parametrize("promised", [0, 1000])
def test_a_bomb_is_refused_in_flat_memory(kind: str, promised: int, tmp_path: Path) -> None:
    file = tmp_path / "bomb"
    file.write_bytes(bomb(kind, 160 << 20))
    assert file.stat().st_size < 1 << 20
    child = subprocess.run(
        [sys.executable, "-c", _CHILD, str(file), str(promised)],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": "."},
    )  # fmt: skip
    word, grown = child.stdout.split()
    assert word == "oversized"
    assert int(grown) < 32 << 10, f"{grown} KiB"


def test_without_a_promise_small_files_may_inflate_and_large_ones_in_proportion() -> None:
    assert len(unpacked(bomb("gz", FLOOR))) == FLOOR
    with pytest.raises(OversizedIndex, match="allowed"):
        unpacked(bomb("gz", FLOOR + (1 << 20)))
    with pytest.raises(OversizedIndex):
        list(inflate(io.BytesIO(gzip.compress(TEXT)), where="x", promised=len(TEXT), cap=100))


def test_a_small_file_has_a_limit() -> None:
    assert read_small(io.BytesIO(b"1234"), 4, "x") == b"1234"
    with pytest.raises(OversizedIndex):
        read_small(io.BytesIO(b"12345"), 4, "x")
