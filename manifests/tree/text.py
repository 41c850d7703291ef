"""Tree text from and to elsewhere: hostile bytes in, canonical bytes out.

Whole blocks of lines are proved at once by operations that run in C; only a
block that fails goes through ``parse_line`` line by line, which then names the
culprit. Both ways accept exactly the same text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import islice
from operator import lt
from typing import NamedTuple

from manifests.digest import is_digest
from manifests.errors import MalformedTree
from manifests.tree.entry import (
    MAX_LINE_BYTES,
    MAX_PATH_BYTES,
    MAX_SIZE,
    Entry,
    check_path,
    parse_line,
)

_BATCH_BYTES = 1 << 17
_BATCH_ENTRIES = 1024
_BLOCK = 1 << 20
#: All that is neither a control character of ASCII nor part of a line's frame.
_PLAIN = bytes(set(range(0x20, 0x100)) - {0x7F})
_HIGH_CONTROL = re.compile(r"[\x80-\x9f\u2028\u2029]")


class Columns(NamedTuple):
    """Lines that follow each other, column by column."""

    paths: list[str]
    digests: list[str]
    sizes: list[int]


def columns(block: bytes) -> Columns | None:
    """The columns of whole, canonical, sorted lines, or None when anything is odd.

    None is a suspicion, not a verdict: let ``parse_line`` judge each line then.
    """
    frame = block.translate(None, _PLAIN)
    count = len(frame) // 3
    if not block.endswith(b"\n") or frame != b"\t\t\n" * count:
        return None
    try:
        text = block.decode()
    except UnicodeDecodeError:
        return None
    cells = text.replace("\n", "\t").split("\t")
    cells.pop()
    paths, digests, raw_sizes = cells[0::3], cells[1::3], cells[2::3]
    if not (_good_paths(paths, text.isascii()) and _good_digests(digests)):
        return None
    if max(map(len, raw_sizes)) > len(str(MAX_SIZE)):
        return None
    try:
        sizes = list(map(int, raw_sizes))
    except ValueError:
        return None
    if list(map(str, sizes)) != raw_sizes or min(sizes) < 0 or max(sizes) > MAX_SIZE:
        return None
    return Columns(paths, digests, sizes)


def _good_paths(paths: list[str], plain: bool) -> bool:
    framed = "/" + "/\t/".join(paths) + "/"  # every segment now stands between slashes
    if "//" in framed or ("/." in framed and ("/./" in framed or "/../" in framed)):
        return False
    if plain:
        longest = max(map(len, paths))
    else:
        if _HIGH_CONTROL.search(framed):
            return False
        longest = max(len(path.encode()) for path in paths)
    # Code points sort as their UTF-8 bytes do.
    return longest <= MAX_PATH_BYTES and all(map(lt, paths, islice(paths, 1, None)))


def _good_digests(digests: list[str]) -> bool:
    if set(map(len, digests)) != {64}:
        return False
    joined = "".join(digests)
    try:
        return bytes.fromhex(joined).hex() == joined
    except ValueError:
        return False


def line_blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Join and cut a stream of bytes into blocks of whole lines.

    Linear in time and flat in memory however the stream is cut. Raises
    MalformedTree on a line that is too long to be one, or has no end.
    """
    rest = bytearray()
    for chunk in chunks:
        for start in range(0, len(chunk), _BATCH_BYTES):
            rest += chunk[start : start + _BATCH_BYTES]
            if len(rest) < _BATCH_BYTES:
                continue
            cut = rest.rfind(b"\n") + 1
            if cut:
                yield bytes(rest[:cut])
                del rest[:cut]
            if len(rest) > MAX_LINE_BYTES:
                raise MalformedTree("a line that is too long", where=repr(bytes(rest[:120])))
    cut = rest.rfind(b"\n") + 1
    if cut:
        yield bytes(rest[:cut])
    if cut < len(rest):
        what = "a line that is too long"
        if len(rest) - cut <= MAX_LINE_BYTES:
            what = "the last line has no end"
        raise MalformedTree(what, where=repr(bytes(rest[cut : cut + 120])))


def cut_lines(block: bytes) -> Iterator[bytes]:
    """The lines of a block, with LF. Raises MalformedTree on one that is too long."""
    for line in block.split(b"\n")[:-1]:
        if len(line) >= MAX_LINE_BYTES:
            raise MalformedTree("a line that is too long", where=repr(line[:120]))
        yield line + b"\n"


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream of bytes into lines; raises MalformedTree on an endless or open one."""
    for block in line_blocks(chunks):
        yield from cut_lines(block)


def parse(chunks: Iterable[bytes]) -> Iterator[Entry]:
    """Validate a stream of tree text and yield its entries in order.

    Raises MalformedTree, BadPath after the entries that came before the culprit.
    """
    last = ""
    for block in line_blocks(chunks):
        found = columns(block)
        if found is not None and found.paths[0] > last:
            last = found.paths[-1]
            yield from map(Entry._make, zip(*found, strict=True))
            continue
        for line in cut_lines(block):
            entry = parse_line(line)
            if entry.path <= last:
                raise MalformedTree("paths out of order or twice", where=ascii(entry.path[:120]))
            last = entry.path
            yield entry


def encode(entries: Iterable[Entry]) -> Iterator[bytes]:
    """The canonical text of ``entries``, in blocks of about 1 MiB.

    Raises BadPath for a path that may not enter a tree and MalformedTree when
    the entries are not sorted, a path comes twice, or a digest or size is none.
    """
    block = bytearray()
    last = ""
    stream = iter(entries)
    while batch := list(islice(stream, _BATCH_ENTRIES)):
        if batch[0].path <= last or (text := _text_of(batch)) is None:
            _blame(batch, last)
            text = b"".join(entry.line() for entry in batch)
        last = batch[-1].path
        block += text
        if len(block) >= _BLOCK:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)


def _text_of(batch: list[Entry]) -> bytes | None:
    """The text of a batch, or None when anything about it is odd."""
    try:
        text = "".join([f"{path}\t{digest}\t{size}\n" for path, digest, size in batch]).encode()
    except UnicodeEncodeError:
        return None
    found = columns(text)
    # As many lines as entries: no path smuggled a line of its own in.
    return text if found is not None and len(found.paths) == len(batch) else None


def _blame(batch: list[Entry], last: str) -> None:
    for entry in batch:
        shown = ascii(check_path(entry.path)[:120])
        if entry.path <= last:
            raise MalformedTree("paths out of order or twice", where=shown)
        last = entry.path
        if not is_digest(entry.digest):
            raise MalformedTree("a digest that is not SHA-256 in hexadecimal", where=shown)
        if type(entry.size) is not int or not 0 <= entry.size <= MAX_SIZE:
            raise MalformedTree("a size that is not a plain number", where=shown)
