"""What ``notices:`` says: who is told of holds, gaps and silence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

GAP = "gap"
"""What a notice calls a stream of which bundles or parts are missing."""

KINDS = frozenset(
    (
        *("removals", "torn", "signature", "unreachable", "refused", "mismatch", "upstream"),
        *("index", "path", "unresolved", "images", "space", "configuration", "held", "failed"),
        *("incomplete", "check", "together", "name-taken", "unusable", "clock", "expired"),
        *("fork", "behind", "silence", "unmatched", "restored", "damaged", "malformed"),
        *("wire", GAP),
    )
)
"""All kinds of holds, and gaps."""

FACILITIES = {
    "kern": 0,
    "user": 1,
    "mail": 2,
    "daemon": 3,
    "auth": 4,
    "syslog": 5,
    "cron": 9,
    "authpriv": 10,
    **{f"local{number}": 16 + number for number in range(8)},
}
"""RFC 5424, section 6.2.1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Syslog:
    """Either ``path``, the socket of this machine's syslog, or ``transport`` with a host."""

    path: Path | None = None
    transport: str = ""
    """``udp`` or ``tcp``."""
    host: str = ""
    port: int = 0
    facility: str = "daemon"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """An address that takes JSON by POST."""

    url: str
    secret_file: Path | None = None
    """With the key of the signature, alone on its first line."""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notices:
    """Nobody is told anything unless a channel is set."""

    syslog: Syslog | None = None
    webhook: Webhook | None = None
    kinds: frozenset[str] = KINDS
    after: float = 3600.0
    """Seconds that what may pass by itself must last before anybody is told."""

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of the channels that are set."""
        pairs = (("syslog", self.syslog), ("webhook", self.webhook))
        return tuple(name for name, channel in pairs if channel is not None)


NOBODY = Notices()
