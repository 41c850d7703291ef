"""Trees: everything that a repository holds at one moment.

Canonical text, one line for each path, sorted by the UTF-8 bytes of the path::

    path TAB digest TAB size LF

The text is its own index: a tree is mapped into memory and bisected. TAB sorts
before every byte that a path may hold, so lines sort exactly as paths do.
A tree is itself a blob; its digest names the state of a repository.

A delta turns one tree into another; it is canonical text of the same order::

    - path LF                    the path is gone
    + path TAB digest TAB size LF    the path is new or has other bytes

(without the blanks after the sign).
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from manifests.digest import Digest, is_digest
from manifests.errors import BadPath, MalformedTree

MAX_PATH_BYTES = 1024
MAX_LINE_BYTES = MAX_PATH_BYTES + 1 + 64 + 1 + 20 + 2
MAX_SIZE = 2**63 - 1

#: Facts that our own formats keep in a tree; never served.
PRIVATE = ".sluice/"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SIZE = re.compile(rb"0|[1-9][0-9]{0,18}")
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One path of a tree. ``size`` is in bytes."""

    path: str
    digest: Digest
    size: int

    def line(self) -> bytes:
        return f"{self.path}\t{self.digest}\t{self.size}\n".encode()


@dataclass(frozen=True, slots=True)
class Change:
    """A path that differs between two trees."""

    path: str
    before: Entry | None
    after: Entry | None


def check_path(path: str) -> str:
    """Return ``path`` if a tree may hold it.

    UTF-8, relative, no empty, ``.`` or ``..`` segment, no backslash as a
    separator in disguise, no control character, at most 1,024 bytes.
    Raises BadPath.
    """
    if not path:
        raise BadPath("an empty path")
    shown = path[:200].encode("ascii", "backslashreplace").decode()
    if _CONTROL.search(path):
        raise BadPath("a control character or surrogate in a path", where=shown)
    if len(path.encode()) > MAX_PATH_BYTES:
        raise BadPath(f"a path of more than {MAX_PATH_BYTES} bytes", where=shown)
    if path.startswith("/"):
        raise BadPath("an absolute path", where=shown)
    for segment in path.split("/"):
        if segment in ("", ".", ".."):
            raise BadPath(f"a path with the segment {segment!r}", where=shown)
    return path


def parse_line(line: bytes) -> Entry:
    """Parse one line of a tree (with its LF). Raises MalformedTree, BadPath."""
    parts = line.split(b"\t")
    if len(parts) != 3 or not line.endswith(b"\n"):
        raise MalformedTree("a line that is not path, digest and size", where=repr(line[:120]))
    raw_path, raw_digest, raw_size = parts
    size_text = raw_size[:-1]
    try:
        path = raw_path.decode()
        digest = raw_digest.decode("ascii")
    except UnicodeDecodeError as error:
        raise MalformedTree("a line that is not UTF-8", where=repr(line[:120])) from error
    if not is_digest(digest):
        raise MalformedTree("a digest that is not SHA-256 in hexadecimal", where=repr(path[:120]))
    if not _SIZE.fullmatch(size_text) or int(size_text) > MAX_SIZE:
        raise MalformedTree("a size that is not a plain number", where=repr(path[:120]))
    return Entry(check_path(path), Digest(digest), int(size_text))


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of bytes into lines; raises MalformedTree on an endless or open one."""
    rest = b""
    for chunk in chunks:
        rest += chunk
        cut = rest.rfind(b"\n")
        if cut < 0:
            if len(rest) > MAX_LINE_BYTES:
                raise MalformedTree("a line that is too long", where=repr(rest[:120]))
            continue
        for line in rest[:cut].split(b"\n"):
            yield line + b"\n"
        rest = rest[cut + 1 :]
    if rest:
        raise MalformedTree("the last line has no end", where=repr(rest[:120]))


def encode(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The canonical text of ``entries``, in blocks of about 1 MiB.

    Raises BadPath for a path that may not enter a tree and MalformedTree when
    the entries are not sorted or a path comes twice.
    """
    block = bytearray()
    last = b""
    for entry in entries:
        check_path(entry.path)
        raw = entry.path.encode()
        if raw <= last:
            raise MalformedTree("paths out of order or twice", where=entry.path)
        last = raw
        block += entry.line()
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def parse(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Validate a stream of tree text and yield its entries in order."""
    last = b""
    for line in lines(chunks):
        entry = parse_line(line)
        raw = line[: line.index(b"\t")]
        if raw <= last:
            raise MalformedTree("paths out of order or twice", where=entry.path)
        last = raw
        yield entry


class Tree:
    """A canonical tree, read in place. Look-ups bisect; nothing is loaded.

    The text must have been validated when it came in (``parse``); look-ups
    only cut lines. Close it, or use it as a context manager, when it maps a file.
    """

    def __init__(self, text: bytes | mmap.mmap, *, owner: mmap.mmap | None = None) -> None:
        self._text = text
        self._owner = owner
        self._count: int | None = None

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

    @property
    def size(self) -> int:
        """The length of the text in bytes."""
        return len(self._text)

    def blocks(self) -> Iterator[bytes]:
        """The text in blocks of 1 MiB."""
        for start in range(0, len(self._text), _BLOCK):
            yield self._text[start : start + _BLOCK]

    def raw_lines(self, start: int = 0) -> Iterator[bytes]:
        """Lines (with LF) from the byte offset ``start``, which begins a line."""
        text, end = self._text, len(self._text)
        while start < end:
            stop = min(start + _BLOCK, end)
            if stop < end:
                stop = text.rfind(b"\n", start, stop) + 1 or text.find(b"\n", start) + 1
            for line in text[start:stop].split(b"\n")[:-1]:
                yield line + b"\n"
            start = stop

    def _lower_bound(self, key: bytes) -> int:
        """The offset of the first line that sorts at or after ``key``."""
        text = self._text
        low, high = 0, len(text)
        while low < high:
            middle = (low + high) // 2
            start = text.rfind(b"\n", low, middle) + 1 or low
            end = text.find(b"\n", middle) + 1
            if text[start:end] < key:
                low = end
            else:
                high = start
        return low

    def lookup(self, path: str) -> Entry | None:
        """The entry at exactly ``path``, or None."""
        try:
            key = path.encode() + b"\t"
        except UnicodeEncodeError:
            return None
        start = self._lower_bound(key)
        end = self._text.find(b"\n", start) + 1
        line = self._text[start:end]
        if not line.startswith(key):
            return None
        return _cut(line)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        """All entries whose path starts with ``prefix``, in order."""
        if not prefix:
            for line in self.raw_lines():
                yield _cut(line)
            return
        key = prefix.encode()
        for line in self.raw_lines(self._lower_bound(key)):
            if not line.startswith(key):
                return
            yield _cut(line)

    def has_folder(self, folder: str) -> bool:
        """Whether any path lies below ``folder`` (no slash at its end; "" is the top)."""
        if not folder:
            return len(self._text) > 0
        key = folder.encode() + b"/"
        start = self._lower_bound(key)
        return self._text[start : start + len(key)] == key

    def children(self, folder: str) -> Iterator[tuple[str, Entry | None]]:
        """The names directly below ``folder``: (name, entry), entry None for a folder.

        Skips over the contents of sub-folders by bisection.
        """
        prefix = f"{folder}/".encode() if folder else b""
        start = self._lower_bound(prefix) if prefix else 0
        text = self._text
        while start < len(text):
            end = text.find(b"\n", start) + 1
            line = text[start:end]
            if not line.startswith(prefix):
                return
            rest = line[len(prefix) : line.index(b"\t")]
            slash = rest.find(b"/")
            if slash < 0:
                yield rest.decode(), _cut(line)
                start = end
            else:
                name = rest[:slash]
                yield name.decode(), None
                start = self._lower_bound(prefix + name + b"0")  # "0" follows "/"


def _cut(line: bytes) -> Entry:
    path, digest, size = line[:-1].split(b"\t")
    return Entry(path.decode(), Digest(digest.decode()), int(size))


def _key(line: bytes) -> bytes:
    return line[: line.index(b"\t")]


def diff(old: Tree, new: Tree) -> Iterator[Change]:
    """What differs between two trees, in path order; both are streamed once."""
    left, right = old.raw_lines(), new.raw_lines()
    a, b = next(left, None), next(right, None)
    while a is not None or b is not None:
        if a == b:
            a, b = next(left, None), next(right, None)
            continue
        key_a = None if a is None else _key(a)
        key_b = None if b is None else _key(b)
        if a is not None and b is not None and key_a == key_b:
            after = _cut(b)
            yield Change(after.path, _cut(a), after)
            a, b = next(left, None), next(right, None)
        elif b is None or (key_a is not None and key_b is not None and key_a < key_b):
            assert a is not None
            gone = _cut(a)
            yield Change(gone.path, gone, None)
            a = next(left, None)
        else:
            added = _cut(b)
            yield Change(added.path, None, added)
            b = next(right, None)


def delta(old: Tree, new: Tree) -> Iterator[bytes]:
    """The delta text that turns ``old`` into ``new``, line by line."""
    for change in diff(old, new):
        if change.after is None:
            yield b"-" + change.path.encode() + b"\n"
        else:
            yield b"+" + change.after.line()


def apply(old: Tree, delta_text: Iterable[bytes]) -> Iterator[bytes]:
    """Apply a delta from outside; yields the new tree's lines.

    Raises MalformedTree when the delta is not canonical: out of order, a
    removal of a path that is not there, or a line that changes nothing.
    """
    left = old.raw_lines()
    base = next(left, None)
    last = b""
    for line in lines(delta_text):
        sign, rest = line[:1], line[1:]
        if sign == b"+":
            entry = parse_line(rest)
            key = entry.path.encode()
        elif sign == b"-":
            key = rest[:-1]
        else:
            raise MalformedTree("a delta line that is neither + nor -", where=repr(line[:120]))
        if key <= last:
            raise MalformedTree("delta lines out of order or twice", where=repr(key[:120]))
        last = key
        while base is not None and _key(base) < key:
            yield base
            base = next(left, None)
        found = base is not None and _key(base) == key
        if sign == b"-" and not found:
            raise MalformedTree("a removal of a path that is not there", where=repr(key[:120]))
        if found:
            if sign == b"+" and base == rest:
                raise MalformedTree("a delta line that changes nothing", where=repr(key[:120]))
            base = next(left, None)
        if sign == b"+":
            yield rest
    while base is not None:
        yield base
        base = next(left, None)
