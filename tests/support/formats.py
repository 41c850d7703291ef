"""Small real counterparts for formats: a tree in memory and a driver for crawls."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from manifests.digest import Digest, sha256_of
from manifests.formats.base import Absent, Crawl, Found, LeftOut, Refused, Result, Wanted
from manifests.tree import Entry, Tree, check_path, encode


class MemoryView:
    """A TreeView over a dict of files."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        rows = sorted(self.files.items(), key=lambda row: row[0].encode())
        entries = [Entry(path, sha256_of(data), len(data)) for path, data in rows]
        self._tree = Tree(b"".join(encode(entries)))
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.opened: list[str] = []

    def lookup(self, path: str) -> Entry | None:
        return self._tree.lookup(path)

    def entries(self, prefix: str = "") -> Iterator[Entry]:
        return self._tree.entries(prefix)

    def children(self, folder: str) -> Iterator[tuple[str, Entry | None]]:
        return self._tree.children(folder)

    def has_folder(self, folder: str) -> bool:
        return self._tree.has_folder(folder)

    @property
    def tree(self) -> Tree:
        return self._tree

    def open(self, path: str | Entry) -> BinaryIO:
        path = path.path if isinstance(path, Entry) else path
        self.opened.append(path)
        return io.BytesIO(self.files[path])

    def local(self, path: str) -> Path:
        self.opened.append(path)
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory()
        target = Path(self._folder.name) / sha256_of(self.files[path])
        target.write_bytes(self.files[path])
        return target

    def checksum(self, path: str, algorithm: str) -> str:
        return hashlib.new(algorithm, self.files[path]).hexdigest()

    def checksums(self, entries: Sequence[Entry], algorithm: str) -> list[str]:
        return [self.checksum(entry.path, algorithm) for entry in entries]


def view_of(folder: Path) -> MemoryView:
    """Everything below a real folder."""
    return MemoryView(
        {
            file.relative_to(folder).as_posix(): file.read_bytes()
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
    )


@dataclass
class MemoryBody:
    data: bytes

    @property
    def path(self) -> Path:
        raise NotImplementedError("a body in memory has no path")

    @property
    def size(self) -> int:
        return len(self.data)

    @property
    def digest(self) -> Digest:
        return sha256_of(self.data)

    def open(self) -> BinaryIO:
        return io.BytesIO(self.data)


@dataclass
class Run:
    """What a crawl led to. ``asked`` are URLs in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    wanted: list[Wanted] = field(default_factory=list)
    confirmed: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def view(self) -> MemoryView:
        return MemoryView(self.files)


class Broken(AssertionError):
    """The upstream did not keep a promise, or a required file is absent."""


Answer = tuple[bytes, Mapping[str, str]]
Upstream = Mapping[str, bytes] | Callable[[str, Wanted], Answer | None]


def drive(crawl: Crawl, upstream: Upstream, previous: MemoryView | None = None) -> Run:
    """Run ``crawl`` over ``upstream``: URL -> bytes, or (URL, wanted) -> (bytes, headers).

    Does what the mirror owes a crawl: one request for one path, none for bytes
    that a SHA-256 names and that are here already, promises held.
    """
    run = Run()
    queue = list(crawl.start())
    seen: set[str] = set()
    before = {} if previous is None else previous.files
    held = {sha256_of(data): data for data in before.values()}
    while queue:
        wanted = queue.pop(0)
        if isinstance(wanted, LeftOut):
            run.files.pop(wanted.path, None)
            if wanted.earlier and wanted.path in before:
                run.files[wanted.path] = before[wanted.path]
            run.left_out.setdefault(wanted.path, wanted.what)
            continue
        check_path(wanted.path)
        if wanted.path in seen:
            continue
        seen.add(wanted.path)
        run.wanted.append(wanted)
        if wanted.confirm:
            run.confirmed.append(wanted.path)
        fresh = wanted.digests.get("sha256", "") not in held
        try:
            result = _fetch(wanted, upstream, held, run)
        except Broken as error:
            if not wanted.alone:
                raise
            result = Refused(str(error))
        if isinstance(result, Found):
            data = result.body.open().read()
            held[sha256_of(data)] = data
            if wanted.keep:
                run.files[wanted.path] = data
        elif wanted.required and not wanted.alone:
            raise Broken(f"absent: {run.asked[-1]}")
        told = wanted.parse and (fresh or not wanted.late)
        if told or isinstance(result, Absent | Refused):
            queue.extend(crawl.feed(wanted, result))
    run.files.update(dict(crawl.facts()))
    return run


def _fetch(wanted: Wanted, upstream: Upstream, held: Mapping[str, bytes], run: Run) -> Result:
    known = held.get(wanted.digests.get("sha256", ""))
    if known is not None:
        return Found(MemoryBody(known))
    url = wanted.url or quote(wanted.path, safe="/~+^")
    run.asked.append(url)
    headers: Mapping[str, str] = {}
    if callable(upstream):
        data, headers = upstream(url, wanted) or (None, {})
    else:
        data = upstream.get(url)
    if data is None:
        return Absent()
    for algorithm, promised in wanted.digests.items():
        if hashlib.new(algorithm, data).hexdigest() != promised:
            raise Broken(f"not the promised {algorithm}: {url}")
    if wanted.size is not None and wanted.size != len(data):
        raise Broken(f"not the promised size: {url}")
    return Found(MemoryBody(data), headers)
