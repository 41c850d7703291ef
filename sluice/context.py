"""An opened zone: its settings, its store, and who is acting.

Everything that the commands share is made here, once, from zone.yaml.
"""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Self

from manifests import zone as zones
from manifests.errors import ConfigError, UsageError
from manifests.formats import FORMATS
from store.seam import Seam
from store.store import Store

_MAX_PASSWORD = 4096


@dataclass
class Context:
    """A zone that a command works in. Times are UTC."""

    zone: zones.Zone
    files: Seam

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Read ``folder/zone.yaml``. Raises ConfigError."""
        return cls(zones.load(folder, FORMATS), Seam())

    @cached_property
    def store(self) -> Store:
        """The zone's store, opened on first use."""
        return Store.open(
            self.zone.folder,
            self.zone.ledger.address,
            self.files,
            self.zone.reserve_free,
            ledger_password=ledger_password(self.zone),
            actor=self.actor,
        )

    @property
    def spool(self) -> Path:
        """Where parts wait, in one folder for each stream."""
        return self.zone.folder / "spool"

    @property
    def outside(self) -> zones.OutsideZone:
        """The zone as an outside one; raises UsageError inside."""
        if isinstance(self.zone, zones.OutsideZone):
            return self.zone
        raise UsageError(
            "this command belongs to an outside zone; this one is inside",
            where=str(self.zone.folder),
            remedy="name an outside zone with -z",
        )

    @property
    def inside(self) -> zones.InsideZone:
        """The zone as an inside one; raises UsageError outside."""
        if isinstance(self.zone, zones.InsideZone):
            return self.zone
        raise UsageError(
            "this command belongs to an inside zone; this one is outside",
            where=str(self.zone.folder),
            remedy="name an inside zone with -z",
        )

    @staticmethod
    def now() -> datetime:
        return datetime.now(UTC)

    @property
    def actor(self) -> str:
        """Who acts, for the audit log."""
        return acting_user()


def acting_user() -> str:
    """The operator's name: the one who called sudo, else the login."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # no entry in the password file, as in a bare container
        return f"uid {os.getuid()}"


def ledger_password(zone: zones.Zone) -> str:
    """The ledger's password, from its file or the environment; empty for none.

    Raises ConfigError when the file cannot be read.
    """
    if zone.ledger.password_file is not None:
        return read_secret(zone.ledger.password_file)
    return os.environ.get(zones.LEDGER_PASSWORD_VARIABLE, "")


def read_secret(path: Path) -> str:
    """The first line of a file that holds a password. Raises ConfigError."""
    try:
        with path.open("r", encoding="utf-8") as file:
            return file.read(_MAX_PASSWORD).splitlines()[0].strip()
    except (OSError, UnicodeDecodeError, IndexError) as error:
        raise ConfigError(
            f"no password can be read: {error}",
            where=str(path),
            remedy="put the password alone on the first line, readable by this user",
        ) from error
