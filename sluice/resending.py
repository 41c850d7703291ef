"""From the store to the carrier once more: parts that were lost, byte for byte."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from manifests.zone import OutsideStream
from sluice.carriers import outlet_of
from sluice.context import Context
from sluice.progress import Progress
from store.records import BundleRecord
from transfer.recreate import recreate
from transfer.resend import next_names, require_resendable
from transfer.spool import TAR


def resend_parts(
    context: Context,
    stream: OutsideStream,
    bundle: BundleRecord,
    parts: Sequence[int],
    progress: Progress,
) -> int:
    """Hand ``parts`` of a sent bundle over again under new names; their bytes in all.

    Raises BlobMissing when the bundle left the resend window, BlobDamaged, CarrierError,
    NoSpace, StoreBusy (a send of this stream runs).
    """
    store = context.store
    with store.locks.named(f"send-{stream.name}"), store.locks.shared():
        require_resendable(store, bundle)
        with store.ledger.read() as tx:
            sizes = {
                part.index: part.size
                for part in tx.parts(stream.name, bundle.epoch, bundle.sequence)
            }
        largest = max(sizes[part] for part in parts)
        store.require_free(largest, f"sending bundle {bundle.sequence} again")
        progress.expect(len(parts), sum(sizes[part] for part in parts))
        done = 0
        with store.scratch("resend") as scratch, closing(outlet_of(context, stream)) as outlet:
            for part in parts:
                target = scratch / f"{part}{TAR}"
                recreate(store, bundle, part, target)
                with store.ledger.write(context.actor) as tx:
                    name = next_names(tx, bundle, [part], context.now())[part]
                outlet.offer(str(name), target)
                context.files.unlink(target)
                done += sizes[part]
                progress.advance(1, sizes[part])
        with store.ledger.write(context.actor) as tx:
            tx.event(
                "bundle.resent",
                stream.name,
                epoch=bundle.epoch,
                sequence=bundle.sequence,
                parts=list(parts),
            )
    return done
