"""Parts of a released bundle, made again byte for byte from what the store keeps."""

from __future__ import annotations

from pathlib import Path

from manifests.bundle import (
    END,
    Copies,
    HeadPlan,
    Index,
    Manifest,
    PartRecord,
    PartRow,
    build_head,
    parse_parts,
)
from manifests.bundle.parts import MAX_TABLE
from manifests.canonical import loads
from manifests.caps import MAX_CHAIN, MAX_DOCUMENT
from manifests.digest import Digest
from manifests.errors import BlobDamaged, StoreError
from store.hashing import SideHash
from store.records import BundleRecord
from store.store import Store
from transfer.payload import Payload, gathered
from transfer.plan import read_manifest


def letter_key(bundle: BundleRecord) -> str:
    """Where the ledger keeps which signed documents belong to a bundle (at most 64 bytes)."""
    return f"release:{bundle.manifest[:40]}"


def build_part_head(
    manifest: Manifest, digest: Digest, copies: Copies, row: PartRow, heads: HeadPlan
) -> bytes:
    """The head of one part."""
    record = PartRecord(
        manifest.stream,
        manifest.epoch,
        manifest.sequence,
        row.part,
        manifest.parity.parts,
        row.offset,
        row.length,
        digest,
        manifest.wire,
    )
    return build_head(record, copies if heads.carries(row.part) else None)


def recreate(store: Store, bundle: BundleRecord, part: int, target: Path) -> None:
    """Write one part of a released bundle again, byte for byte, as the new file ``target``.

    Works as long as the bundle is inside the resend window. Raises BlobMissing,
    BlobDamaged (the payload is not what was signed), FileExistsError.
    """
    with store.locks.shared():
        with store.ledger.read() as tx:
            letter = tx.get_meta(letter_key(bundle))
        if letter is None:
            raise StoreError(
                "the signed documents of this bundle are gone",
                where=f"{bundle.stream}: bundle {bundle.sequence}",
            )
        value = loads(store.small(Digest(letter), 1 << 20), cap=1 << 20)
        assert isinstance(value, dict)
        manifest = read_manifest(store, bundle.manifest)
        table = store.small(manifest.part_table.digest, MAX_TABLE)
        roots = value["roots"]
        assert isinstance(roots, list)
        assert len(roots) <= MAX_CHAIN
        copies = Copies(
            manifest.encode(),
            store.small(Digest(str(value["release"])), MAX_DOCUMENT),
            tuple(store.small(Digest(str(root)), MAX_DOCUMENT) for root in roots),
            table,
            str(value.get("role", "targets")),
        )
        row = parse_parts(table, manifest.parity.parts)[part - 1]
        full, stride = value["head"], value["stride"]
        assert isinstance(full, int)
        assert isinstance(stride, int)
        head = build_part_head(manifest, bundle.manifest, copies, row, HeadPlan(full, stride))
        hasher = SideHash()
        with _index(store, manifest) as index, store.files.create(target) as file:
            payload = Payload(store, index, manifest.index)
            try:
                file.write(head)
                for block in gathered(payload.blocks(part)):
                    hasher.update(block)
                    file.write(block)
            finally:
                payload.close()
                found = hasher.digest()
            if found != row.digest:
                store.files.unlink(target)
                raise BlobDamaged("the payload is not what was signed", where=str(target))
            file.write(END)
            file.sync()
        store.files.sync_dir(target.parent)


def _index(store: Store, manifest: Manifest) -> Index:
    """The index of a bundle; a heartbeat has none."""
    if not manifest.index.size:
        return Index(b"")
    return Index.map(store.blobs.path(manifest.index.digest))
