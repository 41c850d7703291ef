"""What must cross: the stored blobs of a bundle, found with flat memory.

Everything that is in the new trees, but for what is in every state of the resend
window: an inside that holds any one of those states becomes complete. The list
lives in a temporary SQLite file, so that a million blobs cost no memory.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from manifests.bundle import Index
from manifests.bundle.index import RAW, TREE_DELTA
from manifests.bundle.tar import member_size
from manifests.digest import Digest
from manifests.state import StateRow, StateTable
from manifests.tree import Entry, Tree, delta, diff
from store.blobs import BlobBatch
from store.store import Store
from transfer.plan import Base

_FEW: Final = 100_000
"""Candidates that are held in memory while the base trees are read."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A blob that crosses, as it is stored in the bundle."""

    digest: Digest
    size: int
    codec: str
    base: Digest | None
    stored: Digest
    stored_size: int


class Content:
    """The list of blobs of one bundle, in the order of the payload."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        database.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-16000;"
            "CREATE TABLE blob (place INTEGER PRIMARY KEY, digest TEXT NOT NULL,"
            " size INTEGER NOT NULL, codec TEXT NOT NULL, base TEXT,"
            " stored TEXT NOT NULL, stored_size INTEGER NOT NULL,"
            " states INTEGER NOT NULL DEFAULT 0, UNIQUE (digest, stored))"
        )

    def add(self, blobs: Iterable[Stored]) -> None:
        """Add blobs; one that is in the list already stays where it is."""
        self._db.executemany(
            "INSERT OR IGNORE INTO blob (digest, size, codec, base, stored, stored_size)"
            " VALUES (?, ?, ?, ?, ?, ?)",
            ((b.digest, b.size, b.codec, b.base, b.stored, b.stored_size) for b in blobs),
        )

    def add_first(self, blob: Stored) -> None:
        """Put a blob before all others."""
        self._db.execute(
            "INSERT INTO blob (place, digest, size, codec, base, stored, stored_size)"
            " SELECT coalesce(min(place), 1) - 1, ?, ?, ?, ?, ?, ? FROM blob",
            (blob.digest, blob.size, blob.codec, blob.base, blob.stored, blob.stored_size),
        )

    def drop_known(self, states: Sequence[Callable[[], Iterator[Tree]]]) -> None:
        """Take out the raw blobs that every one of ``states`` names in some tree."""
        count = self.count()
        if not count or not states:
            return
        few = None
        if count <= _FEW:
            few = {str(row[0]) for row in self._db.execute("SELECT digest FROM blob")}
        for number, trees in enumerate(states):
            found = (entry.digest for tree in trees() for entry in tree.entries())
            self._db.executemany(
                "UPDATE blob SET states = ? WHERE digest = ? AND states = ? AND codec = 'raw'",
                ((number + 1, d, number) for d in found if few is None or d in few),
            )
        self._db.execute("DELETE FROM blob WHERE states = ?", (len(states),))

    def drop_listed(self, index: Index) -> None:
        """Take out what another bundle carries."""
        self._db.executemany(
            "DELETE FROM blob WHERE digest = ? AND stored = ?",
            ((entry.digest, entry.stored) for entry in index.entries()),
        )

    def limit(self, size: int, least: int) -> bool:
        """Keep only what comes first, up to ``size`` bytes of members but at least ``least``
        members; whether anything was left out."""
        used = 0
        query = "SELECT place, stored_size FROM blob ORDER BY place"
        for number, (place, stored) in enumerate(self._db.execute(query)):
            used += member_size(stored)
            if used > size and number >= least:
                self._db.execute("DELETE FROM blob WHERE place >= ?", (place,))
                return True
        return False

    def count(self) -> int:
        return int(self._db.execute("SELECT count(*) FROM blob").fetchone()[0])

    def stored_bytes(self) -> int:
        """The sum of all stored bytes."""
        query = "SELECT coalesce(sum(stored_size), 0) FROM blob"
        return int(self._db.execute(query).fetchone()[0])

    def member_bytes(self) -> int:
        """The room of all members, with tar headers and padding."""
        query = "SELECT coalesce(sum(512 + (stored_size + 511) / 512 * 512), 0) FROM blob"
        return int(self._db.execute(query).fetchone()[0])

    def line_bytes(self) -> int:
        """The bytes of all index lines but their locations."""
        query = (
            "SELECT coalesce(sum(64 + 1 + length(size) + 1 + length(codec) + 1"
            " + coalesce(length(base), 1) + 1 + 64 + 1 + length(stored_size) + 1 + 1), 0)"
            " FROM blob"
        )
        return int(self._db.execute(query).fetchone()[0])

    def __iter__(self) -> Iterator[Stored]:
        query = "SELECT digest, size, codec, base, stored, stored_size FROM blob ORDER BY place"
        for row in self._db.execute(query):
            base = None if row[3] is None else Digest(row[3])
            yield Stored(Digest(row[0]), row[1], row[2], base, Digest(row[4]), row[5])


@contextmanager
def open_content(folder: Path) -> Iterator[Content]:
    """An empty list in a new file in ``folder``."""
    with closing(sqlite3.connect(folder / "content.sqlite", isolation_level=None)) as database:
        database.execute("BEGIN")
        yield Content(database)


def gather(store: Store, base: Base, content: Content, batch: BlobBatch | None) -> list[Digest]:
    """Fill ``content`` with what turns any state of the window into the new one.

    Returns the tree deltas that were made. Without ``batch`` (a dry run) deltas are
    measured and not kept. Raises BlobMissing when a tree is not there.
    """
    deltas = []
    changed: list[tuple[StateRow, list[StateRow | None]]] = []
    for row in base.state.rows:
        old = _distinct(base, row)
        if any(before is None or before.tree != row.tree for before in old):
            changed.append((row, old))
    for row, old in changed:
        sure = [None if b is None or b.tree in base.adopted else b for b in old]
        stored = _stored_tree(store, row, sure, batch)
        deltas += [blob.stored for blob in stored if blob.codec == TREE_DELTA]
        content.add(stored)
    for row, old in changed:
        for before in [None] if None in old else old:
            content.add(_new_blobs(store, row, before))
    content.drop_known([partial(_trees, store, table) for table in base.held])
    if base.series is not None:
        for digest in base.series.indexes:
            if store.blobs.has(digest):
                with Index.map(store.blobs.path(digest)) as index:
                    content.drop_listed(index)
    return deltas


def _distinct(base: Base, row: StateRow) -> list[StateRow | None]:
    """What the states of the window have of a repository, each tree once; None: nothing."""
    found: dict[Digest | None, StateRow | None] = {}
    for table in base.tables:
        before = table.row(row.repository)
        found.setdefault(None if before is None else before.tree, before)
    return list(found.values()) or [None]


def _trees(store: Store, table: StateTable) -> Iterator[Tree]:
    return (store.tree(row.tree) for row in table.rows)


def _stored_tree(
    store: Store, row: StateRow, old: Sequence[StateRow | None], batch: BlobBatch | None
) -> list[Stored]:
    """A delta from each tree of the window, or the tree itself if that is smaller."""
    raw = [Stored(row.tree, row.tree_size, RAW, None, row.tree, row.tree_size)]
    sizes: dict[Digest, int] = {}
    for before in old:
        if before is None:
            return raw
        if before.tree == row.tree:
            continue
        size = 0
        for line in delta(store.tree(before.tree), store.tree(row.tree)):
            size += len(line)
            if size + sum(sizes.values()) >= row.tree_size:
                return raw
        sizes[before.tree] = size
    made = []
    for tree, size in sizes.items():
        digest = row.tree
        if batch is not None:
            lines = delta(store.tree(tree), store.tree(row.tree))
            digest, size = batch.put_stream(blocks(lines))
        made.append(Stored(row.tree, row.tree_size, TREE_DELTA, tree, digest, size))
    return made


def _new_blobs(store: Store, row: StateRow, before: StateRow | None) -> Iterator[Stored]:
    new = store.tree(row.tree)
    if before is None:
        entries: Iterable[Entry] = new.entries()
    else:
        changes = diff(store.tree(before.tree), new)
        entries = (
            change.after
            for change in changes
            if change.after is not None
            and (change.before is None or change.before.digest != change.after.digest)
        )
    for entry in entries:
        yield Stored(entry.digest, entry.size, RAW, None, entry.digest, entry.size)


def blocks(lines: Iterable[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    """Many small pieces of bytes as few of about ``size`` bytes."""
    block = bytearray()
    for line in lines:
        block += line
        if len(block) >= size:
            yield bytes(block)
            block.clear()
    if block:
        yield bytes(block)
