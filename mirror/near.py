"""Crawling what is no web server: a local folder, or an rsync module.

A crawl that asks for a folder's listing gets a page like a web server's.
"""

from __future__ import annotations

import html
import os
import stat
import tempfile
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, unquote

from manifests import errors
from manifests.errors import BadPath
from manifests.formats.base import Wanted
from manifests.tree import check_path
from mirror.report import printable
from mirror.rsync import Rsync
from mirror.transport import Got, check_promises, limit_of, mismatch
from store.records import Validator
from store.seam import told

_BLOCK = 1 << 20


def _place_of(wanted: Wanted) -> str | None:
    """The upstream path that ``wanted`` names; None if it can only be elsewhere.

    A folder's ends with a slash, and "" is the whole upstream.
    """
    if not wanted.url:
        return wanted.path
    path = unquote(wanted.url).removeprefix("./")
    if not path:
        return ""
    try:
        check_path(path.rstrip("/"))
    except BadPath:
        return None
    return path


def _page(names: Iterable[str]) -> bytes:
    links = "".join(f'<a href="./{html.escape(quote(name))}">x</a>\n' for name in sorted(names))
    return f"<html><body>\n{links}</body></html>\n".encode()


class FolderTransport:
    """A local folder. Links that stay inside count as files."""

    capacity = 1

    def __init__(self, url: str, folder: Path) -> None:
        self.source = url
        self._root = Path(unquote(url.partition("://")[2])).resolve()
        self._folder = folder
        self._waiting: list[Wanted] = []
        self._count = 0

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        """See ``Transport``; a local file is always read."""
        self._waiting.append(wanted)

    def collect(self) -> list[Got]:
        """See ``Transport``."""
        return [self._get(self._waiting.pop())] if self._waiting else []

    def close(self) -> None:
        """Nothing is open."""

    def _get(self, wanted: Wanted) -> Got:
        path = _place_of(wanted)
        place = (self._root / path).resolve() if path is not None else None
        if place is None or not place.is_relative_to(self._root) or not place.exists():
            if not self._root.is_dir():
                raise errors.UpstreamRefused(
                    "there is no such folder", where=self.source, remedy="check `upstream`"
                )
            return Got(wanted, absent=404)
        self._count += 1
        target = self._folder / f"plain-{self._count}"
        try:
            if place.is_dir():
                if path and not path.endswith("/"):
                    return Got(wanted, absent=404)
                target.write_bytes(_page(_names(place)))
            else:
                self._copy(wanted, place, target)
                check_promises(wanted, target, self.source)
        except errors.UpstreamMismatch as error:
            target.unlink(missing_ok=True)
            return Got(wanted, error=error)
        return Got(wanted, file=target, url=place.as_uri())

    def _copy(self, wanted: Wanted, place: Path, target: Path) -> None:
        left = limit_of(wanted)
        try:
            source = os.fdopen(os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
        except OSError as error:
            raise errors.UpstreamRefused(
                f"cannot be read: {error.strerror}", where=printable(str(place))
            ) from error
        with source, told(target), target.open("wb") as out:
            if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
                raise mismatch(wanted, "it is not a regular file", self.source)
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise mismatch(
                        wanted, f"it has more than {limit_of(wanted)} bytes", self.source
                    )
                out.write(block)


def _names(place: Path) -> list[str]:
    names = []
    for item in place.iterdir():
        try:
            check_path(item.name)
        except BadPath:
            continue
        names.append(item.name + ("/" if item.is_dir() else ""))
    return names


class RsyncTransport:
    """An rsync module, file by file, many in one connection."""

    capacity = 5_000

    def __init__(self, rsync: Rsync, folder: Path) -> None:
        self.source = rsync.url
        self._rsync = rsync
        self._folder = folder
        self._waiting: list[Wanted] = []
        self._count = 0

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        """See ``Transport``; rsync itself sees whether a file changed."""
        self._waiting.append(wanted)

    def collect(self) -> list[Got]:
        """See ``Transport``."""
        waiting, self._waiting = self._waiting, []
        paths: dict[str, list[Wanted]] = {}
        found: list[Got] = []
        for wanted in waiting:
            path = _place_of(wanted)
            if path is None:
                found.append(Got(wanted, absent=404))
            elif not path or path.endswith("/"):
                found.append(self._listing(wanted, path))
            else:
                paths.setdefault(path, []).append(wanted)
        if not paths:
            return found
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="some-", dir=self._folder) as scratch:
            most = max(limit_of(wanted) for same in paths.values() for wanted in same)
            received = self._rsync.fetch_some(Path(scratch), sorted(paths), most).received
            for path, same in paths.items():
                for wanted in same:
                    found.append(self._take(wanted, Path(scratch) / path, received))
                    received = 0
        return found

    def close(self) -> None:
        """Nothing is open."""

    def _take(self, wanted: Wanted, place: Path, received: int) -> Got:
        try:
            if not stat.S_ISREG(place.lstat().st_mode):
                return Got(wanted, absent=404, received=received)
        except (FileNotFoundError, NotADirectoryError):
            return Got(wanted, absent=404, received=received)
        try:
            if place.stat().st_size > limit_of(wanted):
                raise mismatch(wanted, f"it has more than {limit_of(wanted)} bytes", self.source)
            check_promises(wanted, place, self.source)
        except errors.UpstreamMismatch as error:
            return Got(wanted, error=error, received=received)
        target = self._next()
        os.link(place, target)  # another wish may name the same file
        return Got(wanted, file=target, url=self.source, received=received)

    def _listing(self, wanted: Wanted, path: str) -> Got:
        names = self._rsync.listing(path)
        if names is None:
            return Got(wanted, absent=404)
        target = self._next()
        target.write_bytes(_page(names))
        return Got(wanted, file=target, url=self.source)

    def _next(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        target = self._folder / f"plain-{self._count}"
        target.unlink(missing_ok=True)
        return target
