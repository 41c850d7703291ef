"""Taking volumes in: in any order, as often as somebody inserts them.

The medium is only read. Its parts are copied into the stream's inbox, because a part may be
needed together with one of another volume, and checked on the way against the check file.
Which volumes are wanted, the caller says from what :meth:`Intake.take` returns.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cds.aside import discard
from cds.base import printable
from cds.media.volume import Label, read_label, read_sums, sums_line
from cds.room import require_room
from manifests import errors
from manifests.durable import Durable, DurableFile

_INCOMING = ".incoming"
_MOST_FOLDERS = 10_000
_BLOCK = 1 << 20
_TAG = 32


@dataclass(slots=True)
class VolumeSeen:
    """A volume that lies there: its label, the digest of its check file, and what is wrong."""

    label: Label
    sums: str
    damaged: dict[str, str] = field(default_factory=dict)
    """By part; empty: all of it was taken in, now or earlier."""


class Intake:
    """Copies what is new on the media in ``folder`` into ``inbox``.

    ``limit`` is the most bytes to take of one volume, ``reserve_free`` what stays free on
    the inbox's disk. No medium is nothing to do.
    """

    def __init__(
        self,
        files: Durable,
        folder: Path,
        inbox: Path,
        stream: str,
        *,
        reserve_free: int = 0,
        limit: int | None = None,
    ) -> None:
        self._files = files
        self._folder = folder
        self._inbox = inbox
        self._stream = stream
        self._reserve = reserve_free
        self._limit = limit
        self._taken: set[str] = set()
        self._told: set[tuple[str, str]] = set()
        self._foreign: list[tuple[str, str]] = []
        self.parts = 0
        """Copied since the start."""

    def take(self, known: Mapping[int, str]) -> list[VolumeSeen]:
        """Take in all volumes that lie there; ``known``: digests of check files, by number.

        Raises ``NoSpace``, ``StoreError``; what was copied stays, and another call goes on.
        """
        self._foreign = []
        incoming = self._inbox / _INCOMING
        self._files.mkdir(self._inbox, incoming)
        for path in incoming.iterdir():
            self._files.unlink(path)  # a killed process left it
        found = []
        for folder in self._folders():
            try:
                label = read_label(folder)
                if label is None or label.stream != self._stream:
                    continue
                sums = read_sums(folder)
                listed = b"".join(sums_line(*each) for each in sums.items())
                seen = VolumeSeen(label, hashlib.sha256(listed).hexdigest())
                if known.get(label.volume) != seen.sums:
                    self._take(folder, sums, seen)
                found.append(seen)
            except errors.CarrierError as error:
                self._foreign.append((printable(folder.name), error.what))
        return found

    def foreign(self) -> list[tuple[str, str]]:
        """Volumes that could not be read, and why; each is told once."""
        fresh = [each for each in self._foreign if each not in self._told]
        self._told.update(fresh)
        return fresh

    def _folders(self) -> list[Path]:
        try:
            with os.scandir(self._folder) as entries:
                below = sorted(
                    entry.name for entry in entries if entry.is_dir(follow_symlinks=False)
                )
        except OSError:
            return []
        return [self._folder, *(self._folder / name for name in below[:_MOST_FOLDERS])]

    def _take(self, folder: Path, sums: Mapping[str, str], seen: VolumeSeen) -> None:
        left = self._limit
        for name, digest in sorted(sums.items()):
            final = f"{name}.{digest[:_TAG]}"
            try:
                if left is not None:
                    left -= (folder / name).lstat().st_size
                    if left < 0:
                        raise errors.CarrierError(f"a volume of more than {self._limit} bytes")
                if final in self._taken or os.path.lexists(self._inbox / final):
                    continue
                problem = self._copy(folder / name, digest, final)
            except OSError as exc:
                problem = f"it cannot be read ({exc.strerror})"
            if problem:
                seen.damaged[name] = problem
                continue
            self._taken.add(final)
            self.parts += 1

    def _copy(self, source: Path, digest: str, final: str) -> str:
        """What is wrong with the part; it is in the inbox only if nothing is."""
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return "not a plain file"
            require_room(self._inbox, status.st_size, self._reserve, source.name)
            temporary = self._inbox / _INCOMING / final
            with self._files.create(temporary) as out:
                try:
                    if _copy_hashed(fd, out, status.st_size) != digest:
                        discard(self._files, temporary)
                        return "its bytes are not those of the check file"
                    out.sync()
                except BaseException:
                    discard(self._files, temporary)
                    raise
            self._files.rename(temporary, self._inbox / final)
            self._files.sync_dir(self._inbox)
            return ""
        finally:
            os.close(fd)


def _copy_hashed(fd: int, out: DurableFile, size: int) -> str:
    """Copy at most ``size`` bytes; the SHA-256 of them."""
    hasher = hashlib.sha256()
    offset = 0
    while offset < size and (block := os.pread(fd, min(_BLOCK, size - offset), offset)):
        hasher.update(block)
        out.write(block)
        offset += len(block)
    return hasher.hexdigest()
