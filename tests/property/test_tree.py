"""Trees against a naive model: a dictionary of paths, and lines judged one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manifests.digest import Digest, sha256_of
from manifests.errors import BadPath, MalformedTree, TreeError
from manifests.tree import (
    MAX_SIZE,
    Change,
    Entry,
    Tree,
    apply,
    check_path,
    delta,
    diff,
    encode,
    lines,
    parse,
    parse_line,
)

# Few names from few characters, so that paths collide, nest and extend each other.
segments = st.text("ab.-0~ é\U0001f4e6", min_size=1, max_size=3).filter(
    lambda text: text not in (".", "..")
)
paths = st.lists(segments, min_size=1, max_size=4).map("/".join)
digests = st.sampled_from([sha256_of(bytes([i])) for i in range(3)])
sizes = st.one_of(st.integers(0, 3), st.integers(0, MAX_SIZE))
models = st.dictionaries(paths, st.tuples(digests, sizes), max_size=30)
Model = dict[str, tuple[Digest, int]]


def entries_of(model: Model) -> list[Entry]:
    return [Entry(path, *model[path]) for path in sorted(model, key=str.encode)]


def text_of(model: Model) -> bytes:
    return b"".join(encode(entries_of(model)))


def tree_of(model: Model) -> Tree:
    return Tree(text_of(model))


@st.composite
def related(draw: st.DrawFn) -> tuple[Model, Model]:
    """Two trees that share much, as two moments of one repository do."""
    old = draw(models)
    new = {path: value for path, value in old.items() if draw(st.booleans())}
    return old, new | draw(models)


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """``data`` in chunks; the same place twice makes an empty one."""
    stops = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(stops)]


def naive_parse(data: bytes) -> Iterator[Entry]:
    """Line by line and slowly: what ``parse`` must agree with."""
    last = b""
    for line in data.split(b"\n")[:-1]:
        entry = parse_line(line + b"\n")
        if entry.path.encode() <= last:
            raise MalformedTree("order")
        last = entry.path.encode()
        yield entry
    if not data.endswith(b"\n") and data:
        raise MalformedTree("open end")


def outcome(entries: Iterator[Entry]) -> tuple[list[Entry], type[Exception] | None]:
    """What came before the end, and how it ended."""
    got: list[Entry] = []
    try:
        for entry in entries:
            got.append(entry)
    except TreeError as error:
        return got, type(error)
    return got, None


@given(models, st.lists(st.integers(0, 10_000), max_size=12))
def test_text_survives_a_round_trip_however_it_is_cut(model: Model, places: list[int]) -> None:
    text = text_of(model)
    assert list(parse(cut(text, places))) == entries_of(model)
    assert b"".join(encode(parse([text]))) == text


@given(models, st.lists(paths))
def test_lookup_is_a_dictionary(model: Model, others: list[str]) -> None:
    tree = tree_of(model)
    for path in {*model, *others, *(path + "-" for path in model), *(p[:-1] for p in model)}:
        expected = Entry(path, *model[path]) if path in model else None
        assert tree.lookup(path) == expected
    assert len(tree) == len(model)
    assert tree.size == len(text_of(model))
    assert [entry.line() for entry in tree.entries()] == list(tree.raw_lines())


@given(models, st.one_of(paths, st.text(max_size=2)))
def test_entries_below_a_prefix(model: Model, prefix: str) -> None:
    tree = tree_of(model)
    for start in {prefix, prefix[:1], "a", ""}:
        expected = [entry for entry in entries_of(model) if entry.path.startswith(start)]
        assert list(tree.entries(start)) == expected


def naive_children(model: Model, folder: str) -> list[tuple[str, Entry | None]]:
    prefix = f"{folder}/" if folder else ""
    found: dict[tuple[str, bool], Entry | None] = {}
    for entry in entries_of(model):
        if entry.path.startswith(prefix):
            name, slash, _ = entry.path[len(prefix) :].partition("/")
            found.setdefault((name, bool(slash)), None if slash else entry)
    return [(name, entry) for (name, _), entry in found.items()]


@given(models, paths)
@example({"a": (sha256_of(b""), 0), "a-": (sha256_of(b""), 0), "a/b": (sha256_of(b""), 0)}, "a")
def test_folders(model: Model, other: str) -> None:
    tree = tree_of(model)
    folders = {"", other, *model}
    for path in model:
        parts = path.split("/")
        folders.update("/".join(parts[:i]) for i in range(1, len(parts)))
    for folder in folders:
        expected = naive_children(model, folder)
        assert list(tree.children(folder)) == expected
        assert tree.has_folder(folder) == bool(expected)


@given(related())
def test_diff_says_what_differs_in_path_order(pair: tuple[Model, Model]) -> None:
    old, new = pair
    expected = [
        Change(
            path,
            Entry(path, *old[path]) if path in old else None,
            Entry(path, *new[path]) if path in new else None,
        )
        for path in sorted(old | new, key=str.encode)
        if old.get(path) != new.get(path)
    ]
    assert list(diff(tree_of(old), tree_of(new))) == expected


@given(related(), st.lists(st.integers(0, 10_000), max_size=12))
def test_delta_leads_from_old_to_new(pair: tuple[Model, Model], places: list[int]) -> None:
    old, new = map(tree_of, pair)
    text = b"".join(delta(old, new))
    assert b"".join(apply(old, cut(text, places))) == text_of(pair[1])
    assert (text == b"") == (pair[0] == pair[1])


@given(related(), st.data())
def test_only_the_one_canonical_delta_applies(
    pair: tuple[Model, Model], data: st.DataObject
) -> None:
    """Whatever is done to a delta, it fails or is itself the delta to another tree."""
    old = tree_of(pair[0])
    steps = list(delta(old, tree_of(pair[1])))
    kind = data.draw(st.sampled_from(["swap", "twice", "drop", "flip", "insert"]))
    at = data.draw(st.integers(0, max(len(steps) - 1, 0)))
    text = b"".join(steps)
    if kind == "insert":
        line = data.draw(
            st.one_of(
                paths.map(lambda path: f"-{path}\n".encode()),
                st.sampled_from(sorted(pair[0]) or ["a"]).map(
                    lambda path: b"+" + Entry(path, *pair[0].get(path, (Digest(""), 0))).line()
                ),
            )
        )
        text = b"".join([*steps[:at], line, *steps[at:]])
    elif steps:
        if kind == "swap":
            steps[at - 1], steps[at] = steps[at], steps[at - 1]
        elif kind == "twice":
            steps.insert(at, steps[at])
        elif kind == "drop":
            del steps[at]
        text = b"".join(steps)
        if kind == "flip":
            spot = data.draw(st.integers(0, len(text) - 1))
            text = text[:spot] + data.draw(st.binary(min_size=1, max_size=1)) + text[spot + 1 :]
    try:
        result = b"".join(apply(old, [text]))
    except TreeError:
        return
    assert b"".join(encode(parse([result]))) == result
    assert b"".join(delta(old, Tree(result))) == text


near_lines = st.one_of(
    st.builds(lambda path, value: Entry(path, *value).line(), paths, st.tuples(digests, sizes)),
    st.builds(
        lambda path, digest, size: path + b"\t" + digest + b"\t" + size + b"\n",
        st.one_of(
            st.sampled_from([b"", b"/a", b"a//b", b"a/", b"./a", b"a/..", b"a/./b", b"..", b"..."]),
            st.sampled_from([b"a\x00", b"a\x7f", b"\xc2\x85", b"\xe2\x80\xa8", b"\xed\xa0\x80"]),
            st.sampled_from([b"\xff", b"\xc0\xaf", b"a" * 1024, b"a" * 1025, b"\xc3\xa9" * 513]),
            st.binary(max_size=3),
        ),
        st.sampled_from([b"0" * 64, b"A" * 64, b"0" * 63, b"g" * 64, b" " * 64, b"0" * 65, b""]),
        st.sampled_from([b"%d" % size for size in (0, 1, MAX_SIZE, MAX_SIZE + 1)])
        | st.sampled_from(
            [b"01", b"-1", b"+1", b"1_0", b"", b" 1", b"1.0", b"\xd9\xa1", b"9" * 40, b"9" * 5000]
        ),
    ),
    st.binary(max_size=40),
)


@given(st.lists(near_lines, max_size=6), st.lists(st.integers(0, 10_000), max_size=6))
def test_text_from_outside_is_judged_as_line_by_line(parts: list[bytes], places: list[int]) -> None:
    """The fast way takes exactly what the slow way takes, and stops at the same line."""
    data = b"".join(sorted(parts))
    got, error = outcome(parse(cut(data, places)))
    expected, expected_error = outcome(naive_parse(data))
    assert got == expected
    assert (error is None) == (expected_error is None)
    if error is None:
        assert b"".join(encode(got)) == data


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_any_bytes_end_in_a_tree_error_at_worst(data: bytes, places: list[int]) -> None:
    old = tree_of({"a/b": (sha256_of(b""), 0)})
    for read in (parse, lines, lambda chunks: apply(old, chunks)):
        try:
            for _ in read(cut(data, places)):
                pass
        except TreeError:
            pass


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=3), st.integers()), max_size=4))
def test_encode_writes_what_parse_reads_or_refuses(rows: list[tuple[str, str, int]]) -> None:
    entries = [Entry(path, Digest(digest), size) for path, digest, size in rows]
    entries += [Entry(path, sha256_of(b""), abs(size) % 7) for path, _, size in rows]
    for some in (entries, sorted(entries), sorted({e.path: e for e in entries}.values())):
        try:
            text = b"".join(encode(some))
        except TreeError:
            continue
        assert list(parse([text])) == some


@given(st.text(max_size=8))
def test_lookups_take_any_question(path: str) -> None:
    """A question that no path can answer finds nothing, and never another path's line."""
    model = {"a": (sha256_of(b""), 1), "a/b": (sha256_of(b""), 2)}
    tree = tree_of(model)
    assert (tree.lookup(path) is not None) == (path in model)
    assert tree.has_folder(path) == (path in ("", "a"))
    assert bool(list(tree.children(path))) == (path in ("", "a"))
    try:
        check_path(path)
    except BadPath:
        assert path not in model


@pytest.mark.parametrize("count", [0, 1, 2, 40, 5000])
def test_a_mapped_file_answers_as_memory_does(tmp_path: Path, count: int) -> None:
    """Large enough that the bisection takes many steps, with lines of all lengths."""
    model = {
        f"{i % 7}/{i % 97:03}/{'x' * (i * i % 900)}-{i}": (sha256_of(b"%d" % i), i)
        for i in range(count)
    }
    expected = entries_of(model)
    file = tmp_path / "tree"
    file.write_bytes(text_of(model))
    with Tree.map(file) as tree:
        assert len(tree) == count
        assert list(tree.entries()) == expected
        for entry in expected:
            assert tree.lookup(entry.path) == entry
            assert tree.lookup(entry.path + "!") is None
            assert tree.lookup(entry.path[:-1] + "\x1f") is None
        for folder in ("", "3", "6/041"):
            assert list(tree.children(folder)) == naive_children(model, folder)
        below = [entry for entry in expected if entry.path.startswith("5/0")]
        assert list(tree.entries("5/0")) == below
        changed = dict(model)
        for i, path in enumerate(sorted(model)):
            if i % 701 == 0:
                del changed[path]
                changed[path + "+"] = (sha256_of(b""), i)
            elif i % 997 == 0 or 3000 < i < 3200:
                changed[path] = (sha256_of(b"new"), i)
        other = tree_of(changed)
        assert {change.path for change in diff(tree, other)} == {
            path for path in model.keys() | changed if model.get(path) != changed.get(path)
        }
        forth = b"".join(delta(tree, other))
        back = b"".join(delta(other, tree))
        assert b"".join(apply(tree, [forth])) == text_of(changed)
        assert b"".join(apply(other, [back])) == text_of(model)
