"""Whether a disk has room for what a carrier brings."""

from __future__ import annotations

import os
from pathlib import Path

from manifests import errors
from manifests.units import format_bytes


def require_room(folder: Path, size: int, reserve: int, name: str) -> None:
    """Raise ``NoSpace`` if ``size`` bytes more would leave less than ``reserve`` bytes free."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    if free - size < reserve:
        raise errors.NoSpace(
            f"no room for {name}: {format_bytes(size)} would leave less than"
            f" {format_bytes(reserve)} free",
            where=str(folder),
            remedy="free space on this disk; then have the part brought again",
        )
