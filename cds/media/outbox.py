"""Writing volumes: as many as fit, each whole at every moment.

After each part the volume is one that could be pulled out: the part is durable, then its
line in the check file. The label is written first and says that the volume is open; in the
end it says whether another one follows.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from cds.aside import discard
from cds.base import Outstanding, Sent, check_name
from cds.media.volume import LABEL, SUMS, Label, Next, read_label, read_sums, sums_line
from cds.outbox import open_part
from manifests import errors
from manifests.durable import Durable, publish_file
from manifests.units import format_bytes

MARGIN = 1 << 20
"""Bytes that stay free on a medium, for its file system and our two small files."""

TAR = ".tar"
_OVERHEAD = 4096 + 256
"""What a part takes beside its bytes: a block that is not full, its line."""
_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Begun:
    """The newest volume that was begun: number, first of its set, whether a next one follows.

    The caller keeps it; ``Begun()`` stands before the first.
    """

    volume: int = 0
    set: int = 1
    more: bool = False


class _Volume:
    """A volume that is being written."""

    def __init__(self, folder: Path, label: Label, names: Mapping[str, str], used: int) -> None:
        self.folder = folder
        self.label = label
        self.parts = len(names)
        self.used = used


class MediaOutbox:
    """The :class:`cds.base.Outlet` that fills volumes of at most ``size`` bytes.

    ``last`` is what ``begun`` was told of most recently, perhaps by an earlier process;
    ``written`` is told of each volume that is complete.
    """

    def __init__(
        self,
        files: Durable,
        folder: Path,
        stream: str,
        size: int,
        *,
        last: Begun,
        begun: Callable[[Begun], None],
        written: Callable[[Label, int], None] = lambda label, parts: None,
    ) -> None:
        self._files = files
        self._folder = folder
        self._stream = stream
        self._size = size
        self._last = last
        self._begun = begun
        self._written = written
        self._volume: _Volume | None = None
        self._here: dict[str, str] | None = None
        # What lies on this medium already, by name.
        self._failed = False

    def offer(self, name: str, source: Path) -> Sent:
        """Copy ``source`` to the volume; see :class:`cds.base.Outlet`.

        Raises ``MediumFull`` when a person has to change the medium, ``CarrierError`` when
        there is none or it went away.
        """
        file_name = check_name(name, "", TAR)
        fd = open_part(source)
        try:
            size = os.fstat(fd).st_size
            if size + 3 * _OVERHEAD > self._size:
                raise errors.CarrierError(
                    f"a part of {format_bytes(size)} does not fit a volume of"
                    f" {format_bytes(self._size)}",
                    where=name,
                    remedy="make `volume` larger; `part_size` counts for the next bundle",
                )
            self._failed = True
            again = self._lies_here(file_name, fd)
            if not again:
                self._put(file_name, fd, size)
            self._failed = False
        except OSError as exc:
            raise self._went_away(exc) from exc
        except errors.MediumFull:
            self._failed = False
            raise
        finally:
            os.close(fd)
        return Sent(name, size, again)

    def outstanding(self) -> list[Outstanding]:
        """The parts on the volumes that lie here; see :class:`cds.base.Outlet`."""
        found = [
            Outstanding(name.removesuffix(TAR), (folder / name).stat().st_size)
            for folder, _ in self._volumes()
            for name in read_sums(folder)
            if (folder / name).is_file()
        ]
        return sorted(found, key=lambda each: each.name)

    def expire(self, now: float, sent: Mapping[str, float]) -> list[str]:
        """Nothing: a medium belongs to whoever carries it."""
        return []

    def in_doubt(self) -> list[str]:
        """Nothing: what was put out is durable; see :class:`cds.base.Outlet`."""
        return []

    def close(self) -> None:
        """Complete the volume: nothing follows for now. Raises ``CarrierError``.

        While a stop or an error unwinds something does follow, so that the volume stays
        open; the next outbox goes on with it, and completes it where nothing is left.
        """
        if self._failed or sys.exception() is not None:
            return
        try:
            if self._volume is None:
                self._volume = self._left_open(self._volumes())
            if self._volume is not None:
                self._finish(Next.NO)
        except OSError as exc:
            raise self._went_away(exc) from exc

    # One volume after the other

    def _put(self, name: str, fd: int, size: int) -> None:
        volume = self._volume or self._begin(size)
        if volume.used + size + _OVERHEAD > self._size:
            self._finish(Next.YES)
            volume = self._begin(size)
        if self._free() < size + _OVERHEAD + MARGIN:
            raise self._full(volume)
        try:
            self._write(volume, name, fd)
        except errors.NoSpace as exc:
            raise self._full(volume) from exc
        volume.parts += 1
        volume.used += size + _OVERHEAD

    def _begin(self, size: int) -> _Volume:
        """Go on with an open volume that lies here, or begin the next one."""
        volumes = self._volumes()
        if self._volume is None:
            self._volume = self._left_open(volumes)
            if self._volume is not None:
                return self._volume
        if self._free() < size + 2 * _OVERHEAD + MARGIN:
            raise self._full(None)
        number = max([self._last.volume, *(label.volume for _, label in volumes)]) + 1
        first = self._last.set if self._last.more else number
        label = Label(self._stream, number, first)
        folder = self._folder / label.folder
        self._files.mkdir(folder)
        publish_file(self._files, folder / SUMS, b"")
        publish_file(self._files, folder / LABEL, label.text())
        self._volume = _Volume(folder, label, {}, 2 * _OVERHEAD)
        self._note(Begun(number, first))
        return self._volume

    def _left_open(self, volumes: Iterable[tuple[Path, Label]]) -> _Volume | None:
        """The newest volume, if it lies here and an earlier run could not complete it.

        An older one stays as it is: whoever went on with it would count on from its number.
        """
        newest = max(volumes, key=lambda one: one[1].volume, default=None)
        if newest is None or newest[1].next is not Next.OPEN:
            return None
        return None if newest[1].volume < self._last.volume else self._resume(*newest)

    def _resume(self, folder: Path, label: Label) -> _Volume:
        """An open volume that was pulled out, or whose writer was killed."""
        names = read_sums(folder)
        # A last line may be half there; a part without a line is written again.
        publish_file(
            self._files, folder / SUMS, b"".join(sums_line(*each) for each in names.items())
        )
        used = 2 * _OVERHEAD
        for path in sorted(folder.iterdir()):
            if path.name in names:
                used += path.stat().st_size + _OVERHEAD
            elif path.name not in (LABEL, SUMS):
                self._files.unlink(path)
        if label.volume > self._last.volume:
            self._note(Begun(label.volume, label.set))
        return _Volume(folder, label, names, used)

    def _finish(self, following: Next) -> None:
        volume = self._volume
        assert volume is not None
        label = replace(volume.label, next=following)
        publish_file(self._files, volume.folder / LABEL, label.text())
        self._volume = None
        self._note(Begun(label.volume, label.set, following is Next.YES))
        self._written(label, volume.parts)

    def _full(self, volume: _Volume | None) -> errors.MediumFull:
        """The error; what is on the medium is completed first."""
        about = "the medium is full"
        if volume is not None and volume.parts:
            self._finish(Next.YES)
            about = f"the medium is full; volume {volume.label.volume} is complete"
        elif volume is not None:
            # An empty one would be wanted inside; its number is given to the next.
            self._volume = None
            self._files.unlink(volume.folder / LABEL)
            first, number = volume.label.set, volume.label.volume
            self._note(Begun(number - 1, first, more=first < number))
        return errors.MediumFull(
            about,
            where=str(self._folder),
            remedy="insert the next medium, then call `sluice send` again: it goes on there",
        )

    def _note(self, begun: Begun) -> None:
        self._last = begun
        self._begun(begun)

    # Files

    def _write(self, volume: _Volume, name: str, fd: int) -> None:
        temporary = volume.folder / f".{name}.tmp"
        self._files.unlink(temporary)
        digest = hashlib.sha256()
        with self._files.create(temporary) as out:
            try:
                offset = 0
                while block := os.pread(fd, _BLOCK, offset):
                    digest.update(block)
                    out.write(block)
                    offset += len(block)
                out.sync()
            except BaseException:
                discard(self._files, temporary)
                raise
        self._files.rename(temporary, volume.folder / name)
        self._files.sync_dir(volume.folder)
        with self._files.reopen(volume.folder / SUMS) as sums:
            sums.write(sums_line(name, digest.hexdigest()))
            sums.sync()
        if self._here is not None:
            self._here[name] = digest.hexdigest()

    def _lies_here(self, name: str, fd: int) -> bool:
        """Whether this part is on this medium already, the same bytes."""
        if not self._folder.is_dir():
            raise errors.CarrierError(
                "there is no medium",
                where=str(self._folder),
                remedy="insert and mount it, or create the folder; it is never created on sending",
            )
        if self._here is None:
            self._here = {}
            for folder, _ in self._volumes():
                self._here.update(read_sums(folder))
        if name not in self._here:
            return False
        digest = hashlib.sha256()
        offset = 0
        while block := os.pread(fd, _BLOCK, offset):
            digest.update(block)
            offset += len(block)
        return digest.hexdigest() == self._here[name]

    def _volumes(self) -> list[tuple[Path, Label]]:
        """This stream's volumes that lie here."""
        found = []
        for path in sorted(self._folder.glob(f"sluice-{self._stream}-*")):
            label = read_label(path)
            if label is not None and label.stream == self._stream:
                found.append((path, label))
        return found

    def _free(self) -> int:
        status = os.statvfs(self._folder)
        return status.f_bavail * status.f_frsize

    def _went_away(self, exc: OSError) -> errors.CarrierError:
        return errors.CarrierError(
            f"the medium cannot be written ({exc.strerror})",
            where=str(self._folder),
            remedy="insert it again and call `sluice send`: it goes on where it stopped",
        )
