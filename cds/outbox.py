"""The sending half of the file drop: a folder from which a guard picks files up.

A file is made whole and durable in a staging folder on the same file system and then
*renamed* into the outbox: it appears complete, and as ``IN_MOVED_TO``, the event that
pick-up programs wait for (a bare link would show as ``IN_CREATE``, which they take for
the start of a write). From that moment on it may vanish; nothing here looks at it again.

Where the outbox is itself a mount point, no folder beside it is on its file system. Then
a hidden ``.sluice-NAME.tmp`` in the outbox has to do. A guard that *mirrors* the outbox,
hidden files included, would carry such halves across (the inbox ignores them): give it a
sub-folder of the mount to watch instead, and the staging folder a place beside that.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from cds.aside import discard, why_not, write_new
from cds.base import Outstanding, Sent, affixes, check_name
from manifests import errors
from manifests.durable import Durable, DurableFile
from manifests.zone import PartNames, Retain

STALE = 86_400.0
"""Age in seconds at which a temporary file belongs to no running process any more."""

_HIDDEN = ".sluice-"
_TMP = ".tmp"
_CANNOT_LINK = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS}
)
_CANNOT_STAGE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_BLOCK = 1 << 20


class FileOutbox:
    """The :class:`cds.base.Outlet` over a folder.

    ``names`` gives what stands around every name, since guards allow-list names. With a
    ``done_marker`` (``.done``), the empty ``NAME.done`` follows each file once that is
    durable. ``retain`` ends files that a guard mirrors instead of moving: ``age`` seconds
    after they were sent, and oldest first while more than ``size`` bytes lie out.

    The outbox must exist: a missing one is a mount that failed, not a folder to make.
    """

    def __init__(
        self,
        files: Durable,
        folder: Path,
        *,
        staging: Path | None = None,
        names: PartNames | None = None,
        retain: Retain | None = None,
    ) -> None:
        self._files = files
        self._folder = folder
        self._staging = staging or folder.with_name(f".{folder.name}-staging")
        self._prefix, self._suffix, self._marker = affixes(names)
        self._retain = retain or Retain()
        self._beside = True
        # Cleared for good once a rename out of the staging folder proved impossible.

    def offer(self, name: str, source: Path) -> Sent:
        """Link or copy ``source`` out as ``name``; see :meth:`cds.base.Outlet.offer`."""
        target = self._folder / check_name(name, self._prefix, self._suffix)
        if self._marker and target.name.endswith(self._marker):
            raise errors.CarrierError(
                f"{target.name!r} ends like a done-marker",
                remedy="choose another `done_marker` or `name_suffix`",
            )
        self._need_folder()
        fd = open_part(source)
        try:
            size = os.fstat(fd).st_size
            again = self._lies_there(target, fd)
            if not again:
                self._put_out(source, fd, size, target)
            # Also for what lay there: whoever put it may have died before this.
            self._files.sync_dir(self._folder)
        finally:
            os.close(fd)
        if self._marker:
            self._mark(target)
        return Sent(name, size, again)

    def outstanding(self) -> list[Outstanding]:
        """What lies in the outbox under names of ours; see :class:`cds.base.Outlet`."""
        return self._look()[0]

    def expire(self, now: float, sent: Mapping[str, float]) -> list[str]:
        """Unlink by ``retain`` what was sent, oldest first; see :class:`cds.base.Outlet`.

        Also clears temporary files that a crash left more than ``STALE`` seconds ago.
        """
        out, marked = self._look()
        sizes = {each.name: each.size for each in out if each.name in sent}
        total = sum(sizes.values())
        gone: list[str] = []
        for name in sorted(sizes, key=lambda each: (sent[each], each)):
            if not self._is_old(now, sent[name]) and not self._is_much(total):
                break
            # The marker goes first: one without its file would announce what is not there.
            if name in marked:
                self._files.unlink(self._marker_of(name))
            self._files.unlink(self._file_of(name))
            total -= sizes[name]
            gone.append(name)
        lonely = [n for n in marked - sizes.keys() if n in sent and self._is_old(now, sent[n])]
        for name in lonely:
            self._files.unlink(self._marker_of(name))
        if gone or lonely:
            # The caller forgets these names now; one that came back would stay for ever.
            self._files.sync_dir(self._folder)
        self._clear_leftovers(now)
        return gone

    def in_doubt(self) -> list[str]:
        """Nothing: what was put out is durable; see :class:`cds.base.Outlet`."""
        return []

    def close(self) -> None:
        """Nothing is held open; see :class:`cds.base.Outlet`."""

    def _is_old(self, now: float, since: float) -> bool:
        return self._retain.age is not None and now - since >= self._retain.age

    def _is_much(self, total: int) -> bool:
        return self._retain.size is not None and total > self._retain.size

    def _file_of(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}{self._suffix}"

    def _marker_of(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}{self._suffix}{self._marker}"

    def _need_folder(self) -> None:
        if not self._folder.is_dir():
            raise errors.CarrierError(
                "the outbox is missing",
                where=str(self._folder),
                remedy="mount it or create it; it is never created on sending",
            )

    def _look(self) -> tuple[list[Outstanding], set[str]]:
        """The files and the names of the done-markers that lie out."""
        self._need_folder()
        found: list[Outstanding] = []
        marked: set[str] = set()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith(".") or not entry.is_file(follow_symlinks=False):
                    continue
                is_marker = bool(self._marker) and name.endswith(self._marker)
                name = name.removesuffix(self._marker) if is_marker else name
                name = self._logical(name)
                if not name:
                    continue
                if is_marker:
                    marked.add(name)
                    continue
                try:
                    size = entry.stat(follow_symlinks=False).st_size
                except FileNotFoundError:
                    continue  # picked up between the two looks
                found.append(Outstanding(name, size))
        return sorted(found, key=lambda each: each.name), marked

    def _logical(self, file_name: str) -> str:
        """The name that was offered, or "" if this file's name is none of ours."""
        fits = file_name.startswith(self._prefix) and file_name.endswith(self._suffix)
        name = file_name[len(self._prefix) : len(file_name) - len(self._suffix)]
        return name if fits and file_name.isascii() else ""

    def _lies_there(self, target: Path, fd: int) -> bool:
        """Whether these bytes lie out under that name. Raises ``CarrierError`` for others."""
        try:
            there = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError as exc:
            raise _other_file(target) from exc
        try:
            if not _same_bytes(fd, there):
                raise _other_file(target)
        finally:
            os.close(there)
        return True

    def _put_out(self, source: Path, fd: int, size: int, target: Path) -> None:
        if self._can_stage():
            staged = self._staging / target.name
            self._fill(source, fd, size, staged)
            try:
                self._move_in(staged, target)
                return
            except OSError as exc:
                if exc.errno != errno.EXDEV:
                    raise
                self._beside = False  # one file system in two mounts
        hidden = self._hidden(target)
        self._fill(source, fd, size, hidden)
        self._move_in(hidden, target)

    def _mark(self, target: Path) -> None:
        marker = target.with_name(target.name + self._marker)
        if os.path.lexists(marker):
            return
        staged = self._staging / marker.name if self._can_stage() else self._hidden(marker)
        self._files.unlink(staged)
        # Not synced: it holds nothing that could be lost, and the folder's sync keeps its name.
        self._files.create(staged).close()
        self._move_in(staged, marker)
        self._files.sync_dir(self._folder)

    def _move_in(self, staged: Path, target: Path) -> None:
        try:
            self._files.rename(staged, target)
        except BaseException:
            discard(self._files, staged)
            raise

    def _hidden(self, target: Path) -> Path:
        return self._folder / f"{_HIDDEN}{target.name}{_TMP}"

    def _can_stage(self) -> bool:
        """Whether the staging folder is there and on the outbox's file system."""
        if not self._beside:
            return False
        try:
            self._files.mkdir(self._staging)
        except (OSError, errors.StoreError) as exc:
            if why_not(exc) in _CANNOT_STAGE:
                self._beside = False
                return False
            raise
        self._beside = self._staging.stat().st_dev == self._folder.stat().st_dev
        return self._beside

    def _fill(self, source: Path, fd: int, size: int, staged: Path) -> None:
        """Make ``staged`` hold the source's bytes, durably: a hard link, else a copy."""
        self._files.unlink(staged)
        try:
            self._files.sync_file(source)
            self._files.link(source, staged)
        except OSError as exc:
            if exc.errno not in _CANNOT_LINK:
                raise

            def copy(out: DurableFile) -> None:
                self._files.copy_range(fd, 0, size, out)

            write_new(self._files, staged, copy)

    def _clear_leftovers(self, now: float) -> None:
        for folder, start in ((self._staging, ""), (self._folder, _HIDDEN)):
            if not folder.is_dir():
                continue
            with os.scandir(folder) as entries:
                old = [
                    Path(entry.path)
                    for entry in entries
                    if entry.name.startswith(start)
                    and (not start or entry.name.endswith(_TMP))
                    and entry.is_file(follow_symlinks=False)
                    and _changed_at(entry) < now - STALE
                ]
            for path in old:
                self._files.unlink(path)


def _changed_at(entry: os.DirEntry[str]) -> float:
    """Moment of the last change to the file or its names; now if it has just gone."""
    try:
        return entry.stat(follow_symlinks=False).st_ctime
    except FileNotFoundError:
        return float("inf")


def open_part(source: Path) -> int:
    """A descriptor of a part to send. Raises ``CarrierError``: no plain, readable file."""
    try:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as exc:
        raise _no_part(source) from exc
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_part(source)
    return fd


def _no_part(source: Path) -> errors.CarrierError:
    return errors.CarrierError(
        "the file to send is not there, or not readable as a plain file",
        where=str(source),
        remedy="pack the bundle again",
    )


def _other_file(target: Path) -> errors.CarrierError:
    return errors.CarrierError(
        "another file of that name lies in the outbox",
        where=str(target),
        remedy="find out who put it there, move it away, and send again",
    )


def _same_bytes(one: int, other: int) -> bool:
    first, second = os.fstat(one), os.fstat(other)
    if not stat.S_ISREG(second.st_mode) or first.st_size != second.st_size:
        return False
    if (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino):
        return True
    offset = 0
    while block := os.pread(one, _BLOCK, offset):
        if block != os.pread(other, len(block), offset):
            return False
        offset += len(block)
    return True
