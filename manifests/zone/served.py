"""What zone.yaml says of the server inside, as immutable values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests.digest import Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Registry:
    """How a repository of images is reached besides by its own name."""

    listen: tuple[str, int] | None = None
    """Host and port at which it alone stands at the root."""
    hosts: tuple[str, ...] = ()
    """Host names for which it alone stands at the root; without a port: at any."""
    replaces: tuple[str, ...] | None = None
    """Original registries; None: those that the outside names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTls:
    """PEM files: what the server shows to clients, with what leads to its authority."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Serve:
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    external_url: str | None = None
    """Where clients reach the server, without a trailing ``/``; None: by the Host header."""
    grace: float = 86_400.0
    deny: frozenset[Digest] = frozenset()
    """Blobs that are never served."""
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Several repositories served as one: its name to theirs, in the order to look."""
    registries: Mapping[str, Registry] = field(default_factory=dict)
    """By our name of the repository."""
    ca_file: Path | None = None
    """Certificates of the authority that signed what clients see, for them to fetch."""
    tls: ServerTls | None = None
    """None: plain HTTP."""
