"""The work copy of a repository: what rsync keeps up to date, read as entries of a tree.

::

    work/REPO/files/   the copy
    work/REPO/clean    digest of the snapshot's tree that it stands for; absent while rsync
                       may write, and after a crash
    work/REPO/open     the machine's boot id when rsync began to write; gone with the commit
    work/REPO/lock     held by rsync itself, too

Files become blobs by hard link. Hence a file of the copy that *is* the blob which the
previous tree names at that path (same device, same inode) has its bytes: blobs never
change. So a scan reads only what is new, after a crash too, and needs no other record.
But rsync does not fsync: if the machine itself went down, sizes and times prove nothing,
and the next rsync must compare content.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from manifests import errors
from manifests.digest import Digest, is_digest
from manifests.durable import Durable, publish_file
from manifests.formats.base import Problem, Severity
from manifests.tree import PRIVATE, Entry, Tree, check_path
from mirror.report import printable
from mirror.rsync import PARTIAL
from store.blobs import BlobBatch, BlobStore

_MUNGED = b"/rsyncd-munged/"
_MAX_LINKS = 40
"""Links followed for one path, as in the kernel."""
_MAX_DEPTH = 3
"""Linked folders inside linked folders; more is a maze, not a repository."""
_MAX_LINKED = 1_000_000
"""Files that may enter the tree through linked folders."""
_MARK_LIMIT = 4096
_BUSY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Mark:
    """What a clean work copy stands for: a snapshot's tree, made under ``settings``."""

    tree: Digest
    settings: str


@dataclass(slots=True)
class Scan:
    """Where a scan collects what does not become an entry."""

    problems: list[Problem] = field(default_factory=list)
    read: int = 0
    """Files whose content was read."""
    linked: int = 0


class WorkCopy:
    """One repository's folder below ``work/``."""

    def __init__(self, folder: Path, files: Durable) -> None:
        self.folder = folder
        self.files = folder / "files"
        self._durable = files
        self._mark = folder / "clean"
        self._open = folder / "open"

    @contextmanager
    def locked(self) -> Iterator[int]:
        """A descriptor whose lock rsync inherits. Raises StoreBusy.

        Our own named lock ends with our process; an rsync that outlives it does not.
        """
        self._durable.mkdir(self.files)
        fd = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            until = time.monotonic() + _BUSY_SECONDS
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() >= until:
                        raise errors.StoreBusy(
                            "an rsync of an earlier sync still writes into the work copy",
                            where=str(self.folder),
                            remedy="wait until it has ended, or end it, then sync again",
                        ) from None
                    time.sleep(0.1)
            yield fd
        finally:
            os.close(fd)

    def mark(self) -> Mark | None:
        """What the copy stands for, or None when it must be scanned."""
        try:
            with self._mark.open("rb") as file:
                value = json.loads(file.read(_MARK_LIMIT))
            if is_digest(value["tree"]) and isinstance(value["settings"], str):
                return Mark(Digest(value["tree"]), value["settings"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            pass
        return None

    def set_mark(self, mark: Mark) -> None:
        """Say that the copy stands for a committed snapshot."""
        data = json.dumps({"settings": mark.settings, "tree": mark.tree}, sort_keys=True)
        publish_file(self._durable, self._mark, f"{data}\n".encode())
        self._durable.unlink(self._open)

    def suspect(self) -> bool:
        """Whether the machine went down while files of the copy may not have been on disk."""
        if self._mark.exists():
            return False
        try:
            with self._open.open("rb") as file:
                return file.read(_MARK_LIMIT).decode("utf-8", "replace").strip() != boot_id()
        except FileNotFoundError:
            return False

    def unmark(self) -> None:
        """Before anything is written into the copy."""
        marked = self._mark.exists()
        if marked or not self._open.exists():  # one beside the mark was left by a stop
            publish_file(self._durable, self._open, f"{boot_id()}\n".encode())
        if marked:
            self._durable.unlink(self._mark)
            self._durable.sync_dir(self.folder)

    def discard(self, paths: list[str]) -> None:
        """Remove files that turned out wrong, so that rsync fetches them again."""
        for path in paths:
            with suppress(errors.BadPath, FileNotFoundError, NotADirectoryError):
                place = self.files / check_path(path)
                if stat.S_ISREG(place.lstat().st_mode):
                    place.unlink()

    def entries(
        self, batch: BlobBatch, blobs: BlobStore, previous: Tree | None, scan: Scan
    ) -> Iterator[Entry]:
        """All files in the order of a tree; new ones are taken into ``batch``.

        What may not enter a tree is a required problem, by name; a link that leads
        nowhere or out of the repository is advice.
        """
        walk = _Walk(os.fsencode(self.files), batch, blobs, scan)
        known = iter(()) if previous is None else previous.entries()
        before = next(known, None)
        for path, place in walk.files():
            try:
                name = check_path(path.decode())
            except (UnicodeDecodeError, errors.BadPath) as error:
                what = "not UTF-8" if isinstance(error, UnicodeDecodeError) else error.what
                scan.problems.append(Problem(printable(os.fsdecode(path)), f"bad name: {what}"))
                continue
            key = path
            while before is not None and before.path.encode() < key:
                before = next(known, None)
            old = before if before is not None and before.path.encode() == key else None
            yield walk.entry(name, place, old)


class _Walk:
    """One pass over the copy, in the byte order of full paths."""

    def __init__(self, root: bytes, batch: BlobBatch, blobs: BlobStore, scan: Scan) -> None:
        self._root = root
        self._batch = batch
        self._blobs = blobs
        self._scan = scan

    def files(self) -> Iterator[tuple[bytes, bytes]]:
        """Pairs of path in the tree and real place on disk."""
        yield from self._folder(b"", self._root, 0)

    def _folder(self, prefix: bytes, place: bytes, depth: int) -> Iterator[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes, bool]] = []
        with os.scandir(place) as listing:
            for item in listing:
                if item.name == os.fsencode(PARTIAL):
                    continue
                linked = item.is_symlink()
                target = self._resolve(prefix + item.name, item.path) if linked else item.path
                if target is None:
                    continue
                mode = os.lstat(target).st_mode if linked else 0
                if stat.S_ISDIR(mode) or (not linked and item.is_dir(follow_symlinks=False)):
                    found.append((item.name + b"/", target, linked))
                elif stat.S_ISREG(mode) or (not linked and item.is_file(follow_symlinks=False)):
                    found.append((item.name, target, linked))
        found.sort()
        for name, target, linked in found:
            path = prefix + name
            if not prefix and path.startswith(PRIVATE.encode()):
                continue
            if not name.endswith(b"/"):
                self._count(path, depth)
                yield path, target
            elif not linked:
                yield from self._folder(path, target, depth)
            elif depth >= _MAX_DEPTH or (place + b"/").startswith(target + b"/"):
                self._dropped(path, "a link to a folder that leads into itself")
            else:
                yield from self._folder(path, target, depth + 1)

    def _count(self, path: bytes, depth: int) -> None:
        if depth:
            self._scan.linked += 1
            if self._scan.linked > _MAX_LINKED:
                raise errors.HeldError(
                    f"more than {_MAX_LINKED} files lie behind linked folders",
                    where=printable(os.fsdecode(path)),
                    remedy="choose a folder of the upstream without such links",
                )

    def _resolve(self, path: bytes, place: bytes) -> bytes | None:
        """Where a disarmed link really leads, if that is a file or folder in the copy."""
        pending = place[len(self._root) + 1 :].split(b"/")
        at: list[bytes] = []
        links = 0
        while pending:
            part = pending.pop(0)
            if part in (b"", b"."):
                continue
            if part == b"..":
                if not at:
                    return self._dropped(path, "a link that leads out of the repository")
                at.pop()
                continue
            here = b"/".join([self._root, *at, part])
            try:
                mode = os.lstat(here).st_mode
            except (FileNotFoundError, NotADirectoryError):
                return self._dropped(path, "a link to nothing")
            if not stat.S_ISLNK(mode):
                at.append(part)
                continue
            links += 1
            target = os.readlink(here).removeprefix(_MUNGED)  # noqa: PTH115 - bytes
            if links > _MAX_LINKS or target.startswith(b"/"):
                why = "that leads out of the repository" if links <= _MAX_LINKS else "in a circle"
                return self._dropped(path, f"a link {why}")
            pending = [*target.split(b"/"), *pending]
        found = b"/".join([self._root, *at])
        if found == self._root:
            return self._dropped(path, "a link to a folder that leads into itself")
        return found

    def _dropped(self, path: bytes, what: str) -> bytes | None:
        """Report a link that is left out."""
        name = printable(os.fsdecode(path.rstrip(b"/")))
        self._scan.problems.append(Problem(name, f"left out: {what}", Severity.ADVICE))
        return None

    def entry(self, path: str, place: bytes, old: Entry | None) -> Entry:
        """The entry of a file; its content is read only if it is not the blob it was."""
        if old is not None:
            with suppress(errors.BlobMissing):
                mine = os.lstat(place)
                if os.path.samestat(mine, os.stat(self._blobs.path(old.digest))):  # noqa: PTH116
                    return Entry(path, old.digest, mine.st_size)
        self._scan.read += 1
        digest, size = self._batch.adopt(Path(os.fsdecode(place)))
        return Entry(path, digest, size)


def boot_id() -> str:
    """Another one after each start of the machine (random(4)); "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return ""


def remove_partials(folder: Path) -> None:
    """Remove what interrupted transfers left, once a complete copy is there."""
    for place, names, _ in os.walk(folder):
        if PARTIAL in names:
            names.remove(PARTIAL)
            shutil.rmtree(Path(place) / PARTIAL)
