"""Tree text from outside: refused by name, in linear time, with flat memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from manifests.digest import EMPTY, Digest, sha256_of
from manifests.errors import BadPath, MalformedTree
from manifests.tree import (
    MAX_LINE_BYTES,
    MAX_SIZE,
    Entry,
    Tree,
    apply,
    delta,
    diff,
    encode,
    lines,
    parse,
)

OTHER = sha256_of(b"other")


def line(path: str, digest: str = EMPTY, size: object = 0) -> bytes:
    return f"{path}\t{digest}\t{size}\n".encode()


def many(count: int) -> Iterator[Entry]:
    for i in range(count):
        yield Entry(f"folder-{i // 1000:05}/file-{i:08}.rpm", EMPTY, i)


MALFORMED = {
    "no LF at the end": line("a") + line("b")[:-1],
    "only a path": b"a\n",
    "an empty line": line("a") + b"\n" + line("b"),
    "four cells": b"a\t" + line("a"),
    "carriage returns": line("a").replace(b"\n", b"\r\n"),
    "not UTF-8": line("a").replace(b"a", b"\xff", 1),
    "overlong UTF-8": line("a").replace(b"a", b"\xc0\xaf", 1),
    "digest in capitals": line("a", EMPTY.upper()),
    "short digest": line("a", EMPTY[1:]),
    "long digest": line("a", EMPTY + "0"),
    "two digests of a wrong length": line("a", EMPTY[1:]) + line("b", EMPTY + "0"),
    "digest with a blank": line("a", EMPTY[:-1] + " "),
    "another algorithm": line("a", "sha256:" + EMPTY[7:]),
    "no size": line("a", size=""),
    "negative size": line("a", size=-1),
    "size with a sign": line("a", size="+1"),
    "size with a zero": line("a", size="01"),
    "size with an underscore": line("a", size="1_0"),
    "size with a blank": line("a", size=" 1"),
    "size in other digits": line("a", size="\u0661"),
    "size too large": line("a", size=MAX_SIZE + 1),
    "size beyond reason": line("a", size="9" * 900),
    "unsorted": line("b") + line("a"),
    "unsorted folders": line("a/b") + line("a-b"),
    "twice": line("a") + line("a"),
    "twice, differing": line("a") + line("a", OTHER),
    "sorted by code units": line("\U0001f4e6") + line("\uffff"),
    "a line too long": line("a", size="0" * MAX_LINE_BYTES),
}


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED)
def test_text_that_is_not_canonical_is_refused(text: bytes, chunk: int) -> None:
    with pytest.raises(MalformedTree):
        list(parse(text[i : i + chunk] for i in range(0, len(text), chunk)))


@pytest.mark.parametrize("bad", [line("../x"), line("f", "x" * 64), line("f", size="x"), line("a")])
def test_the_culprit_is_found_in_a_large_tree(bad: bytes) -> None:
    """Everything before it came out; nothing after it did."""
    good = [entry.line() for entry in many(5000)]
    got: list[Entry] = []
    with pytest.raises((MalformedTree, BadPath)):
        for entry in parse([b"".join([*good[:3000], bad, *good[3000:]])]):
            got.append(entry)
    assert got == list(many(3000))


def test_the_largest_size_is_legal() -> None:
    text = line("a", size=MAX_SIZE) + line("b", size=MAX_SIZE - 1)
    assert [entry.size for entry in parse([text])] == [MAX_SIZE, MAX_SIZE - 1]
    assert b"".join(encode(parse([text]))) == text


@pytest.mark.parametrize(
    "entries",
    [
        [Entry("b", EMPTY, 0), Entry("a", EMPTY, 0)],
        [Entry("a", EMPTY, 0), Entry("a", EMPTY, 0)],
        [Entry("a", Digest("A" * 64), 0)],
        [Entry("a", Digest(""), 0)],
        [Entry("a", Digest(EMPTY + "\t0\nb\t" + EMPTY), 0)],
        [Entry("a", EMPTY, -1)],
        [Entry("a", EMPTY, MAX_SIZE + 1)],
        [Entry("a", EMPTY, True)],
        [*many(2048), Entry("a", EMPTY, 0)],
        [*many(2048), list(many(2048))[-1]],
    ],
)
def test_entries_that_make_no_tree_are_refused(entries: list[Entry]) -> None:
    with pytest.raises(MalformedTree):
        list(encode(entries))


def test_blocks_are_about_a_mebibyte() -> None:
    blocks = list(encode(many(30_000)))
    assert len(blocks) > 2
    assert all(1 << 20 <= len(block) < 2 << 20 for block in blocks[:-1])


OLD = line("a") + line("b") + line("c/d")
DELTAS = {
    "no sign": line("d"),
    "another sign": b"=" + line("d"),
    "out of order": b"-b\n-a\n",
    "twice": b"-a\n-a\n",
    "removed and added": b"-a\n+" + line("a", OTHER),
    "a removal of nothing": b"-ab\n",
    "a removal of a folder": b"-c\n",
    "a removal of a line": b"-" + line("a"),
    "an empty removal": b"-\n",
    "an empty line": b"\n",
    "a line that changes nothing": b"+" + line("b"),
    "a line that is no entry": b"+d\n",
    "a digest that is none": b"+" + line("d", "x" * 64),
    "no LF": b"-a",
    "too long": b"-" + b"a" * MAX_LINE_BYTES + b"\n",
    "not UTF-8": b"-\xff\n",
}


@pytest.mark.parametrize("text", DELTAS.values(), ids=DELTAS)
def test_a_delta_that_is_not_canonical_is_refused(text: bytes) -> None:
    assert list(apply(Tree(OLD), [b"-b\n"])) == [line("a") + line("c/d")]  # the control
    with pytest.raises(MalformedTree):
        list(apply(Tree(OLD), [text]))


def endless(piece: bytes, pieces: int) -> Iterator[bytes]:
    for _ in range(pieces):
        yield piece


@pytest.mark.parametrize("piece", [b"a", b"a" * 1000, b"a" * (1 << 20)])
def test_an_endless_line_is_refused_early(piece: bytes) -> None:
    """Long before a gibibyte came in, and without keeping what did."""
    for read in (lines, parse, lambda chunks: apply(Tree(OLD), chunks)):
        source = endless(piece, (1 << 30) // len(piece))
        tracemalloc.start()
        with pytest.raises(MalformedTree):
            list(read(source))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 4 << 20
        assert next(source)  # most of it was never asked for


def test_tiny_chunks_lose_nothing() -> None:
    text = b"".join(encode(many(3000)))
    tiny = (text[i : i + 1] for i in range(len(text)))
    assert b"".join(lines(tiny)) == text


def test_one_huge_chunk_is_cut() -> None:
    """A whole tree as one chunk is parsed in blocks, not all at once."""
    text = b"".join(encode(many(40_000)))
    tracemalloc.start()
    assert sum(1 for _ in parse([text])) == 40_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < len(text) < 8 << 20


def test_streaming_needs_no_memory_for_the_whole(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"".join(encode(many(40_000))))
    changed = (e._replace(digest=OTHER) if e.size % 10_000 == 7 else e for e in many(40_000))
    new.write_bytes(b"".join(encode(changed)))
    with Tree.map(old) as before, Tree.map(new) as after:
        tracemalloc.start()
        text = b"".join(delta(before, after))
        assert len(list(diff(before, after))) == 4
        assert sum(len(block) for block in apply(before, [text])) == after.size
        assert sum(1 for _ in parse(after.blocks())) == 40_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 6 << 20


def test_damaged_text_in_the_store_never_hangs() -> None:
    """A tree is validated when it comes in; should it rot, look-ups still end."""
    for rotten in (b"x", b"x" * 300_000, b"\n" * 9, OLD + b"x" * 300_000, b"a\n" * 99_999):
        tree, good = Tree(rotten), Tree(OLD)
        assert tree.lookup("zzz") is None
        for question in (
            lambda tree=tree: list(tree.children("x")),
            lambda tree=tree: tree.has_folder("x"),
            lambda tree=tree, good=good: list(diff(tree, good)),
            lambda tree=tree, good=good: list(diff(good, tree)),
        ):
            with suppress(MalformedTree, ValueError):
                question()
