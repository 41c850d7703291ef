"""The audit log as a file of its own, which others can check without Sluice.

``store.eventlog`` says what a line is.
"""

from __future__ import annotations

from pathlib import Path

from manifests.digest import Digest
from manifests.durable import Durable, refuse_device
from store.eventlog import every_event, line_of, verify_log
from store.ledger import ReadTransaction
from store.store import Store

_BLOCK = 1 << 20


def export_events(
    store: Store, tx: ReadTransaction, files: Durable, target: Path
) -> tuple[int, Digest]:
    """Write the whole log to ``target``, in one step; number and digest of the last event.

    The file is for its owner and group. Raises UsageError, LedgerDamaged, and leaves
    ``target`` as it was, if the chain does not hold.
    """
    refuse_device(target)
    verify_log(store, tx)
    head = tx.event_head()
    temporary = target.with_name(f".{target.name}.tmp")
    files.unlink(temporary)
    try:
        with files.create(temporary, 0o640) as out:
            lines = bytearray()
            for event in every_event(store, tx):
                lines += line_of(event)
                if len(lines) > _BLOCK:
                    out.write(lines)
                    lines.clear()
            out.write(lines)
            out.sync()
        files.rename(temporary, target)
    except BaseException:
        files.unlink(temporary)
        raise
    files.sync_dir(target.parent)
    return head
