"""``files``: any tree as it is, such as ISO images, tools and documents.

Over HTTP the crawl follows folder listings, only downwards. ``check`` knows
nothing about the files but what checksum lists among them say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from urllib.parse import quote

from manifests.errors import BadPath, OversizedIndex
from manifests.formats import autoindex
from manifests.formats.accepted import with_exceptions
from manifests.formats.base import (
    Absent,
    Crawl,
    Problem,
    Refused,
    Result,
    Severity,
    Spec,
    StaticFormat,
    TreeView,
    Wanted,
)
from manifests.formats.bounded import read_small
from manifests.tree import PRIVATE, check_path

MAX_DEPTH = 32
MAX_FILES = 2_000_000
#: A listing is fetched and parsed, but it is not part of the tree.
LISTINGS = PRIVATE + "listings/"

_LISTS = ("SHA256SUMS", "sha256sums.txt", "sha256sum.txt")
_MAX_LIST = 16 << 20
_GNU = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_BSD = re.compile(r"SHA256 \((.+)\) = ([0-9a-fA-F]{64})")


def listing(folder: str, *, required: bool = True, note: object = None) -> Wanted:
    """The wish for the listing of ``folder`` ("" or ending with a slash)."""
    return Wanted(
        f"{LISTINGS}{folder}index",
        url=quote(folder) or "./",
        limit=autoindex.MAX_BYTES,
        required=required,
        parse=True,
        keep=False,
        volatile=True,
        note=note if note is not None else folder,
    )


def chosen(spec: Spec, path: str) -> bool:
    """Whether the globs of ``spec`` want ``path`` (or a file of that name)."""

    def hits(patterns: Iterable[str]) -> bool:
        name = path.rsplit("/", 1)[-1]
        return any(fnmatchcase(path, each) or fnmatchcase(name, each) for each in patterns)

    return (not spec.include or hits(spec.include)) and not hits(spec.exclude)


class FilesCrawl:
    """Walks folder listings. Raises OversizedIndex beyond MAX_DEPTH or MAX_FILES."""

    def __init__(self, spec: Spec) -> None:
        self._spec = spec
        self._count = 0

    def start(self) -> Iterable[Wanted]:
        yield listing("")

    def feed(self, wanted: Wanted, result: Result) -> Iterable[Wanted]:
        if isinstance(result, Absent | Refused) or not isinstance(wanted.note, str):
            return
        folder = wanted.note
        with result.body.open() as file:
            page = read_small(file, autoindex.MAX_BYTES, folder or "/")
        for name, reference in autoindex.names(page):
            path = folder + name
            self._count += 1
            if self._count > MAX_FILES or path.count("/") > MAX_DEPTH:
                raise OversizedIndex("too many files or folders below the upstream", where=path)
            if path.startswith(PRIVATE):
                continue
            check_path(path.removesuffix("/"))
            if name.endswith("/"):
                yield listing(path)
            elif chosen(self._spec, path):
                yield Wanted(path, url=quote(folder) + reference, volatile=True)

    def facts(self) -> Iterable[tuple[str, bytes]]:
        return ()


class FilesFormat(StaticFormat):
    """Any tree as it is."""

    name = "files"
    mergeable = True

    def crawl(self, spec: Spec, previous: TreeView | None) -> Crawl:
        return FilesCrawl(spec)

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        return with_exceptions(_check_lists(view), view)


def _check_lists(view: TreeView) -> Iterator[Problem]:
    """What SHA256SUMS files say, as advice: nobody promised that they are complete."""
    for entry in view.entries():
        folder, slash, name = entry.path.rpartition("/")
        if name not in _LISTS or entry.path.startswith(PRIVATE):
            continue
        if entry.size > _MAX_LIST:
            yield Problem(entry.path, "a checksum list of more than 16 MiB", Severity.ADVICE)
            continue
        with view.open(entry.path) as file:
            text = read_small(file, _MAX_LIST, entry.path).decode("utf-8", "replace")
        for path, expected in _listed(text, folder + slash):
            found = view.lookup(path)
            if found is None:
                yield Problem(path, f"named by {entry.path} but not here", Severity.ADVICE)
            elif found.digest != expected:
                yield Problem(path, f"other bytes than {entry.path} says", Severity.ADVICE)


def _listed(text: str, prefix: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        if gnu := _GNU.fullmatch(line.strip()):
            digest, name = gnu.groups()
        elif bsd := _BSD.fullmatch(line.strip()):
            name, digest = bsd.groups()
        else:
            continue
        try:
            yield check_path(prefix + name.removeprefix("./")), digest.lower()
        except BadPath:
            continue
