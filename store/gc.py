"""Garbage collection: remove the blobs that nothing names any more.

Kept is what these name: all snapshots; publications with their overlays, those that were
replaced within the grace period, and the first of each kept snapshot; pins; drafts; bundles
that may be sent again or have not been imported whole; and the bodies of validators.
Whoever holds the store's shared lock is waited for, so what it wrote but did not commit yet
is safe.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from manifests.digest import Digest, is_digest
from manifests.errors import BlobDamaged, BlobMissing, StoreError
from store.ledger import ReadTransaction
from store.marks import Marks
from store.records import BundleRecord, PinKind
from store.store import Store

GRACE = timedelta(hours=24)
_REMEDY = (
    "run `sluice verify --repair`, then sync, or receive a full bundle, so that it comes back; "
    "until then nothing is removed, since nobody knows what it names"
)


@dataclass(frozen=True, slots=True)
class Collected:
    """What ``collect`` removed, or would remove: blobs and their bytes."""

    kept: int
    removed: int
    bytes: int
    dry_run: bool


def collect(
    store: Store,
    *,
    resend: Mapping[str, int] | None = None,
    grace: timedelta = GRACE,
    dry_run: bool = False,
    wait: bool | float = False,
) -> Collected:
    """Remove garbage. ``resend`` is the resend window in bundles for each stream.

    The newest released bundle can always be sent again. A dry run shares the store
    with others, and counts what they have not committed yet as garbage. Raises StoreBusy,
    and StoreError when a tree or an index that it must read is missing or damaged.
    """
    now = store.ledger.now()
    lock = store.locks.shared() if dry_run else store.locks.exclusive(wait)
    with lock:
        if not dry_run:
            _tidy(store)
            with store.ledger.write() as tx:
                tx.forget_publications(now - grace)
        with store.scratch("gc") as scratch:
            marks = Marks(scratch)
            with store.ledger.read() as tx:
                _mark(store, tx, marks, now - grace, resend or {})
            done = _sweep(store, marks, dry_run=dry_run)
        if not dry_run:
            store.forget_trees()
            with store.ledger.write() as tx:
                tx.event("gc", blobs=done.removed, bytes=done.bytes)
    return done


def _tidy(store: Store) -> None:
    """Remove scratch folders of dead processes: with the store alone there are no others."""
    scratch = store.folder / "scratch"
    if scratch.is_dir():
        for left in list(scratch.iterdir()):
            shutil.rmtree(left)


def _mark(
    store: Store,
    tx: ReadTransaction,
    marks: Marks,
    since: datetime,
    resend: Mapping[str, int],
) -> None:
    trees: dict[Digest, str] = {}
    for stored in tx.snapshots():
        snapshot = stored.snapshot
        trees.setdefault(snapshot.tree, f"snapshot {snapshot.serial} of {snapshot.repository}")
    for publication in [*tx.publications(), *tx.kept_publications(since)]:
        name = f"publication of {publication.repository}"
        trees.setdefault(publication.tree, name)
        if publication.overlay is not None:
            trees.setdefault(publication.overlay, f"overlay of {publication.repository}")
    lists: dict[Digest, str] = {}
    for pin in tx.pins():
        for digest in pin.digests:
            marks.add(digest)
            # A pin may name what is still on its way.
            if store.blobs.has(digest):
                if pin.kind is PinKind.TREES:
                    trees.setdefault(digest, f"pin {pin.key}")
                elif pin.kind is PinKind.LISTS:
                    lists.setdefault(digest, f"pin {pin.key}")
    for draft in tx.drafts():
        for key, digest in _digests_in(draft.data):
            marks.add(digest)
            if key == "index":
                lists.setdefault(digest, f"draft {draft.id} of {draft.stream}")
    for bundle, whole in _bundles(tx, resend):
        marks.add(bundle.manifest)
        marks.add(bundle.state)
        if bundle.index is not None and whole:
            marks.add(bundle.index)
            if bundle.received is None or store.blobs.has(bundle.index):
                lists.setdefault(bundle.index, f"bundle {bundle.sequence} of {bundle.stream}")
    for digest in itertools.chain(tx.validator_digests(), tx.fetched_digests()):
        marks.add(digest)
    for digest, name in trees.items():
        marks.add(digest)
        with _intact(store, digest, name):
            marks.add_tree(store.tree(digest).raw_lines())
    for digest, name in lists.items():
        with _intact(store, digest, name), store.blobs.open(digest) as file:
            marks.add_words(file)


def _bundles(tx: ReadTransaction, resend: Mapping[str, int]) -> Iterator[tuple[BundleRecord, bool]]:
    """All bundles, newest first, and whether their members are still needed."""
    released: Counter[str] = Counter()
    for bundle in tx.bundles():
        if bundle.received is not None:
            yield bundle, bundle.imported is None
            continue
        if bundle.kind == "heartbeat":
            yield bundle, False  # it brings nothing, and counts in no window
            continue
        window = max(1, resend.get(bundle.stream, 1))
        yield bundle, bundle.sent is None or released[bundle.stream] < window
        released[bundle.stream] += 1


@contextmanager
def _intact(store: Store, digest: Digest, name: str) -> Iterator[None]:
    """Read a list of digests only if every byte of it is right: a wrong one costs blobs."""
    try:
        store.blobs.verify(digest)
        yield
    except (BlobMissing, BlobDamaged) as error:
        raise StoreError(
            f"the list of its blobs cannot be read: {error.what}", where=name, remedy=_REMEDY
        ) from error


def _digests_in(value: object, key: str = "") -> Iterator[tuple[str, Digest]]:
    """Digests anywhere in the data of a draft, each with the name it stands under."""
    if isinstance(value, str):
        if is_digest(value):
            yield key, Digest(value)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if is_digest(name):
                yield key, Digest(name)
            yield from _digests_in(item, name)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _digests_in(item, key)


def _sweep(store: Store, marks: Marks, *, dry_run: bool) -> Collected:
    """Walk marks and blobs side by side, both ascending."""
    kept = removed = size = 0
    marked = marks.ascending()
    mark = next(marked, None)
    for digest in store.blobs.digests():
        while mark is not None and mark < digest:
            mark = next(marked, None)
        if mark == digest:
            kept += 1
            continue
        try:
            size += store.blobs.size(digest)
        except BlobMissing:
            continue  # a dry run shares the store with others
        removed += 1
        if not dry_run:
            store.blobs.delete(digest)
    return Collected(kept, removed, size, dry_run)
