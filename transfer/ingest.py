"""Ingestion: the bytes of parts become blobs, each checked on its own.

Parts are read once, in order. A blob that goes on in another part is taken only
when all its parts are here; until then those parts wait where they lie. Each byte
that is used is covered by the digest of its blob in the signed index; what no blob
covers (tar headers, padding) is not even read. Only when a blob does not come out
right are the payloads of its parts compared with the part table, which tells
which of them is bad. A good blob in a bad part is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from manifests.bundle import Index, IndexEntry, Location, check_index
from manifests.digest import Digest
from manifests.errors import (
    BlobDamaged,
    DamagedPart,
    MalformedManifest,
    SluiceError,
    StoreError,
    WireError,
)
from store.blobs import BlobBatch, BlobWriter
from store.hashing import SideHash
from store.records import PinKind
from store.store import Store
from transfer.arrivals import Arrival, Progress
from transfer.known import Known, PartState, set_part

_READ: Final = 1 << 20
_FLUSH: Final = 512 << 20
"""Bytes after which what was taken in is made durable and noted."""


@dataclass(slots=True)
class PartResult:
    """What became of one part: its new state, or why it is bad."""

    state: PartState = PartState.MISSING
    error: SluiceError | None = None
    gone: bool = False


@dataclass(slots=True)
class _Open:
    """A blob that is being written; ``next`` is the location that comes next."""

    entry: IndexEntry
    writer: BlobWriter
    next: int = 0


@dataclass(slots=True)
class Ingest:
    """Takes in the parts of one bundle."""

    store: Store
    known: Known
    arrivals: Mapping[int, Arrival]
    """By part; parts that are not here are not in it."""
    progress: Progress | None = None
    read: int = 0
    """Bytes of payload read so far."""
    total: int = 0
    results: dict[int, PartResult] = field(default_factory=dict)
    _lies: dict[int, Digest] = field(default_factory=dict)
    """By part, a blob that is not what the signed index promises."""
    _open: _Open | None = None

    def run(self) -> dict[int, PartResult]:
        """Take in all that is here. Raises NoSpace, StoreError; else errors are results."""
        self.results = {part: PartResult() for part in self.arrivals}
        if not self._have_index():
            return self.results
        waiting: list[int] = []
        unflushed = 0
        path = self.store.blobs.path(self.known.manifest.index.digest)
        with Index.map(path) as index, self.store.blobs.batch() as batch:
            try:
                for part in sorted(self.arrivals):
                    if part in self.known.done:
                        self.results[part].state = PartState.DONE
                        continue
                    if self.results[part].error is not None:
                        continue
                    before = self.read
                    self._part(part, list(index.of_part(part)), batch)
                    unflushed += self.read - before
                    waiting.append(part)
                    if unflushed >= _FLUSH and self._open is None:
                        self._settle(waiting, index, batch)
                        unflushed = 0
            finally:
                self._drop_open()
            self._settle(waiting, index, batch)
        return self.results

    # The index

    def _have_index(self) -> bool:
        """Whether the index is in the store, after taking it in if it is here."""
        ref = self.known.manifest.index
        if self.known.indexed:
            return True
        if not self.store.blobs.has(ref.digest):
            if any(at.part not in self.arrivals for at in ref.locations):
                for result in self.results.values():
                    result.state = PartState.WAITING
                return False
            try:
                with self.store.blobs.batch() as batch:
                    batch.put_stream(self._pieces(ref.locations), ref.digest, size=ref.size)
            except (BlobDamaged, WireError) as error:
                self._blame({at.part for at in ref.locations}, error)
                return False
        self._check(ref.digest)
        with self.store.ledger.write() as tx:
            tx.pin(self.known.pins()[1], [ref.digest], PinKind.LISTS, "received bundle")
        self.known.indexed = True
        return True

    def _check(self, digest: Digest) -> None:
        """The index is the signed one; refuse it if it is not well formed."""
        manifest = self.known.manifest
        rows = self.known.rows[: manifest.parity.data]
        count = stored = 0
        with self.store.blobs.open(digest) as file:
            for entry in check_index(iter(lambda: file.read(_READ), b""), rows):
                count += 1
                stored += entry.stored_size
        if (count, stored) != (manifest.blobs, manifest.stored):
            raise MalformedManifest(
                f"the index has {count} blobs of {stored} bytes, "
                f"the manifest says {manifest.blobs} of {manifest.stored}",
                where=f"bundle {self.known.name}",
            )

    def _pieces(self, locations: tuple[Location, ...]) -> Iterator[bytes]:
        for at in locations:
            row = self.known.row(at.part)
            with self.arrivals[at.part].open() as file:
                file.seek(row.offset + at.offset)
                yield from _exactly(file, at.length)

    def _blame(self, parts: set[int], error: SluiceError) -> None:
        """Find which of ``parts`` are damaged; the others wait."""
        for part in sorted(parts):
            damage = self.damage(part)
            if damage is not None:
                self.results[part].error = damage
        if not any(self.results[part].error for part in parts):
            for part in parts:
                self.results[part].error = DamagedPart(
                    f"what was signed does not fit together: {error}",
                    where=f"bundle {self.known.name}",
                )
        for result in self.results.values():
            if result.error is None:
                result.state = PartState.WAITING

    def damage(self, part: int) -> DamagedPart | None:
        """Read the payload of ``part`` and compare it with the part table."""
        row = self.known.row(part)
        hasher = SideHash()
        try:
            with self.arrivals[part].open() as file:
                file.seek(row.offset)
                for block in _exactly(file, row.length):
                    hasher.update(block)
        except DamagedPart as error:
            return self._place(error, part)
        finally:
            found = hasher.digest()
        return None if found == row.digest else self._place(DamagedPart(_CHANGED), part)

    def _place(self, error: DamagedPart, part: int) -> DamagedPart:
        error.where = f"bundle {self.known.name}, part {part}"
        error.remedy = _RESEND
        return error

    # One part

    def _part(self, part: int, entries: list[IndexEntry], batch: BlobBatch) -> None:
        wanted = {
            entry.stored
            for entry in entries
            if not batch.has(entry.stored) and self._all_here(entry)
        }
        if not wanted and self._open is None:
            return
        try:
            with self.arrivals[part].open() as file:
                self._payload(file, part, entries, wanted, batch)
        except DamagedPart as error:
            self.results[part].error = self._place(error, part)
            self._drop_open()
        except StoreError:
            raise
        except (SluiceError, OSError):
            # It changed or went away: it is looked at again next time.
            self.results[part].gone = True
            self._drop_open()

    def _payload(
        self,
        file: BinaryIO,
        part: int,
        entries: list[IndexEntry],
        wanted: set[Digest],
        batch: BlobBatch,
    ) -> None:
        start = self.known.row(part).offset
        for entry in entries:
            for number, at in enumerate(entry.locations):
                if at.part != part:
                    continue
                writer = self._writer(entry, number, wanted, batch)
                if writer is None:
                    continue
                file.seek(start + at.offset)
                for block in _exactly(file, at.length):
                    writer.write(block)
                    self._count(len(block))
                self._advance(number)

    def _count(self, size: int) -> None:
        self.read += size
        if self.progress is not None:
            self.progress(self.read, self.total)

    def _writer(
        self, entry: IndexEntry, number: int, wanted: set[Digest], batch: BlobBatch
    ) -> BlobWriter | None:
        """Who takes this fragment; None if the blob is here already or cannot be whole."""
        if self._open is not None:
            if self._open.entry == entry and self._open.next == number:
                return self._open.writer
            self._drop_open()
        if number or entry.stored not in wanted or batch.has(entry.stored):
            return None
        self._open = _Open(entry, batch.writer(entry.stored, entry.stored_size))
        return self._open.writer

    def _advance(self, number: int) -> None:
        opened = self._open
        assert opened is not None
        opened.next = number + 1
        if opened.next < len(opened.entry.locations):
            return
        self._open = None
        try:
            opened.writer.finish()
        except BlobDamaged:
            self._wrong(opened.entry)

    def _wrong(self, entry: IndexEntry) -> None:
        """A blob came out wrong: one of its parts is damaged, or the index was a lie."""
        parts = sorted({at.part for at in entry.locations})
        for part in parts:
            if self.results[part].error is None:
                self.results[part].error = self.damage(part)
        if all(self.results[part].error is None for part in parts):
            for part in parts:
                self._lies.setdefault(part, entry.stored)

    def _drop_open(self) -> None:
        if self._open is not None:
            self._open.writer.abort()
            self._open = None

    def _all_here(self, entry: IndexEntry) -> bool:
        return all(
            at.part in self.arrivals
            and self.results[at.part].error is None
            and not self.results[at.part].gone
            for at in entry.locations
        )

    # Committing

    def _settle(self, parts: list[int], index: Index, batch: BlobBatch) -> None:
        """Make what was taken in durable, then say which parts are done."""
        batch.flush()
        for part in parts:
            result = self.results[part]
            if result.error is not None:
                continue
            absent = [e for e in index.of_part(part) if not self.store.blobs.has(e.stored)]
            if part in self._lies:
                result.error = DamagedPart(
                    f"blob {self._lies[part]} is not what the signed index promises",
                    where=f"bundle {self.known.name}, part {part}",
                    remedy="have the outside verify its store, then pack and send again",
                )
            elif absent:
                result.state = PartState.WAITING
            else:
                result.state = PartState.DONE
        with self.store.ledger.write() as tx:
            for part in parts:
                result = self.results[part]
                if result.error is None:
                    set_part(tx, self.known, self.known.row(part), result.state)
        self.known.done |= {part for part in parts if self.results[part].state is PartState.DONE}
        parts.clear()


def _exactly(file: BinaryIO, length: int) -> Iterator[bytes]:
    """``length`` bytes in blocks; raises DamagedPart if the file ends early."""
    while length > 0:
        block = file.read(min(length, _READ))
        if not block:
            raise DamagedPart(f"the file ends {length} bytes early")
        length -= len(block)
        yield block


_CHANGED = "its bytes are not the ones that were signed"
_RESEND = "have this part sent again"
