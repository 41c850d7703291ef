"""The set of digests that must stay, in any number, with flat memory.

Digests are collected in sorted runs of 32-byte lines in scratch files, and read back as
one ascending stream: 10 million of them need 320 MB of disk and 20 MB of memory.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from manifests.digest import Digest

_RUN = 200_000
_WIDTH = 32
_WORD = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
_BLOCK = 1 << 20


class Marks:
    """Add digests in any order and any number of times, then read them once, sorted."""

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._waiting: set[bytes] = set()
        self._runs: list[Path] = []

    def add(self, digest: str | bytes) -> None:
        """Mark one digest, in hexadecimal."""
        text = digest if isinstance(digest, str) else digest.decode("ascii")
        self._waiting.add(bytes.fromhex(text))
        if len(self._waiting) >= _RUN:
            self._write_run()

    def add_tree(self, lines: Iterable[bytes]) -> None:
        """Mark what the lines of a tree name."""
        for line in lines:
            start = line.index(b"\t") + 1
            self.add(line[start : start + 64])

    def add_words(self, file: BinaryIO) -> None:
        """Mark every digest that stands as a word in a text of any length."""
        rest = b""
        while block := file.read(_BLOCK):
            text = rest + block
            # What touches the end of the block may go on in the next one.
            end = max(text.rfind(b"\n"), text.rfind(b"\t"), text.rfind(b" ")) + 1
            for word in _WORD.findall(text[:end]):
                self.add(word)
            rest = text[end:][-_BLOCK:]
        for word in _WORD.findall(rest):
            self.add(word)

    def ascending(self) -> Iterator[Digest]:
        """Every marked digest once, in ascending order."""
        self._write_run()
        for raw, _ in groupby(heapq.merge(*(_read(run) for run in self._runs))):
            yield Digest(raw.hex())

    def _write_run(self) -> None:
        if not self._waiting:
            return
        run = self._scratch / f"marks{len(self._runs)}"
        run.write_bytes(b"".join(sorted(self._waiting)))
        self._runs.append(run)
        self._waiting.clear()


def _read(run: Path) -> Iterator[bytes]:
    with run.open("rb") as file:
        while block := file.read(_WIDTH * 1024):
            for start in range(0, len(block), _WIDTH):
                yield block[start : start + _WIDTH]
