"""Metadata of a filtered repository, or of a plain folder of packages.

The revision and every time stamp come from the newest package, never from a
clock; they only grow from one publication to the next, since yum 3.4 takes an
older repomd.xml for a stale mirror and refuses it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path

from manifests.formats.accepted import accepted
from manifests.formats.base import Derived, Signer, TreeView
from manifests.formats.bounded import BLOCK, compression, inflate
from manifests.formats.yum import primary, updateinfo
from manifests.formats.yum.chunks import ENDS, ROOTS, Earlier, made, packages_of
from manifests.formats.yum.layout import is_derived, is_package, raw_records
from manifests.formats.yum.repomd import REPOMD
from manifests.formats.yum.write import IndexWriter, Made, repomd_text
from manifests.tree import PRIVATE, Entry

_BUILD = re.compile(rb'<time file="[0-9]*" build="([0-9]+)"/>')
_NAME = re.compile(r"(?:[0-9a-f]{32,128}-)?(.*?)(?:\.(?:gz|xz|bz2|zst|lzma))?")


def derive(
    view: TreeView, previous: Derived | None, signer: Signer | None
) -> Iterator[tuple[str, bytes | Path]]:
    """The files of ``repodata/``, repomd.xml and its signature last. Raises FormatError."""
    if not is_derived(view):
        return
    if previous is not None and _same_inputs(view, previous):
        repomd = b""
        for entry in previous.overlay.entries("repodata/"):
            if entry.path == REPOMD:
                with previous.overlay.open(REPOMD) as file:
                    repomd = file.read()
            elif not entry.path.startswith(REPOMD):
                yield entry.path, previous.overlay.local(entry.path)
    else:
        with tempfile.TemporaryDirectory(prefix="sluice-yum-") as folder:
            indexes, revision = _indexes(view, previous, Path(folder))
            for each in indexes:
                yield each.href, each.path
        repomd = repomd_text(indexes, revision)
    yield REPOMD, repomd
    if signer is not None:
        yield REPOMD + ".asc", signer.armored(repomd)


def _same_inputs(view: TreeView, previous: Derived) -> bool:
    """Whether an earlier derivation stood on the same packages and facts."""
    if previous.overlay.lookup(REPOMD) is None:
        return False
    pairs = zip_longest(_inputs(view), _inputs(previous.base))
    return all(new == old for new, old in pairs)


def _inputs(view: TreeView) -> Iterator[Entry]:
    return (e for e in view.entries() if is_package(e.path) or e.path.startswith(PRIVATE))


def _indexes(view: TreeView, previous: Derived | None, folder: Path) -> tuple[list[Made], int]:
    skipped = accepted(view)
    writers = {kind: IndexWriter(folder, kind, f"{kind}.xml") for kind in ROOTS}
    count = sum(1 for _ in packages_of(view, skipped))
    for kind, writer in writers.items():
        head = '<?xml version="1.0" encoding="UTF-8"?>\n' + ROOTS[kind].format(count=count)
        writer.write(head.encode())
    earlier = Earlier(previous, accepted(previous.base) if previous is not None else ())
    newest = 1
    for entry in packages_of(view, skipped):
        pieces = earlier.pieces(entry) or made(view, entry)
        for writer, piece in zip(writers.values(), pieces, strict=True):
            writer.write(piece)
        if found := _BUILD.search(pieces[0]):
            newest = max(newest, int(found.group(1)))
    for kind, writer in writers.items():
        writer.write(ENDS[kind].encode() + b"\n")
    indexes = [writer.close() for writer in writers.values()]
    indexes += _carried(view, indexes[0], folder)
    return indexes, max(newest, earlier.revision + 1)


def _carried(view: TreeView, listed: Made, folder: Path) -> Iterator[Made]:
    """Groups, modules, advisories and whatever else the upstream's repomd.xml named."""
    seen: set[str] = set()
    for kind, path in raw_records(view):
        name = _NAME.fullmatch(path.rpartition("/")[2])
        plain = name.group(1) if name is not None else kind
        kind = "group" if kind.startswith("group") else kind
        if kind in seen:
            continue
        seen.add(kind)
        if kind == "group":
            yield _copied(view, path, IndexWriter(folder, "group", plain, packed=False))
            yield _copied(view, path, IndexWriter(folder, "group_gz", plain))
        elif kind == "updateinfo":
            yield _advisories(view, path, listed, IndexWriter(folder, kind, plain))
        else:
            with view.open(path) as file:
                packed = kind == "modules" or compression(file.read(BLOCK)) != "plain"
            yield _copied(view, path, IndexWriter(folder, kind, plain, packed=packed))


def _copied(view: TreeView, path: str, writer: IndexWriter) -> Made:
    with view.open(path) as file:
        for block in inflate(file, where=path):
            writer.write(block)
    return writer.close()


def _advisories(view: TreeView, path: str, listed: Made, writer: IndexWriter) -> Made:
    with listed.path.open("rb") as file:
        blocks = inflate(file, where=listed.href, promised=listed.open_size)
        present = {package.nevra for package in primary.packages(blocks, listed.href)}
    with view.open(path) as file:
        for part in updateinfo.limited(inflate(file, where=path), present, path):
            writer.write(part)
    return writer.close()
