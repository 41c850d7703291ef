"""What the checks look at: a zone, the time, and how far they may go."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from manifests.errors import SluiceError
from manifests.zone import InsideZone, OutsideZone, Zone
from sluice.context import ledger_password
from store.store import Store


@dataclass
class Site:
    """One zone at one moment. Nothing in it is changed, but for a probe folder that goes."""

    zone: Zone
    now: datetime
    offline: bool = False
    """Connect to nothing outside this machine."""
    days: int = 30
    """So many days ahead an expiry is told."""
    seconds: float = 10.0
    """How long one answer from elsewhere is waited for."""
    user: int = field(default_factory=os.geteuid)

    @property
    def folder(self) -> Path:
        return self.zone.folder

    @property
    def outside(self) -> OutsideZone | None:
        return self.zone if isinstance(self.zone, OutsideZone) else None

    @property
    def inside(self) -> InsideZone | None:
        return self.zone if isinstance(self.zone, InsideZone) else None

    def open_store(self) -> Store:
        """The store, for reading. Raises SluiceError."""
        return Store.open_read_only(
            self.folder,
            self.zone.ledger.address,
            ledger_password=ledger_password(self.zone),
        )

    @cached_property
    def store(self) -> Store | None:
        """The same for checks that need the ledger; None: the check of the ledger says why."""
        try:
            return self.open_store()
        except SluiceError:
            return None
