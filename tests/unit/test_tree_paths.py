"""Which paths may enter a tree: asked, written, read and applied, always the same answer."""

from __future__ import annotations

import pytest

from manifests.digest import EMPTY
from manifests.errors import BadPath, TreeError
from manifests.tree import MAX_PATH_BYTES, Entry, Tree, apply, check_path, encode, parse

BAD = {
    "empty": "",
    "root": "/",
    "absolute": "/etc/passwd",
    "empty segment": "a//b",
    "slash at the end": "a/",
    "dot": ".",
    "dot first": "./a",
    "dot inside": "a/./b",
    "dot last": "a/.",
    "dots": "..",
    "dots first": "../a",
    "dots inside": "a/../b",
    "dots last": "a/..",
    "NUL": "a\0b",
    "bell": "a\x07",
    "tab": "a\tb",
    "newline": "a\nb",
    "return": "a\rb",
    "escape": "\x1b[2Ja",
    "unit separator": "a\x1f",
    "DEL": "a\x7f",
    "first of C1": "a\x80",
    "next line": "a\x85b",
    "last of C1": "a\x9f",
    "line separator": "a\u2028b",
    "paragraph separator": "a\u2029b",
    "high surrogate": "a\ud800",
    "low surrogate": "\udcffa",
    "too long": "a" * (MAX_PATH_BYTES + 1),
    "too long in bytes": "é" * (MAX_PATH_BYTES // 2) + "a",
}

GOOD = {
    "rpm": "Packages/g/gcc-c++-1:4.8~rc1^git-1.x86_64.rpm",
    "signs": "a+b~c^d%e%2F&;$'\"`|<>*?[]{}()!#@=,:",
    "blank": " a b /  ",
    "hidden": ".hidden/..a/...",
    "backslash": "..\\a",
    "no-break space": "a\u00a0b",
    "scripts": "日本語/Ελληνικά/עברית/\U0001f4e6",
    "composed": "é",
    "decomposed": "e\u0301",
    "byte order mark": "\ufeffa",
    "right-to-left override": "a\u202egpj.exe",
    "isolate": "\u2066a\u2069",
    "zero width": "a\u200bb",
    "not a character": "a\uffff",
    "longest": "a" * MAX_PATH_BYTES,
    "longest in bytes": "é" * (MAX_PATH_BYTES // 2),
    "private": ".sluice/facts.json",
}


@pytest.mark.parametrize("path", BAD.values(), ids=BAD)
def test_a_bad_path_never_enters_a_tree(path: str) -> None:
    with pytest.raises(BadPath) as caught:
        check_path(path)
    assert str(caught.value).isascii()
    assert str(caught.value).isprintable()  # it can be shown and logged
    with pytest.raises(BadPath):
        list(encode([Entry("A", EMPTY, 0), Entry(path, EMPTY, 0), Entry("b", EMPTY, 0)]))
    raw = path.encode("utf-8", "surrogatepass")
    line = raw + f"\t{EMPTY}\t0\n".encode()
    with pytest.raises(TreeError):
        list(parse([line]))
    with pytest.raises(TreeError):
        list(apply(Tree(b""), [b"+" + line]))
    with pytest.raises(TreeError):
        list(apply(Tree(f"a\t{EMPTY}\t0\n".encode()), [b"-" + raw + b"\n"]))


def test_a_path_cannot_smuggle_a_line() -> None:
    """Its text alone would be two good lines."""
    path = f"a\t{EMPTY}\t0\nb"
    assert len(list(parse([f"{path}\t{EMPTY}\t0\n".encode()]))) == 2
    with pytest.raises(BadPath):
        list(encode([Entry(path, EMPTY, 0)]))


@pytest.mark.parametrize("path", GOOD.values(), ids=GOOD)
def test_what_upstreams_use_is_legal(path: str) -> None:
    assert check_path(path) == path
    entry = Entry(path, EMPTY, 0)
    text = b"".join(encode([entry]))
    assert list(parse([text])) == [entry]
    assert Tree(text).lookup(path) == entry
    assert b"".join(apply(Tree(b""), [b"+" + text])) == text
    assert list(apply(Tree(text), [b"-" + path.encode() + b"\n"])) == []


def test_paths_are_compared_by_bytes_alone() -> None:
    """No normal form and no folding: two names that look alike are two paths."""
    alike = sorted(["é", "e\u0301", "E\u0301", "\ufeffé"])
    text = b"".join(encode(Entry(path, EMPTY, i) for i, path in enumerate(alike)))
    tree = Tree(text)
    assert [tree.lookup(path).size for path in alike] == [0, 1, 2, 3]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "question", ["a\t" + EMPTY, f"a\t{EMPTY}\t0", f"a\t{EMPTY}\t0\nb", "a\t", "\n", "\ud800", "\0"]
)
def test_a_question_cannot_reach_beyond_a_path(question: str) -> None:
    tree = Tree(b"".join(encode(Entry(path, EMPTY, 0) for path in ("a", "b/c"))))
    assert tree.lookup(question) is None
    assert not tree.has_folder(question)
    assert list(tree.children(question)) == []
    assert list(tree.entries(question)) == []
