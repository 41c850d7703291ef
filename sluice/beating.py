"""Heartbeats of a zone's streams: made when due, handed over like any bundle."""

from __future__ import annotations

from manifests.zone import OutsideStream
from sluice.commands.trust import stream_keys
from sluice.context import Context
from store.records import BundleRecord
from transfer.heartbeat import beat, is_due


def make_heartbeat(
    context: Context, stream: OutsideStream, *, due_only: bool = False
) -> BundleRecord | None:
    """Seal a heartbeat (with ``due_only`` if nothing was released for so long); None: not now.

    It needs the timestamp key alone. Raises what `transfer.heartbeat.beat` raises.
    """
    keys = stream_keys(context, stream)
    with context.store.ledger.read() as tx:
        due = due_only and is_due(
            tx, stream.name, keys.trusted().epoch, stream.heartbeat, context.now()
        )
    if due_only and not due:
        return None
    return beat(
        context.store,
        stream.name,
        context.spool,
        lambda manifest, sequence: keys.sign_release(
            manifest, sequence, context.now(), role="timestamp"
        ),
        roots=keys.chain(),
        wire=stream.wire,
        now=context.now(),
    )
