"""Where the parts of one connection are put down: frames to whole files in a folder.

A part is written to a hidden place beside, and gets its name in the folder only when all
of it is there, every hash fits, and it is durable. The name ends in a tag of the content,
so the same part twice is one file, and two parts of one name are two.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from blake3 import blake3

from cds.aside import discard
from cds.base import check_name, printable
from cds.room import require_room
from cds.tcp.frames import NO_TRANSFER, Frame, Kind
from manifests import errors
from manifests.durable import Durable, DurableFile
from manifests.units import format_bytes

INCOMING = ".incoming"
"""Sub-folder for parts that are under way."""

MOST_WAITING = 100_000
"""Files that may lie in the folder; more come only from somebody who floods us."""

_REMEMBERED = 4096
_TAG = 32
_CHECK_EVERY = 64 << 20
_PIECE = 256 << 10
"""Bytes of one write: the page cache takes larger ones in larger, colder pieces of memory."""


class Field:
    """The folder in which all connections of one stream land.

    ``max_part`` and ``reserve_free`` are bytes: the largest part, and what must stay free
    on the disk. Safe to share between threads.
    """

    def __init__(self, files: Durable, folder: Path, max_part: int, reserve_free: int) -> None:
        self.files = files
        self.folder = folder
        self.max_part = max_part
        self._reserve = reserve_free
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def incoming(self) -> Path:
        return self.folder / INCOMING

    def prepare(self) -> None:
        """Make the folders, and remove what a killed process left half-way."""
        self.files.mkdir(self.folder, self.incoming)
        for path in self.incoming.iterdir():
            self.files.unlink(path)

    def require_room(self, size: int, name: str) -> None:
        """Raise ``NoSpace`` unless ``size`` bytes may be written."""
        require_room(self.folder, size, self._reserve, name)

    def require_few(self) -> None:
        """Raise ``NoSpace`` if too many files wait to be imported."""
        with os.scandir(self.folder) as entries:
            count = sum(1 for _ in entries)
        if count > MOST_WAITING:
            raise errors.NoSpace(
                f"more than {MOST_WAITING} files wait to be imported",
                where=str(self.folder),
                remedy="see that `sluice receive` imports; find out who sends so many files",
            )

    def claim(self, name: str) -> bool:
        """Whether this part is new: it neither waits here nor came lately, on any connection."""
        with self._lock:
            if name in self._known or os.path.lexists(self.folder / name):
                return False
            self._known[name] = None
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
            return True

    def disclaim(self, name: str) -> None:
        """It did not get here after all."""
        with self._lock:
            self._known.pop(name, None)


class _Part:
    """A part under way."""

    def __init__(self, name: str, transfer: bytes, size: int, file: DurableFile) -> None:
        self.name = name
        self.transfer = transfer
        self.size = size
        self.file = file
        self.at = 0
        self.digests = blake3()
        self.checked = 0


class Landing:
    """What one connection puts down. ``tag`` tells its temporary files from others'.

    ``tell`` hears of each part that is given up: ``DamagedFrame``, ``PeerRefused``,
    ``NoSpace``, ``StoreError``. ``wait`` is called while there is no room and says whether
    to go on waiting.
    """

    def __init__(
        self,
        field: Field,
        tag: str,
        tell: Callable[[errors.SluiceError], None],
        wait: Callable[[], bool] = lambda: False,
    ) -> None:
        self._field = field
        self._temporary = field.incoming / f"{tag}.part"
        self._tell = tell
        self._wait = wait
        self._part: _Part | None = None

    @property
    def under_way(self) -> str:
        """Name of the part that has begun and not ended; empty if there is none."""
        return "" if self._part is None else self._part.name

    def take(self, frame: Frame) -> Path | None:
        """Go on by one frame; the file if a part is whole now and new here."""
        try:
            if frame.kind == Kind.BEGIN:
                self.give_up("another part began before it was whole")
                self._begin(frame)
            elif self._part is not None and frame.transfer == self._part.transfer:
                if frame.kind == Kind.DATA:
                    self._data(self._part, frame)
                elif frame.kind == Kind.END:
                    return self._end(self._part, frame)
            # All else belongs to a part that was given up, or to a later version.
        except errors.SluiceError as exc:
            self._drop()
            self._tell(exc)
        except BaseException:
            self._drop()
            raise
        return None

    def give_up(self, why: str) -> None:
        """Forget the part under way, if there is one, and tell ``why``."""
        if self._part is not None:
            self._tell(_broken(self._part, why))
            self._drop()

    def _begin(self, frame: Frame) -> None:
        name, size = _name(bytes(frame.body)), frame.offset
        if frame.transfer == NO_TRANSFER:
            raise errors.PeerRefused(
                "a part of no transfer", where=name, remedy="update the side that sends"
            )
        if size > self._field.max_part:
            raise errors.PeerRefused(
                f"a part of {size} bytes was announced",
                where=name,
                remedy=f"the most is `max_part` ({format_bytes(self._field.max_part)});"
                " make it larger, or `part_size` outside smaller",
            )
        self._await_room(size, name)
        self._field.files.unlink(self._temporary)
        file = self._field.files.create(self._temporary)
        self._part = _Part(name, frame.transfer, size, file)

    def _await_room(self, size: int, name: str) -> None:
        """Not reading is the only way to slow a sender down; perhaps the import frees room."""
        while True:
            try:
                self._field.require_room(size, name)
                self._field.require_few()
                return
            except errors.NoSpace:
                if not self._wait():
                    raise

    def _data(self, part: _Part, frame: Frame) -> None:
        if frame.offset != part.at or part.at + len(frame.body) > part.size:
            raise _broken(part, "a frame of it did not come")
        if part.at - part.checked >= _CHECK_EVERY:
            part.checked = part.at
            self._field.require_room(part.size - part.at, part.name)
        for start in range(0, len(frame.body), _PIECE):
            part.file.write(frame.body[start : start + _PIECE])
        part.digests.update(frame.digest)
        part.at += len(frame.body)

    def _end(self, part: _Part, frame: Frame) -> Path | None:
        digest = part.digests.digest()
        if part.at != part.size or frame.offset != part.size or frame.body != digest:
            raise _broken(part, "the end of it does not fit")
        name = f"{part.name}.{digest.hex()[:_TAG]}"
        target = self._field.folder / name
        if not self._field.claim(name):
            self._drop()
            return None
        try:
            part.file.sync()
            part.file.close()
            self._field.files.rename(self._temporary, target)
            self._field.files.sync_dir(self._field.folder)
        except BaseException:
            self._field.disclaim(name)
            raise
        self._part = None
        return target

    def _drop(self) -> None:
        if self._part is not None:
            with suppress(OSError, errors.StoreError):
                # Closing tells of a full disk once more; that was said already.
                self._part.file.close()
            self._part = None
            discard(self._field.files, self._temporary)


def _name(raw: bytes) -> str:
    """The name that a begin frame gives. Raises ``PeerRefused``."""
    text = raw[:512].decode("ascii", "replace")
    try:
        return check_name(text)
    except errors.CarrierError as exc:
        raise errors.PeerRefused(
            f"a part called {printable(text)!r}",
            remedy="update the side that sends: it uses only letters, digits, '.', '_' and '-'",
        ) from exc


def _broken(part: _Part, why: str) -> errors.DamagedFrame:
    return errors.DamagedFrame(
        f"{why}; {part.at} of {part.size} bytes were here",
        where=part.name,
        remedy="nothing, if it comes again; else have the outside send it again",
    )
