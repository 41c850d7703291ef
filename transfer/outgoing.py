"""A bundle that goes out: its signed documents are kept, its row and its parts recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from manifests.bundle import END, Copies, HeadPlan, Manifest, PartName, PartRow
from manifests.canonical import dumps
from manifests.digest import Digest, sha256_of
from store.ledger import WriteTransaction
from store.records import BundleRecord, PartRecord, PinKind
from store.store import Store
from transfer.changes import keep_account
from transfer.plan import with_content
from transfer.recreate import letter_key


@dataclass(frozen=True, slots=True)
class Kept:
    """Blobs that belong to a bundle: its documents, its state table, and the letter that
    says which documents they are."""

    documents: tuple[Digest, ...]
    state: Digest
    letter: Digest


@dataclass(frozen=True, slots=True)
class Outgoing:
    """All that makes a released bundle, but for its payloads."""

    manifest: Manifest
    copies: Copies
    rows: Sequence[PartRow]
    heads: HeadPlan

    def names(self) -> list[PartName]:
        """The names of its parts, in order."""
        manifest, count = self.manifest, self.manifest.parity.parts
        return [
            PartName(manifest.stream, manifest.epoch, manifest.sequence, part, count)
            for part in range(1, count + 1)
        ]

    def keep(self, store: Store) -> Kept:
        """Make its documents durable as blobs, for `recreate`."""
        with store.blobs.batch() as batch:
            kept = [batch.put_bytes(data)[0] for _, data in self.copies.members()]
            state = batch.put_bytes(self.manifest.state.text())[0]
            letter = dumps(
                {
                    "head": self.heads.full,
                    "release": kept[1],
                    "role": self.copies.role,
                    "roots": kept[2:-1],
                    "stride": self.heads.stride,
                }
            )
            return Kept(tuple(kept), state, batch.put_bytes(letter)[0])

    def record(
        self,
        tx: WriteTransaction,
        kept: Kept,
        deltas: Sequence[Digest],
        *,
        packed: datetime,
        now: datetime,
        account: Digest | None = None,
    ) -> BundleRecord:
        """Make it the newest bundle of its stream; its parts wait in the spool.

        ``account`` tells what it changes.
        """
        manifest = self.manifest
        sizes = [row.offset + row.length + len(END) for row in self.rows]
        bundle = BundleRecord(
            stream=manifest.stream,
            epoch=manifest.epoch,
            sequence=manifest.sequence,
            kind=manifest.kind,
            manifest=sha256_of(self.copies.manifest),
            previous=manifest.previous or "",
            state=kept.state,
            index=manifest.index.digest if manifest.index.size else None,
            created=manifest.created,
            size=sum(sizes),
            parts=len(self.rows),
            base=[
                [row.repository, row.format, row.serial, str(row.tree), row.tree_size]
                for row in manifest.base.rows
            ],
            retain=manifest.retain,
            packed=packed,
            released=now,
        )
        tx.add_bundle(bundle)
        for row, name, size in zip(self.rows, self.names(), sizes, strict=True):
            tx.set_part(
                PartRecord(
                    bundle.stream, bundle.epoch, bundle.sequence, row.part, str(name), size,
                    row.digest, "released",
                )
            )  # fmt: skip
        tx.set_meta(letter_key(bundle), kept.letter)
        trees = [row.tree for row in (*manifest.state.rows, *manifest.base.rows)]
        needed = {*kept.documents, kept.state, kept.letter, *trees, *deltas}
        tx.pin(f"{_key(bundle)}:blobs", sorted(needed), PinKind.BLOBS, "resend")
        if bundle.index is not None:
            tx.pin(f"{_key(bundle)}:lists", [bundle.index], PinKind.LISTS, "resend")
        tx.event(
            "bundle.released",
            bundle.stream,
            epoch=bundle.epoch,
            sequence=bundle.sequence,
            manifest=bundle.manifest,
            parts=bundle.parts,
            size=bundle.size,
            **({} if account is None else {"changes": account}),
        )
        if account is not None:
            keep_account(tx, (bundle.stream, bundle.epoch, bundle.sequence), account, "sealed")
        return bundle


def let_go(tx: WriteTransaction, newest: BundleRecord, resend_window: int) -> None:
    """Unpin the bundles that left the resend window."""
    for number, old in enumerate(with_content(tx.bundles(newest.stream))):
        if old.released is not None and (number > resend_window or old.epoch < newest.epoch):
            unpin(tx, old)


def unpin(tx: WriteTransaction, bundle: BundleRecord) -> None:
    """Take back what keeps a bundle for another sending."""
    tx.unpin(f"{_key(bundle)}:blobs")
    tx.unpin(f"{_key(bundle)}:lists")


def _key(bundle: BundleRecord) -> str:
    return f"bundle:{bundle.stream}:{bundle.epoch}:{bundle.sequence}"
