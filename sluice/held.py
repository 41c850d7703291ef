"""What is held or missing now, whether or not anything has happened since: for ``status``
and for notices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from manifests.trust import TrustState
from manifests.zone import InsideZone, Zone
from sluice.context import Context
from store.ledger import ReadTransaction
from store.records import Hold
from transfer.alarms import silence
from transfer.known import load_known
from transfer.missing import outstanding


def all_holds(zone: Zone, tx: ReadTransaction, now: datetime) -> list[Hold]:
    """All holds, and of streams that fell silent since anything was received."""
    found = tx.holds()
    if isinstance(zone, InsideZone):
        silences = (silence(tx, stream, now) for stream in zone.streams.values())
        found += [hold for hold in silences if hold is not None and tx.hold(hold.key) is None]
    return found


def missing(context: Context, tx: ReadTransaction, stream: str) -> list[dict[str, Any]]:
    """What of an inside's stream has to come: bundles, each with its parts where known."""
    saved = tx.trust_state(stream)
    if saved is None:
        return []
    known = list(load_known(context.store, tx, stream).values())
    found = outstanding(tx, known, TrustState.from_bytes(saved))
    return [{"bundle": number, "parts": list(parts)} for number, parts in found.bundles]
