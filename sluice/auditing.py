"""The audit log as a file of its own, which others can check without Sluice.

Each line is canonical JSON (``manifests.canonical``): ``actor``, ``detail``, ``digest``,
``kind``, ``previous``, ``repository``, ``seq``, ``stream``, ``time``. ``digest`` is the
SHA-256 of ``previous`` (hex, of the line before; 64 zeros in the first) followed by the line
without ``digest``, ``previous`` and its line end.
"""

from __future__ import annotations

from pathlib import Path

from manifests import canonical
from manifests.digest import Digest
from manifests.durable import Durable
from manifests.state import format_time
from store.ledger import ReadTransaction
from store.records import Event


def line_of(event: Event) -> bytes:
    """One event as a line."""
    fields = {
        "actor": event.actor,
        "detail": event.detail,
        "digest": event.digest,
        "kind": event.kind,
        "previous": event.previous,
        "repository": event.repository,
        "seq": event.seq,
        "stream": event.stream,
        "time": format_time(event.time),
    }
    return canonical.dumps(fields) + b"\n"


def export_events(tx: ReadTransaction, files: Durable, target: Path) -> tuple[int, Digest]:
    """Write the whole log to ``target``, in one step; number and digest of the last event.

    The file is for its owner and group. Raises LedgerDamaged, and leaves ``target`` as it
    was, if the chain does not hold.
    """
    last = tx.verify_events()
    head = tx.event_head()
    temporary = target.with_name(f".{target.name}.tmp")
    files.unlink(temporary)
    try:
        with files.create(temporary, 0o640) as out:
            after = 0
            while after < last and (block := tx.events(after)):
                out.write(b"".join(line_of(event) for event in block))
                after = block[-1].seq
            out.sync()
        files.rename(temporary, target)
    except BaseException:
        files.unlink(temporary)
        raise
    files.sync_dir(target.parent)
    return head
