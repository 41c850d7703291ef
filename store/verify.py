"""Reads the whole store again and says what of it is not as it should be.

First every blob is hashed, then each tree that is named by a snapshot or a publication is
parsed and its totals and blobs are compared, and the chain of events is recomputed.
With ``repair``, damaged blobs are moved aside so that they count as missing: a later sync
or bundle brings them again, and until then each repository concerned has a hold.
"""

from __future__ import annotations

import os
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice

from manifests.digest import Digest
from manifests.errors import BlobDamaged, BlobMissing, LedgerDamaged, TreeError, is_stop
from manifests.state import Snapshot
from manifests.tree import Entry, Tree, parse
from store.eventlog import verify_log
from store.ledger import ReadTransaction
from store.records import Hold
from store.store import Store

Progress = Callable[[int, int], None]
"""Called now and then with the blobs and bytes that were read so far."""

HOLD = "damaged/"
_CHUNK = 64
_LISTED = 1000
_NAMED = 20
_REPAIR_WAIT = 60.0


class Kind(StrEnum):
    """What is wrong."""

    DAMAGED = "damaged"
    MISSING = "missing"
    TREE = "tree"
    TOTALS = "totals"
    EVENTS = "events"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. ``repository`` and ``path`` are empty for what no tree names."""

    kind: Kind
    what: str
    stream: str = ""
    repository: str = ""
    path: str = ""
    digest: str = ""


@dataclass(slots=True)
class Verified:
    """What was read and found. The counts are of all findings, the list is cut off."""

    blobs: int = 0
    bytes: int = 0
    events: int = 0
    trees: int = 0
    findings: list[Finding] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    set_aside: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing was found."""
        return not self.counts

    def _note(self, finding: Finding) -> None:
        self.counts[finding.kind] += 1
        if len(self.findings) < _LISTED:
            self.findings.append(finding)


@dataclass(frozen=True, slots=True)
class _Named:
    """A tree and who names it; ``snapshot`` has the totals to compare, if there are any."""

    digest: Digest
    stream: str
    repository: str
    name: str
    snapshot: Snapshot | None = None


def verify(
    store: Store, *, repair: bool = False, progress: Progress | None = None, threads: int = 2
) -> Verified:
    """Verify everything. ``repair`` needs the store alone at its end.

    Raises StoreBusy when others keep using the store so that nothing can be repaired;
    whatever is found otherwise is in the result, never an exception.
    """
    result = Verified()
    with store.locks.shared():
        damaged = _hash_all(store, result, progress, threads)
        with store.ledger.read() as tx:
            _verify_events(store, tx, result)
            trees = list(_trees(tx))
        touched: dict[tuple[str, str], Counter[Kind]] = {}
        named: set[Digest] = set()
        for tree in trees:
            for finding in _verify_tree(store, tree, damaged, named):
                result._note(finding)
                key = (finding.stream, finding.repository)
                touched.setdefault(key, Counter())[finding.kind] += 1
            result.trees += 1
        for digest in sorted(set(damaged) - named):
            result._note(Finding(Kind.DAMAGED, damaged[digest], digest=digest))
    if repair:
        _repair(store, result, damaged, touched)
    return result


def _hash_all(
    store: Store, result: Verified, progress: Progress | None, threads: int
) -> dict[Digest, str]:
    """Read every blob; the damaged ones with their reason."""
    damaged: dict[Digest, str] = {}

    def read(chunk: list[Digest]) -> tuple[int, int, dict[Digest, str]]:
        size = 0
        bad: dict[Digest, str] = {}
        for digest in chunk:
            try:
                size += store.blobs.size(digest)
                store.blobs.verify(digest)
            except BlobDamaged as error:
                bad[digest] = error.what
        return len(chunk), size, bad

    running: deque[Future[tuple[int, int, dict[Digest, str]]]] = deque()

    def finish() -> None:
        count, size, bad = running.popleft().result()
        result.blobs += count
        result.bytes += size
        damaged.update(bad)
        if progress is not None:
            progress(result.blobs, result.bytes)

    pool = ThreadPoolExecutor(threads, thread_name_prefix="verify")
    try:
        for chunk in _chunks(store.blobs.digests()):
            running.append(pool.submit(read, chunk))
            if len(running) > 2 * threads:
                finish()
        while running:
            finish()
    finally:
        # They only read: who is told to stop does not wait until large blobs are through.
        pool.shutdown(wait=not is_stop(sys.exception()), cancel_futures=True)
    return damaged


def _chunks(digests: Iterable[Digest]) -> Iterator[list[Digest]]:
    rest = iter(digests)
    while chunk := list(islice(rest, _CHUNK)):
        yield chunk


def _verify_events(store: Store, tx: ReadTransaction, result: Verified) -> None:
    try:
        result.events = verify_log(store, tx)
    except LedgerDamaged as error:
        result._note(Finding(Kind.EVENTS, str(error)))


def _trees(tx: ReadTransaction) -> Iterator[_Named]:
    seen: set[Digest] = set()
    for stored in tx.snapshots():
        snapshot = stored.snapshot
        seen.add(snapshot.tree)
        name = f"snapshot {snapshot.serial}"
        yield _Named(snapshot.tree, stored.stream, snapshot.repository, name, snapshot)
    for live in tx.publications():
        if live.tree not in seen:
            yield _Named(live.tree, live.stream, live.source_repository, "publication")
        if live.overlay is not None:
            yield _Named(live.overlay, live.stream, live.source_repository, "overlay")


def _verify_tree(
    store: Store, tree: _Named, damaged: dict[Digest, str], named: set[Digest]
) -> Iterator[Finding]:
    def finding(kind: Kind, what: str, entry: Entry | None = None) -> Finding:
        return Finding(
            kind,
            what,
            tree.stream,
            tree.repository,
            "" if entry is None else entry.path,
            tree.digest if entry is None else entry.digest,
        )

    named.add(tree.digest)
    if tree.digest in damaged:
        yield finding(Kind.DAMAGED, f"the tree of {tree.name}: {damaged[tree.digest]}")
        return
    files = total = 0
    try:
        with Tree.map(store.blobs.path(tree.digest)) as text:
            for entry in parse(text.blocks()):
                files += 1
                total += entry.size
                if entry.digest in damaged:
                    named.add(entry.digest)
                    yield finding(Kind.DAMAGED, damaged[entry.digest], entry)
                    continue
                try:
                    size = store.blobs.size(entry.digest)
                except BlobMissing:
                    yield finding(Kind.MISSING, "its blob is not in the store", entry)
                    continue
                if size != entry.size:
                    what = f"the tree says {entry.size} bytes, its blob has {size}"
                    yield finding(Kind.TREE, what, entry)
            length = text.size
    except BlobMissing:
        yield finding(Kind.MISSING, f"the tree of {tree.name} is not in the store")
        return
    except TreeError as error:
        yield finding(Kind.TREE, f"the tree of {tree.name}: {error}")
        return
    snapshot = tree.snapshot
    if snapshot is not None and (
        (snapshot.files, snapshot.bytes, snapshot.tree_size) != (files, total, length)
    ):
        yield finding(
            Kind.TOTALS,
            f"{tree.name} has {files} files, {total} bytes and a tree of {length}; the ledger "
            f"says {snapshot.files}, {snapshot.bytes} and {snapshot.tree_size}",
        )


def _repair(
    store: Store,
    result: Verified,
    damaged: dict[Digest, str],
    touched: dict[tuple[str, str], Counter[Kind]],
) -> None:
    if damaged:
        with store.locks.exclusive(wait=_REPAIR_WAIT):
            # Alone: a sync that counts on a blob must not lose it before its commit.
            for digest in sorted(damaged):
                try:
                    store.blobs.verify(digest)
                except BlobDamaged:
                    aside = store.blobs.quarantine_damaged(digest)
                    # A work copy may be the same file under another name. With another time
                    # rsync no longer takes it for current, and fetches it anew.
                    os.utime(aside, (0, 0))
                    result.set_aside += 1
                except BlobMissing:
                    continue
        store.forget_trees()
    incomplete = {
        key: counts
        for key, counts in touched.items()
        if counts[Kind.DAMAGED] or counts[Kind.MISSING]
    }
    with store.ledger.write() as tx:
        standing = {hold.key for hold in tx.holds() if hold.key.startswith(HOLD)}
        for (stream, repository), counts in incomplete.items():
            tx.set_hold(_hold(store, result, stream, repository, counts))
        for key in standing - {_key(*pair) for pair in incomplete}:
            tx.clear_hold(key)
        if result.set_aside:
            tx.bump_generation()
        if result.set_aside or incomplete or standing:
            tx.event(
                "verify",
                blobs=result.blobs,
                set_aside=result.set_aside,
                repositories=sorted({repository for _, repository in incomplete}),
            )


def _key(stream: str, repository: str) -> str:
    return f"{HOLD}{stream}/{repository}"


def _hold(
    store: Store, result: Verified, stream: str, repository: str, counts: Counter[Kind]
) -> Hold:
    total = counts[Kind.DAMAGED] + counts[Kind.MISSING]
    missing = [
        finding.path or finding.digest
        for finding in result.findings
        if (finding.stream, finding.repository) == (stream, repository)
        and finding.kind in (Kind.DAMAGED, Kind.MISSING)
    ]
    remedy = (
        "receive a full bundle of this stream, then run `sluice verify --repair` again"
        if stream
        else "sync this repository, then run `sluice verify --repair` again"
    )
    return Hold(
        key=_key(stream, repository),
        stream=stream,
        repository=repository,
        kind="damaged",
        reason=f"{total} files are damaged or missing in the store",
        remedy=remedy,
        since=store.ledger.now(),
        detail={"items": missing[:_NAMED], "total": total},
    )
