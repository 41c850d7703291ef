"""What one line of a tree is, and which paths may enter one."""

from __future__ import annotations

import re
from typing import NamedTuple

from manifests.digest import Digest, is_digest
from manifests.errors import BadPath, MalformedTree

MAX_PATH_BYTES = 1024
#: A line of a tree or of a delta, with its sign and LF.
MAX_LINE_BYTES = MAX_PATH_BYTES + 1 + 64 + 1 + 20 + 2
MAX_SIZE = 2**63 - 1

#: Facts that our own formats keep in a tree; never served.
PRIVATE = ".sluice/"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_SIZE = re.compile(rb"0|[1-9][0-9]{0,18}")


# Named tuples: a million of them are made in half the time of frozen dataclasses.
class Entry(NamedTuple):
    """One path of a tree. ``size`` is in bytes."""

    path: str
    digest: Digest
    size: int

    def line(self) -> bytes:
        return f"{self.path}\t{self.digest}\t{self.size}\n".encode()


class Change(NamedTuple):
    """A path that differs between two trees; None where the tree does not have it."""

    path: str
    before: Entry | None
    after: Entry | None


def check_path(path: str) -> str:
    """Return ``path`` if a tree may hold it.

    UTF-8, relative, no empty, ``.`` or ``..`` segment, no control character
    (C0, DEL, C1, the line separators U+2028 and U+2029), at most 1,024 bytes.
    Raises BadPath.

    Everything else is legal, because upstreams use it and a path never becomes
    a file name of ours: blanks, backslashes, ``+ ~ ^ %``, any script in any
    normal form. That includes invisible format characters such as U+FEFF and
    the bidirectional overrides: paths are compared by their bytes only, and
    whoever shows one to a person escapes or isolates it.
    """
    if not path:
        raise BadPath("an empty path")
    shown = path[:200].encode("ascii", "backslashreplace").decode()
    if _CONTROL.search(path):
        raise BadPath("a control character or surrogate in a path", where=repr(shown))
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
        raise MalformedTree("a digest that is not SHA-256 in hexadecimal", where=ascii(path[:120]))
    if not _SIZE.fullmatch(size_text) or int(size_text) > MAX_SIZE:
        raise MalformedTree("a size that is not a plain number", where=ascii(path[:120]))
    return Entry(check_path(path), Digest(digest), int(size_text))
