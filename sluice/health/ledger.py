"""The ledger: readable, of this version, and its newest events unchanged; and what it names
is in the store."""

from __future__ import annotations

from collections.abc import Iterator

from manifests.errors import SluiceError
from sluice.damage import Damage
from sluice.health.finding import Finding, ok, problem
from sluice.health.site import Site

_REMEDY = "keep a copy of it, then restore a backup; see docs/operations.md, Backups"


def ledger(site: Site) -> Iterator[Finding]:
    """Opens it as `status` would; PostgreSQL has ten seconds to answer."""
    where = site.zone.ledger.url or str(site.zone.ledger.path)
    try:
        with site.open_store() as store, store.ledger.read() as tx:
            number, _ = tx.event_head()
            tx.holds()
            damage = Damage(site.zone, store, tx).found
    except SluiceError as error:
        yield problem(where, error.what, error.remedy or _REMEDY)
        return
    yield ok(where, f"readable and of this version; {number} events")
    for lost in damage:
        yield problem(lost.where, lost.what, lost.remedy)
