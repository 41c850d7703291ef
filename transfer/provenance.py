"""Provenance on its way: gathered when a bundle is packed, looked up when it is published."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from manifests import provenance
from manifests.bundle import TextRef
from manifests.bundle.index import RAW
from manifests.digest import sha256_of
from manifests.errors import SluiceError
from manifests.provenance import AskedFor, Origin
from manifests.state import StateRow
from store.blobs import BlobBatch
from store.ledger import ReadTransaction
from store.origins import origin_of
from store.store import Store
from transfer.content import Content, Stored
from transfer.known import Known
from transfer.plan import Base


def add_provenance(
    store: Store, base: Base, content: Content, batch: BlobBatch | None
) -> TextRef | None:
    """Put what is known of the new snapshots before all other content; None for nothing.

    Without ``batch`` (a dry run) it is measured and not kept.
    """
    with store.ledger.read() as tx:
        changed = [row for row in base.state.rows if base.table.row(row.repository) != row]
        origins = [origin for row in changed if (origin := outside_origin(tx, base, row))]
    text = provenance.encode(origins)
    if not text:
        return None
    digest = sha256_of(text)
    if batch is not None:
        batch.put_bytes(text)
    content.add_first(Stored(digest, len(text), RAW, None, digest, len(text)))
    return TextRef(digest, len(text))


def outside_origin(tx: ReadTransaction, base: Base, row: StateRow) -> Origin | None:
    """Where a snapshot came from, with the roots asked for since the one of the base."""
    origin = origin_of(tx, row.repository, row.serial)
    if origin is None:
        return None
    before = base.table.row(row.repository)
    old = None if before is None else tx.snapshot("", row.repository, before.serial)
    since = None if old is None else old.snapshot.created
    roots = [
        AskedFor(root.root, root.kind.value, root.by, root.at)
        for root in tx.roots(row.repository)
        if since is None or root.at > since
    ]
    roots.sort(key=lambda one: one.at, reverse=True)
    return replace(origin, roots=tuple(roots))


def origin_in(store: Store, bundles: Iterable[Known], row: StateRow) -> tuple[Origin | None, str]:
    """What some of ``bundles`` says of a snapshot; else None and, if there is one, the reason
    why what it says cannot be read."""
    problem = ""
    for known in bundles:
        ref = known.manifest.provenance
        if ref is None or known.manifest.state.row(row.repository) != row:
            continue
        if not store.blobs.has(ref.digest):
            problem = problem or "the part of the bundle with its provenance has not come"
            continue
        try:
            with store.blobs.open(ref.digest) as file:
                for origin in provenance.read(file):
                    if (origin.repository, origin.serial) == (row.repository, row.serial):
                        return origin, ""
        except SluiceError as error:
            problem = str(error)
    return None, problem
