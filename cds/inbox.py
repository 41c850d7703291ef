"""The receiving half of the file drop: a folder into which a guard puts files.

Nothing is known of how the guard writes: in place, slowly, under temporary names, out of
order; it may be a mirror that puts back what is deleted, or a mount that cannot be
written. So a file counts only when it has *settled*, whatever else lies there is left
alone, and no file is opened by a name that leads elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cds.aside import COPY_LIMIT, Quarantine, put_aside, withdraw
from cds.base import Arrival, Foreign, Waiting, affixes, printable
from manifests import errors
from manifests.durable import Durable
from manifests.zone import After, PartNames

_REPORTED = 100
_UNFINISHED = ("~", ".tmp", ".temp", ".partial", ".filepart", ".crdownload")
"""How programs end the names of files that they are still writing."""


class _Seen(NamedTuple):
    """What tells one state of a file from another."""

    name: str
    size: int
    mtime_ns: int
    inode: int


class FileInbox:
    """The :class:`cds.base.Inlet` over a folder.

    A file has settled when size and modification time have not changed for ``settle``
    seconds, by the file's own time or between two looks (should clocks differ). With a
    done-marker in ``names`` it must also have its ``NAME.done``, which may overtake it.
    Prefix and suffix, where they are not empty, are required; without ``names`` any
    visible file may be ours, since guards rename. ``done`` is where ``After.MOVE`` moves to.

    Sub-folders and hidden or unfinished names are passed over. One object serves one
    thread; folders other than the inbox are created when they are first needed.
    """

    def __init__(
        self,
        files: Durable,
        folder: Path,
        quarantine: Path,
        *,
        after: After = After.DELETE,
        done: Path | None = None,
        settle: float = 2.0,
        names: PartNames | None = None,
        copy_limit: int = COPY_LIMIT,
    ) -> None:
        if after is After.MOVE and done is None:
            raise errors.ConfigError(
                "`after: move` needs a folder to move to", remedy="add `done: FOLDER`"
            )
        self._files = files
        self._folder = folder
        self._quarantine = Quarantine(files, quarantine, copy_limit=copy_limit)
        self._after = after
        self._done = done or folder
        self._settle = settle
        self._prefix, self._suffix, self._marker = affixes(names)
        self._watched: dict[str, tuple[_Seen, float]] = {}
        self._finished: set[_Seen] = set()
        self._told: set[str] = set()
        self._waiting = Waiting()
        self._foreign = Foreign()

    def arrivals(self, now: float) -> Iterator[Arrival]:
        """Look at the folder once, then give what has settled; see :class:`cds.base.Inlet`.

        Raises ``CarrierError`` if the folder is missing or unreadable.
        """
        plain, markers = self._look()
        watched: dict[str, tuple[_Seen, float]] = {}
        settled: list[_Seen] = []
        unmarked = 0
        until: float | None = None
        for seen in plain:
            if self._marker and seen.name + self._marker not in markers:
                unmarked += 1
                continue
            whole_at = seen.mtime_ns / 1e9 + self._settle
            if now < whole_at:
                before, since = self._watched.get(seen.name, (seen, now))
                if before != seen or since > now:
                    since = now
                watched[seen.name] = (seen, since)
                whole_at = min(whole_at, since + self._settle)
            if now >= whole_at:
                settled.append(seen)
            else:
                until = whole_at if until is None else min(until, whole_at)
        self._watched = watched
        settling = len(plain) - unmarked - len(settled)
        self._waiting = Waiting(settling, until, unmarked)
        self._finished &= set(settled)
        settled.sort()
        return self._give(settled)

    def waiting(self) -> Waiting:
        """See :class:`cds.base.Inlet`."""
        return self._waiting

    def foreign(self) -> Foreign:
        """See :class:`cds.base.Inlet`; reported once by each ``FileInbox``."""
        report, self._foreign = self._foreign, Foreign(self._foreign.total)
        return report

    def finish(self, arrival: Arrival) -> None:
        """Delete, keep or move the file and its marker; see :class:`cds.base.Inlet`.

        Raises ``CarrierError`` where the inbox cannot be written.
        """
        if self._after is After.KEEP:
            self._finished.add(_seen(arrival))
        elif arrival.lies_there():
            self._let_go(arrival)

    def _let_go(self, arrival: Arrival) -> None:
        if self._after is After.MOVE:
            self._files.mkdir(self._done)
            put_aside(self._files, arrival, self._done, None)
        if not withdraw(self._files, arrival):
            raise errors.CarrierError(
                "the inbox cannot be written, so the file stays there",
                where=arrival.label,
                remedy="set `after: keep` for this stream, or give sluice the right to delete",
            )
        self._drop_marker(arrival)

    def quarantine(self, arrival: Arrival, reason: str) -> Path:
        """See :class:`cds.base.Inlet`. A file that cannot be moved is copied, up to a limit."""
        kept = self._quarantine.put(arrival, reason)
        if not arrival.lies_there():
            self._drop_marker(arrival)
        return kept

    def _give(self, settled: list[_Seen]) -> Iterator[Arrival]:
        kept = self._quarantine.kept()
        for seen in settled:
            if seen in self._finished:
                continue
            arrival = Arrival(self._folder / seen.name, seen.size, seen.mtime_ns, seen.inode)
            if not Quarantine.knows(kept, arrival):
                yield arrival

    def _look(self) -> tuple[list[_Seen], set[str]]:
        """All plain files that may be ours, and the names of all done-markers."""
        plain: list[_Seen] = []
        markers: set[str] = set()
        total = 0
        told: set[str] = set()
        news: list[tuple[str, str]] = []
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith(".") or entry.is_dir(follow_symlinks=False):
                        continue
                    why = self._foreign_because(entry)
                    if why:
                        total += 1
                        if name in self._told:
                            told.add(name)
                        elif len(self._told) + len(news) < _REPORTED:
                            news.append((name, why))
                    elif self._marker and name.endswith(self._marker):
                        markers.add(name)
                    elif not name.endswith(_UNFINISHED) or self._suffix:
                        self._note(entry, plain)
        except OSError as exc:
            raise errors.CarrierError(
                f"the inbox cannot be read ({exc.strerror})",
                where=str(self._folder),
                remedy="mount it or create it, and let the account of sluice read it",
            ) from exc
        self._told = told.union(name for name, _ in news)
        fresh = tuple((printable(name), why) for name, why in news)
        self._foreign = Foreign(total, self._foreign.fresh + fresh)
        return plain, markers

    def _note(self, entry: os.DirEntry[str], plain: list[_Seen]) -> None:
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            return  # taken away between the two looks
        plain.append(_Seen(entry.name, found.st_size, found.st_mtime_ns, found.st_ino))

    def _foreign_because(self, entry: os.DirEntry[str]) -> str:
        if not entry.is_file(follow_symlinks=False):
            return "a symbolic link" if entry.is_symlink() else "not a plain file"
        name = entry.name
        if self._marker:
            name = name.removesuffix(self._marker)
        if name.startswith(self._prefix) and name.endswith(self._suffix):
            return ""
        return "its name is not one of this stream"

    def _drop_marker(self, arrival: Arrival) -> None:
        """Remove the marker after its file; one that stays behind says nothing wrong:

        a later file of that name must still settle.
        """
        if self._marker:
            self._files.unlink(arrival.path.with_name(arrival.name + self._marker))


def _seen(arrival: Arrival) -> _Seen:
    return _Seen(arrival.name, arrival.size, arrival.mtime_ns, arrival.inode)
