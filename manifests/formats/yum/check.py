"""Is a yum tree complete and consistent? Proved from its own indexes alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import unquote

from manifests.errors import BadPath, FormatError
from manifests.formats.accepted import with_exceptions
from manifests.formats.base import Problem, Severity, TreeView
from manifests.formats.bounded import inflate, read_small
from manifests.formats.yum import primary, repomd, treeinfo
from manifests.formats.yum.layout import is_derived, is_package, survey
from manifests.formats.yum.repomd import REPOMD, Checksum, Location, Record, shown
from manifests.formats.yum.rpmheader import verify_header
from manifests.tree import Entry

_PARSED: dict[str, Callable[[Iterable[bytes], str], Iterator[primary.Package]]] = {
    "primary": primary.packages,
    "prestodelta": primary.deltas,
    "deltainfo": primary.deltas,
}


def check(view: TreeView) -> Iterator[Problem]:
    """All problems of the tree, accepted ones as advice. Raises FormatError."""
    return with_exceptions(_problems(view), view)


def _problems(view: TreeView) -> Iterator[Problem]:
    layout = survey(view)
    if is_derived(view):
        yield from _packages(view)
    elif not layout.repositories:
        yield Problem(REPOMD, "missing: nothing says what this repository holds")
    else:
        for prefix in layout.repositories:
            yield from _repository(view, prefix)
    for path in layout.treeinfos:
        yield from _installer(view, path)


def _packages(view: TreeView) -> Iterator[Problem]:
    """Derived metadata promises nothing; each package must at least be one."""
    for entry in view.entries():
        if is_package(entry.path):
            try:
                with view.open(entry.path) as file:
                    verify_header(file, entry.size, entry.path)
            except FormatError as error:
                yield Problem(entry.path, error.what)


def _repository(view: TreeView, prefix: str) -> Iterator[Problem]:
    where = prefix + REPOMD
    with view.open(where) as file:
        found = repomd.parse([read_small(file, repomd.MAX_BYTES, where)], where)
    if found.record("primary") is None:
        yield Problem(where, "no record of the type primary")
    for record in found.records:
        source = f"{where} ({shown(record.type)})"
        entry, problems = _promised(
            view, prefix, record.location, record.checksum, record.size, source
        )
        yield from problems
        reader = _PARSED.get(record.type)
        if entry is not None and not problems and reader is not None:
            yield from _listed(view, prefix, record, entry, reader)


def _listed(
    view: TreeView,
    prefix: str,
    record: Record,
    entry: Entry,
    reader: Callable[[Iterable[bytes], str], Iterator[primary.Package]],
) -> Iterator[Problem]:
    """The packages of one index, and the index's own decompressed checksum and size."""
    promised = record.open_checksum
    hasher = hashlib.new(promised.algorithm, usedforsecurity=False) if promised else None
    size = 0

    def blocks() -> Iterator[bytes]:
        nonlocal size
        with view.open(entry.path) as file:
            for block in inflate(file, where=entry.path, promised=record.open_size):
                size += len(block)
                if hasher is not None:
                    hasher.update(block)
                yield block

    for package in reader(blocks(), entry.path):
        yield from _promised(
            view, prefix, package.location, package.checksum, package.size, entry.path
        )[1]
    if record.open_size is not None and size != record.open_size:
        yield Problem(entry.path, f"inflates to {size} bytes, promised are {record.open_size}")
    if hasher is not None and promised is not None and hasher.hexdigest() != promised.hex:
        yield Problem(entry.path, f"its open {promised.algorithm} is not the promised one")


def _promised(
    view: TreeView,
    prefix: str,
    location: Location,
    checksum: Checksum,
    size: int | None,
    source: str,
) -> tuple[Entry | None, list[Problem]]:
    """The entry at a promised location and what is wrong with it."""
    try:
        if location.foreign:
            host = location.base or location.href
            what = f"{shown(location.href)} lies elsewhere: {shown(host)}"
            return None, [Problem(source, f"{what} (`metadata: derived` would name it as ours)")]
        path = location.path(prefix)
    except BadPath as error:
        return None, [Problem(source, f"names '{shown(location.href)}': {error.what}")]
    entry = view.lookup(path) or view.lookup(unquote(path))
    if entry is None:
        return None, [Problem(path, f"missing, promised by {source}")]
    if size is not None and entry.size != size:
        return entry, [Problem(path, f"{entry.size} bytes, promised are {size} by {source}")]
    if _checksum(view, entry, checksum.algorithm) != checksum.hex:
        return entry, [Problem(path, f"not the {checksum.algorithm} promised by {source}")]
    return entry, []


def _checksum(view: TreeView, entry: Entry, algorithm: str) -> str:
    return entry.digest if algorithm == "sha256" else view.checksum(entry.path, algorithm)


def _installer(view: TreeView, path: str) -> Iterator[Problem]:
    prefix = path.rpartition("/")[0]
    prefix = f"{prefix}/" if prefix else ""
    with view.open(path) as file:
        data = read_small(file, treeinfo.MAX_BYTES, path)
    try:
        found = treeinfo.parse(data, path, prefix)
    except BadPath as error:
        yield Problem(path, f"names a path that may not be: {error}")
        return
    for name, checksum in found.files.items():
        entry = view.lookup(name)
        # repomd.xml has its own signature and moves on; treeinfo often keeps an old checksum.
        advice = checksum is None or name.endswith(REPOMD)
        severity = Severity.ADVICE if advice else Severity.REQUIRED
        if entry is None:
            yield Problem(name, f"missing, named by {path}", severity)
        elif checksum is not None and _checksum(view, entry, checksum.algorithm) != checksum.hex:
            yield Problem(name, f"not the {checksum.algorithm} promised by {path}", severity)
