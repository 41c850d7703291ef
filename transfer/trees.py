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
    waiting: dict[Digest, list[IndexEntry]] = {}
    for known in bundles:
        if known.indexed and not known.imported:
            for entry in _deltas(store, known):
                if not store.blobs.has(entry.digest):
                    waiting.setdefault(entry.digest, []).append(entry)
    failed: dict[Digest, str] = {}
    progress = True
    while progress:
        progress = False
        for digest, entries in list(waiting.items()):
            ready = next((entry for entry in entries if _ready(store, entry)), None)
            if ready is None:
                continue
            try:
                _decode(store, ready)
                del waiting[digest]
                progress = True
            except (TreeError, BlobDamaged) as error:
                failed[digest] = f"its delta does not fit: {error}"
                entries.remove(ready)
                progress = progress or bool(entries)
    for digest, entries in waiting.items():
        for entry in entries:
            failed.setdefault(digest, _why(entry))
    return failed


def _ready(store: Store, entry: IndexEntry) -> bool:
    return (
        entry.codec == TREE_DELTA
        and entry.base is not None
        and store.blobs.has(entry.base)
        and store.blobs.has(entry.stored)
    )


def _why(entry: IndexEntry) -> str:
    if entry.codec != TREE_DELTA:
        return f"stored by {entry.codec!r}, which this version does not know"
    return f"it is a delta against tree {entry.base}, which is not here"


def _deltas(store: Store, known: Known) -> Iterator[IndexEntry]:
    with Index.map(store.blobs.path(known.manifest.index.digest)) as index:
        for entry in index.encoded():
            if entry.codec != RAW:
                yield entry


def _decode(store: Store, entry: IndexEntry) -> None:
    assert entry.base is not None
    with store.blobs.open(entry.stored) as file, store.blobs.batch() as batch:
        chunks = iter(lambda: file.read(_READ), b"")
        batch.put_stream(
            blocks(apply(store.tree(entry.base), chunks)), expected=entry.digest, size=entry.size
        )
