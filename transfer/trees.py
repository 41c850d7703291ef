"""Trees from tree deltas: decoded when their base is here, however late that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from manifests.bundle import Index, IndexEntry
from manifests.bundle.index import RAW, TREE_DELTA
from manifests.digest import Digest
from manifests.errors import BlobDamaged, TreeError
from manifests.tree import apply
from store.store import Store
from transfer.content import blocks
from transfer.known import Known

_READ = 1 << 20


def decode_trees(store: Store, bundles: Iterable[Known]) -> dict[Digest, str]:
    """Decode every tree whose delta and base are here, until nothing more comes of it.

    Returns why others could not be: by tree digest, one line. A delta that does
    not give the promised tree harms nothing else.
    """
    waiting: dict[Digest, IndexEntry] = {}
    for known in bundles:
        if known.indexed and not known.imported:
            for entry in _deltas(store, known):
                if not store.blobs.has(entry.digest):
                    waiting.setdefault(entry.digest, entry)
    failed: dict[Digest, str] = {}
    progress = True
    while progress:
        progress = False
        for digest, entry in list(waiting.items()):
            if entry.codec != TREE_DELTA:
                failed[digest] = f"stored by {entry.codec!r}, which this version does not know"
                del waiting[digest]
                continue
            assert entry.base is not None
            if not store.blobs.has(entry.base) or not store.blobs.has(entry.stored):
                continue
            del waiting[digest]
            try:
                _decode(store, entry, entry.base)
                progress = True
            except (TreeError, BlobDamaged) as error:
                failed[digest] = f"its delta does not fit: {error}"
    for digest, entry in waiting.items():
        failed[digest] = f"it is a delta against tree {entry.base}, which is not here"
    return failed


def _deltas(store: Store, known: Known) -> Iterator[IndexEntry]:
    with Index.map(store.blobs.path(known.manifest.index.digest)) as index:
        for entry in index.encoded():
            if entry.codec != RAW:
                yield entry


def _decode(store: Store, entry: IndexEntry, base: Digest) -> None:
    with store.blobs.open(entry.stored) as file, store.blobs.batch() as batch:
        chunks = iter(lambda: file.read(_READ), b"")
        batch.put_stream(
            blocks(apply(store.tree(base), chunks)), expected=entry.digest, size=entry.size
        )
