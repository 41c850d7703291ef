"""What differs between two trees, and the delta that turns one into the other."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from manifests.errors import MalformedTree
from manifests.tree.entry import MAX_LINE_BYTES, Change, parse_line
from manifests.tree.text import columns, cut_lines, line_blocks
from manifests.tree.view import Tree, cut_entry

_SMALL = 1 << 16
_LARGE = 1 << 20
_RELEASE = 8 << 20


class _Window:
    """Passes once over a tree's text."""

    def __init__(self, tree: Tree) -> None:
        self.tree = tree
        self.at = 0
        self._kept = 0

    def peek(self, length: int) -> bytes:
        return self.tree.slice(self.at, self.at + length)

    def advance(self, length: int) -> None:
        self.at += length
        if self.at - self._kept >= _RELEASE:
            self.tree.release(self._kept, self.at)
            self._kept = self.at

    def lines(self) -> tuple[list[bytes], bytes | None]:
        """The next whole lines without LF, and the last key if there is more text."""
        block = self.peek(_SMALL)
        lines = block.split(b"\n")
        open_end = lines.pop()
        if self.at + len(block) < self.tree.size:
            if not lines:
                raise MalformedTree("a line that is too long", where=repr(block[:120]))
            return lines, _key(lines[-1])
        if open_end:
            raise MalformedTree("the last line has no end", where=repr(open_end[:120]))
        return lines, None


def diff(old: Tree, new: Tree) -> Iterator[Change]:
    """What differs between two trees, in path order; both are streamed once.

    Equal stretches are compared as blocks; only around a difference are lines cut.
    """
    left, right = _Window(old), _Window(new)
    length = _SMALL
    while left.at < old.size or right.at < new.size:
        same = left.peek(length)
        if same == right.peek(length):
            # Whole lines only, so that both windows go on at the start of one.
            length = min(2 * length, _LARGE)
            step = same.rfind(b"\n") + 1 or len(same)
            left.advance(step)
            right.advance(step)
        elif length > _SMALL:
            length = _SMALL
        else:
            yield from _differences(_pair(left, right))


def _pair(left: _Window, right: _Window) -> tuple[list[bytes], list[bytes]]:
    """The next lines of both sides, up to the last path that both windows reach."""
    before, last_before = left.lines()
    after, last_after = right.lines()
    lasts = [last for last in (last_before, last_after) if last is not None]
    if lasts:
        # Behind every line of that path (TAB sorts before LF), before all others.
        limit = min(lasts) + b"\n"
        del before[bisect_left(before, limit) :]
        del after[bisect_left(after, limit) :]
    left.advance(sum(map(len, before)) + len(before))
    right.advance(sum(map(len, after)) + len(after))
    return before, after


def _differences(pair: tuple[list[bytes], list[bytes]]) -> Iterator[Change]:
    before, after = pair
    both = set(before).intersection(after)
    gone = {_key(line): line for line in before if line not in both}
    came = {_key(line): line for line in after if line not in both}
    for key in sorted(gone.keys() | came.keys()):
        was = cut_entry(gone[key]) if key in gone else None
        now = cut_entry(came[key]) if key in came else None
        yield Change(key.decode(), was, now)


def _key(line: bytes) -> bytes:
    return line[: line.index(b"\t")]


def delta(old: Tree, new: Tree) -> Iterator[bytes]:
    """The delta text that turns ``old`` into ``new``, line by line."""
    for change in diff(old, new):
        if change.after is None:
            yield b"-" + change.path.encode() + b"\n"
        else:
            yield b"+" + change.after.line()


def apply(old: Tree, delta_text: Iterable[bytes]) -> Iterator[bytes]:
    """Apply a delta from outside; yields the new tree's text in blocks of whole lines.

    Raises MalformedTree when the delta is not canonical (out of order, a
    removal of a path that is not there, a line that changes nothing) and
    BadPath. Blocks that came before the error are worthless then.
    """
    block = bytearray()
    at = 0
    for key, line in _steps(delta_text):
        start = old.lower_bound(key, at)
        for piece in old.line_blocks(at, start):
            block += piece
            if len(block) >= _LARGE:
                yield bytes(block)
                block.clear()
        at = start
        if old.slice(start, start + len(key)) == key:
            found = old.slice(start, start + MAX_LINE_BYTES).partition(b"\n")[0] + b"\n"
            if found == line:
                raise MalformedTree("a delta line that changes nothing", where=repr(line[:120]))
            at += len(found)
        elif not line:
            raise MalformedTree("a removal of a path that is not there", where=repr(key[:120]))
        block += line
    for piece in old.line_blocks(at):
        block += piece
        if len(block) >= _LARGE:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _steps(delta_text: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The lines of a delta: (path with TAB, its new line or nothing)."""
    last = b""
    for block in line_blocks(delta_text):
        lines = list(cut_lines(block))
        added = b"".join([line[1:] for line in lines if line.startswith(b"+")])
        proved = columns(added) is not None
        for line in lines:
            rest = line[1:]
            if line.startswith(b"+"):
                if not proved:
                    parse_line(rest)
                key = rest[: rest.index(b"\t") + 1]
            elif line.startswith(b"-") and b"\t" not in rest:
                rest, key = b"", rest[:-1] + b"\t"
            else:
                raise MalformedTree("not a line of a delta", where=repr(line[:120]))
            if key <= last or key == b"\t":
                raise MalformedTree("delta lines out of order or twice", where=repr(key[:120]))
            last = key
            yield key, rest
