"""What the upstream said of the checksums of its files, as facts of the tree.

``.sluice/maven/checksums/XX`` has one line for each file whose upstream gave a checksum, sorted
by the bytes of the path::

    path TAB algorithm TAB hexadecimal LF

``XX`` are the first two digits of the SHA-256 of the folder's path: a changed version touches
one of at most 256 files, so little crosses, and 100,000 artifacts take 256 blobs of 50 KiB
instead of 100,000 of 40 bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from manifests.errors import MalformedIndex
from manifests.formats.base import TreeView
from manifests.formats.bounded import read_small
from manifests.formats.maven.layout import CHECKSUMS, shard_of
from manifests.tree import PRIVATE

FOLDER = PRIVATE + "maven/checksums/"
_MAX_SHARD = 64 << 20
_HEX = re.compile(r"[0-9a-f]+")

#: Algorithm and lower-case hexadecimal digits.
Stated = tuple[str, str]


def is_checksum(algorithm: str, value: str) -> bool:
    """Whether ``value`` has the form of a checksum of that kind (lower case)."""
    return CHECKSUMS.get(algorithm) == len(value) and _HEX.fullmatch(value) is not None


def parse_checksum(data: bytes, algorithm: str) -> str | None:
    """The checksum in a checksum file: alone, before a file's name, or after ``=`` as from openssl.

    None if there is none, such as in an HTML page.
    """
    text = data.decode("latin-1").strip()
    if text.startswith("<"):
        return None
    words = text.replace("=", " ").split()
    for word in (words[0], words[-1]) if words else ():
        if is_checksum(algorithm, word.lower()):
            return word.lower()
    return None


def write(stated: Mapping[str, Stated]) -> Iterator[tuple[str, bytes]]:
    """The files for these statements (by path), in order."""
    shards: dict[str, list[str]] = {}
    for path in stated:
        shards.setdefault(shard_of(path), []).append(path)
    for shard in sorted(shards):
        paths = sorted(shards[shard], key=lambda path: path.encode())
        yield (
            FOLDER + shard,
            "".join("\t".join((path, *stated[path])) + "\n" for path in paths).encode(),
        )


def read(view: TreeView) -> Iterator[tuple[str, Stated]]:
    """All statements of a tree, shard by shard. Raises MalformedIndex, OversizedIndex."""
    for entry in view.entries(FOLDER):
        yield from _shard(view, entry.path)


def _shard(view: TreeView, where: str) -> Iterable[tuple[str, Stated]]:
    with view.open(where) as file:
        data = read_small(file, _MAX_SHARD, where)
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError as error:
        raise MalformedIndex("not UTF-8", where=where) from error
    if lines.pop():
        raise MalformedIndex("a line without end", where=where)
    for line in lines:
        cells = line.split("\t")
        if len(cells) != 3 or not is_checksum(cells[1], cells[2]):
            raise MalformedIndex("a line that is not path, algorithm and checksum", where=where)
        yield cells[0], (cells[1], cells[2])
