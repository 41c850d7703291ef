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

Files: ``entry`` says what a line is, ``text`` reads and writes text from
outside, ``view`` looks up in text that was validated, ``changes`` compares two
trees and applies a delta.
"""

from manifests.tree.changes import apply, delta, diff
from manifests.tree.entry import (
    MAX_LINE_BYTES,
    MAX_PATH_BYTES,
    MAX_SIZE,
    PRIVATE,
    Change,
    Entry,
    check_path,
    parse_line,
)
from manifests.tree.text import encode, lines, parse
from manifests.tree.view import Tree, sizes

__all__ = [
    "MAX_LINE_BYTES",
    "MAX_PATH_BYTES",
    "MAX_SIZE",
    "PRIVATE",
    "Change",
    "Entry",
    "Tree",
    "apply",
    "check_path",
    "delta",
    "diff",
    "encode",
    "lines",
    "parse",
    "parse_line",
    "sizes",
]
