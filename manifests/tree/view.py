"""A tree that was validated before, read in place."""

from __future__ import annotations

import mmap
from bisect import bisect_left, insort
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from manifests.digest import Digest
from manifests.tree.entry import Entry

_BLOCK = 1 << 20
_PAGE = 4096
#: Streaming gives back its mapped pages after so many bytes (a multiple of the page size).
_RELEASE = 8 << 20
#: Bisection leaves a fence about every 1/2**_LEVELS of the text.
_LEVELS = 11
#: Where bisection ends and searching begins.
_WINDOW = 1024


class Tree:
    """A canonical tree, read in place. Look-ups bisect; nothing is loaded.

    The text must have been validated when it came in (``parse``); look-ups
    only cut lines. Close it, or use it as a context manager, when it maps a file.
    Threads may share it.
    """

    def __init__(self, text: bytes | mmap.mmap, *, owner: mmap.mmap | None = None) -> None:
        self._text = text
        self._owner = owner
        self._count: int | None = None
        # Sorted (path with TAB, where its line starts): filled as look-ups pass, so that
        # there is no load time. One list of tuples, because ``insort`` is atomic.
        self._fences: list[tuple[bytes, int]] = [(b"", 0), (b"\xff", len(text))]

    @classmethod
    def map(cls, path: Path) -> Self:
        """Map the tree at ``path`` into memory (an empty file cannot be mapped)."""
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                return cls(b"")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return cls(mapped, owner=mapped)

    def close(self) -> None:
        if self._owner is not None:
            self._owner.close()
            self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        """The number of paths (counted once, in one pass)."""
        if self._count is None:
            self._count = sum(block.count(b"\n") for block in self.blocks())
        return self._count

    def total(self) -> int:
        """The sum of the sizes of all paths (in one pass)."""
        return sum(sum(sizes(block)) for block in self.line_blocks())

    @property
    def size(self) -> int:
        """The length of the text in bytes."""
        return len(self._text)

    def slice(self, start: int, stop: int) -> bytes:
        """The text between two byte offsets."""
        return self._text[start:stop]

    def release(self, start: int, stop: int) -> None:
        """Streaming has passed these bytes: let go of their mapped pages.

        They stay in the page cache. Without this, one pass over a large tree
        would count the whole file as memory of the process.
        """
        start = max(start - start % mmap.PAGESIZE, 0)
        stop -= stop % mmap.PAGESIZE
        if self._owner is not None and stop > start:
            self._owner.madvise(mmap.MADV_DONTNEED, start, stop - start)

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks of 1 MiB."""
        for start in range(0, len(self._text), _BLOCK):
            if start % _RELEASE == 0:
                self.release(start - _RELEASE, start)
            yield self._text[start : start + _BLOCK]

    def line_blocks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Blocks of whole lines between two offsets that begin a line.

        The first is small, so that a small folder costs little.
        """
        text, end = self._text, len(self._text) if stop is None else stop
        length, kept = _PAGE, start
        while start < end:
            cut = min(start + length, end)
            if cut < end:
                cut = text.rfind(b"\n", start, cut) + 1 or text.find(b"\n", start) + 1 or end
            yield text[start:cut]
            start = cut
            length = min(2 * length, _BLOCK // 8)
            if start - kept >= _RELEASE:
                self.release(kept, start)
                kept = start

    def raw_lines(self, start: int = 0) -> Iterator[bytes]:
        """Lines (with LF) from the byte offset ``start``, which begins a line."""
        for block in self.line_blocks(start):
            for line in block.split(b"\n")[:-1]:
                yield line + b"\n"

    def _narrow(self, key: bytes, low: int, high: int) -> tuple[int, int]:
        """Bisect to a window of a few lines.

        ``low`` and ``high`` begin lines; every line before ``low`` sorts before
        ``key``, the line at ``high`` does not. ``key`` holds no LF, and TAB only
        at its end, so that comparing the first len(key) bytes decides.
        """
        text, length, find = self._text, len(key), self._text.find
        while high - low > _WINDOW:
            start = find(b"\n", (low + high) >> 1, high - 1) + 1
            if not start:
                break
            if text[start : start + length] < key:
                low = start
            else:
                high = start
        return low, high

    def _narrow_all(self, key: bytes) -> tuple[int, int]:
        """``_narrow`` over the whole text, between fences that earlier look-ups left."""
        text, fences = self._text, self._fences
        place = bisect_left(fences, (key,))
        (before, low), (after, high) = fences[place - 1], fences[place]
        if not before < key <= after:  # another thread put one in at this very moment
            low, high = 0, len(text)
        window = len(text) >> _LEVELS
        while high - low > max(window, _WINDOW):
            start = text.find(b"\n", (low + high) >> 1, high - 1) + 1
            if not start:
                break
            # Up to its TAB and no further, so that a key compares as with the line.
            fence = text[start : text.find(b"\t", start) + 1]
            insort(fences, (fence, start))
            if fence < key:
                low = start
            else:
                high = start
        return self._narrow(key, low, high)

    def lower_bound(self, key: bytes, start: int | None = None) -> int:
        """The offset of the first line that sorts at or after ``key``.

        ``key`` is the beginning of a path, TAB only at its end. ``start`` begins
        a line that is not after the result; looking starts near it.
        """
        text = self._text
        if start is None:
            low, high = self._narrow_all(key)
        else:
            low, high, step = start, len(text), _PAGE
            while (probe := low + step) < len(text):
                line = text.find(b"\n", probe) + 1
                if not 0 < line < len(text):
                    break
                if text[line : line + len(key)] >= key:
                    high = line
                    break
                low, step = line, 4 * step
            low, high = self._narrow(key, low, high)
        lines = text[low:high].split(b"\n")[:-1]
        before = bisect_left(lines, key)
        return low + before + sum(map(len, lines[:before]))

    def lookup(self, path: str) -> Entry | None:
        """The entry at exactly ``path``, or None."""
        key = _key(path)
        if key is None:
            return None
        key += b"\t"
        text, length = self._text, len(key)
        low, high = self._narrow_all(key)
        if low == 0 and text[:length] == key:
            start = length
        else:
            start = text.find(b"\n" + key, max(low - 1, 0), high + length)
            if start < 0:
                return None
            start += 1 + length
        end = text.find(b"\n", start)
        digest, _, size = text[start:end].partition(b"\t")
        return Entry(path, Digest(digest.decode()), int(size))

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All entries whose path starts with ``prefix``, in order."""
        start, stop = 0, len(self._text)
        if prefix:
            key = _key(prefix)
            if key is None:
                return
            start = self.lower_bound(key)
            stop = self.lower_bound(key + b"\xff", start)  # no byte of UTF-8 is as large
        for block in self.line_blocks(start, stop):
            cells = block.decode().replace("\n", "\t").split("\t")
            yield from map(
                Entry._make,
                zip(cells[0:-1:3], cells[1::3], map(int, cells[2::3]), strict=True),
            )

    def has_folder(self, folder: str) -> bool:
        """Whether any path lies below ``folder`` (no slash at its end; "" is the top)."""
        if not folder:
            return len(self._text) > 0
        key = _key(folder)
        if key is None:
            return False
        key += b"/"
        start = self.lower_bound(key)
        return self._text[start : start + len(key)] == key

    def children(self, folder: str) -> Iterator[tuple[str, Entry | None]]:
        """The names directly below ``folder``: (name, entry), entry None for a folder.

        Skips over the contents of sub-folders. A name may come twice, as a file
        and later as a folder, if an upstream has both.
        """
        key = _key(folder) if folder else b""
        if key is None:
            return
        prefix = key + b"/" if folder else b""
        start = self.lower_bound(prefix) if prefix else 0
        length = len(prefix)
        while True:
            for block in self.line_blocks(start):
                at = 0
                while at < len(block):
                    end = block.find(b"\n", at) + 1
                    if not block.startswith(prefix, at):
                        return
                    line = block[at:end]
                    name, _, rest = line[length : line.index(b"\t")].partition(b"/")
                    if rest:
                        break
                    yield name.decode(), cut_entry(line)
                    at = end
                start += at
                if at < len(block):
                    break
            else:
                return
            yield name.decode(), None
            start = self.lower_bound(prefix + name + b"0", start)  # "0" follows "/"


def _key(path: str) -> bytes | None:
    """The bytes of what may be (the beginning of) a path; None when no path can be so."""
    if "\t" in path or "\n" in path:  # it would match beyond the path's own cell
        return None
    try:
        return path.encode()
    except UnicodeEncodeError:
        return None


def sizes(block: bytes) -> Iterator[int]:
    """The sizes in whole lines that were validated before."""
    return map(int, block.replace(b"\n", b"\t").split(b"\t")[2::3])


def cut_entry(line: bytes) -> Entry:
    """The entry of a line that was validated before (with or without LF)."""
    path, digest, size = line.split(b"\t")
    return Entry(path.decode(), Digest(digest.decode()), int(size))
