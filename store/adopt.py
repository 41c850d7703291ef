"""Adopting: the files of somebody else's folder become blobs, and one tree names them.

The folder is only read (but for ``link``), and its owner may go on changing it: a file is
copied, and left out if it changed meanwhile. What is done is journalled every few hundred
files, as validators of a name of its own: ``gc`` keeps their blobs, and a run that was
killed passes over what has the same size, time and inode as when it was taken.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from manifests.digest import Digest
from manifests.errors import NoSpace, StoreError, UsageError
from manifests.tree import Entry
from store.adopted import forget_journal, journal_key, keep_adopted
from store.blobs import BlobBatch
from store.foreign import ForeignFile, PassedOver, walk
from store.journal import Journal
from store.records import Validator
from store.store import Store

SHOWN: Final = 20
"""Files that were left out and are named; all are counted."""
_FILES: Final = 500
_BYTES: Final = 1 << 30
_SECONDS: Final = 10.0
"""Whichever comes first, then what was taken is made durable and journalled."""
_NO_LINK: Final = frozenset({errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES})


class Progress(Protocol):
    """Told how much there is, and what was done."""

    def expect(self, items: int = 0, size: int = 0) -> None: ...
    def advance(self, items: int = 0, size: int = 0) -> None: ...


@dataclass(slots=True)
class Taken:
    """What an adoption did, or in a dry run would do. ``tree`` is None then."""

    files: int = 0
    bytes: int = 0
    again: int = 0
    """Files that an earlier run, which was broken off, had taken."""
    links: int = 0
    """Symbolic links: nothing of them is taken, and nothing is lost."""
    refused: int = 0
    """What was left out for another reason."""
    named: list[PassedOver] = field(default_factory=list)
    """The first of them."""
    tree: Digest | None = None

    def pass_over(self, one: PassedOver) -> None:
        """Count what is left out."""
        if one.link:
            self.links += 1
            return
        self.refused += 1
        if len(self.named) < SHOWN:
            self.named.append(one)


def measure(folder: Path) -> Taken:
    """How much a folder holds; nothing is read. Raises ConfigError."""
    found = Taken()
    for one in walk(folder):
        if isinstance(one, PassedOver):
            found.pass_over(one)
        else:
            found.files += 1
            found.bytes += one.status.st_size
    return found


def adopt(
    store: Store,
    repository: str,
    folder: Path,
    *,
    place: Callable[[str], Path | None] = lambda _: None,
    link: bool = False,
    actor: str = "",
    progress: Progress,
) -> Taken:
    """Take all regular files of ``folder``, and keep them as the adopted tree.

    ``place`` says where a copy under its own name and time is wanted, too (None: nowhere);
    the file there and the blob share their bytes. With ``link`` nothing is copied where the
    file system can link: the files become read-only, and nobody may write to them again.

    Raises NoSpace before anything is copied if all of it would not fit, StoreBusy,
    StoreError, ConfigError. May be killed at any moment and called again.
    """
    _check_apart(store, folder)
    with (
        store.locks.named(f"adopt-{repository}"),
        store.locks.shared(),
        _temporary(store, repository) as temporary,
    ):
        total = measure(folder)
        run = _Run(store, repository, temporary, place, folder if link else None)
        run.begin(total.bytes, actor)
        progress.expect(total.files, total.bytes)
        with store.blobs.batch() as batch:
            kept = store.keep_tree(run.entries(folder, batch, progress), batch)
        with store.ledger.write(actor) as tx:
            keep_adopted(tx, repository, kept.digest)
            forget_journal(tx, repository)
            tx.event(
                "adopted",
                repository=repository,
                tree=kept.digest,
                files=kept.files,
                bytes=kept.bytes,
                left_out=run.done.refused,
            )
    run.done.tree = kept.digest
    return run.done


@contextmanager
def _temporary(store: Store, repository: str) -> Iterator[Path]:
    """Where a copy is made. A killed run leaves it to the next one, or to ``gc``."""
    place = store.folder / "scratch" / journal_key(repository).replace("/", "-")
    store.files.mkdir(place)
    yield place / "file"
    store.files.unlink(place / "file")
    place.rmdir()


def _check_apart(store: Store, folder: Path) -> None:
    ours, theirs = store.folder.resolve(), folder.resolve()
    if theirs.is_relative_to(ours) or ours.is_relative_to(theirs):
        raise UsageError(
            "the folder and this zone lie in each other",
            where=str(folder),
            remedy="name the folder of the existing mirror",
        )


@dataclass(slots=True)
class _Run:
    store: Store
    repository: str
    temporary: Path
    place: Callable[[str], Path | None]
    linked: Path | None
    """The folder, if its files are linked instead of copied."""
    done: Taken = field(default_factory=Taken)
    _earlier: Journal | None = None
    """What a run that was broken off had taken."""
    _fresh: list[tuple[str, Validator]] = field(default_factory=list)
    _size: int = 0
    _since: float = 0.0

    def begin(self, size: int, actor: str) -> None:
        """Look for an earlier run that was broken off."""
        key = journal_key(self.repository)
        with self.store.ledger.read() as tx:
            if tx.work_open(key) is not None:
                self._earlier = Journal(tx, self.repository)
        if self._earlier is None:
            if self.linked is None:
                self._require(size)
            with self.store.ledger.write(actor) as tx:
                tx.forget_validators(key)
                tx.begin_work(key, self.repository)

    def _require(self, size: int) -> None:
        try:
            self.store.require_free(size, f"adopting for {self.repository}")
        except NoSpace as error:
            error.remedy += "; or `--link`, if the folder is on the store's file system"
            raise

    def entries(self, folder: Path, batch: BlobBatch, progress: Progress) -> Iterator[Entry]:
        """The entries of the adopted tree; the blobs are durable after the batch's flush."""
        self._since = time.monotonic()
        for one in walk(folder):
            if isinstance(one, PassedOver):
                self.done.pass_over(one)
                continue
            progress.advance(1, one.status.st_size)
            entry = self._known(one)
            if entry is None:
                try:
                    entry = self._take(one, batch)
                except OSError as error:
                    why = f"cannot be read: {error.strerror}"
                    self.done.pass_over(PassedOver(one.path, why))
                    continue
                if entry is None:
                    self.done.pass_over(PassedOver(one.path, "it changed while it was read"))
                    continue
            else:
                self.done.again += 1
            self.done.files += 1
            self.done.bytes += entry.size
            yield entry
        self._journal(batch)

    def _known(self, one: ForeignFile) -> Entry | None:
        """What an earlier run took, if that is still the same file."""
        if self._earlier is None:
            return None
        found = self._earlier.taken(one.path, _mark(one.status))
        if found is None:
            return None
        target = self.place(one.path)
        if not self.store.blobs.has(found.digest) or (target is not None and not target.exists()):
            return None
        return Entry(one.path, found.digest, found.size)

    def _take(self, one: ForeignFile, batch: BlobBatch) -> Entry | None:
        """Copy or link one file; None if it changed meanwhile."""
        target = self.place(one.path)
        files = self.store.files
        files.unlink(self.temporary)
        with one.open() as fd:
            before = os.fstat(fd)
            if not self._link(one, before):
                self.store.require_free(before.st_size, f"adopting for {self.repository}")
                try:
                    with files.create(self.temporary) as copy:
                        files.copy_range(fd, 0, before.st_size, copy)
                except StoreError:
                    if os.fstat(fd).st_size < before.st_size:
                        return None
                    raise
                os.utime(self.temporary, ns=(before.st_atime_ns, before.st_mtime_ns))
            after = os.fstat(fd)
        if _mark(before) != _mark(after):
            return None
        # Its name here is not made durable: after a power cut rsync compares by content.
        if target is not None:
            files.mkdir(target.parent)
            files.rename(self.temporary, target)
        ours = target or self.temporary
        try:
            digest, size = batch.adopt(ours)
        except StoreError:
            if self.linked is not None and _mark(ours.stat()) != _mark(before):
                files.unlink(ours)
                return None
            raise
        files.unlink(self.temporary)
        self._fresh.append((one.path, Validator(_mark(before), "", digest, size)))
        self._size += size
        if (
            len(self._fresh) >= _FILES
            or self._size >= _BYTES
            or time.monotonic() - self._since >= _SECONDS
        ):
            self._journal(batch)
        return Entry(one.path, digest, size)

    def _link(self, one: ForeignFile, status: os.stat_result) -> bool:
        """Give the file our name, too, if that is wanted and possible."""
        if self.linked is None:
            return False
        try:
            self.store.files.link(self.linked / one.path, self.temporary)
        except OSError as error:
            if error.errno in _NO_LINK:
                return False
            raise
        if os.path.samestat(self.temporary.lstat(), status):
            return True
        self.store.files.unlink(self.temporary)
        return False

    def _journal(self, batch: BlobBatch) -> None:
        """What was taken so far need not be taken again."""
        batch.flush()
        if self._fresh:
            with self.store.ledger.write() as tx:
                tx.set_validators(journal_key(self.repository), self._fresh)
        self._fresh, self._size, self._since = [], 0, time.monotonic()


def _mark(status: os.stat_result) -> str:
    """Another one when a file was changed or replaced."""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
