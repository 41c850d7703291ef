"""What a server is told: where the store is, what it may serve, and its limits.

Settings cross from the parent to its worker processes as one JSON object.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manifests.digest import Digest
from manifests.zone.served import Registry, Serve, ServerTls
from repo_server.pair import Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one client, and all clients together, may take of one worker.

    Sizes are bytes, times seconds.
    """

    connections: int = 4000
    line: int = 8190
    """Length of a request line, and of one header."""
    headers: int = 64
    """Number of header lines."""
    handshakes: int = 512
    """TLS handshakes that are not done yet."""
    handshake: float = 10.0
    """How long a TLS handshake may take, from the connection on."""
    idle: float = 75.0
    """How long a connection may stay open without a complete request."""
    stall: float = 60.0
    """How long a client may take no byte of an answer."""
    drain: float = 5.0
    """How long running answers may go on after the server was told to stop."""
    small: int = 64 << 10
    """Files up to this size are kept in memory while they are asked for."""
    memory: int = 64 << 20
    """Bytes of such files that are kept."""
    answers: int = 50_000
    """Number of URLs whose answer is remembered within one generation."""
    poll: float = 0.1
    """How often the generation number is read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that ``serve`` needs to know.

    ``keys`` are the public OpenPGP keys pinned inside (``require: signed_by``), ASCII
    armored, by the name under which a repository is served. ``repository_key`` is the
    public half of the key that signs derived metadata here.
    """

    store: Path
    ledger_url: str | None = None
    ledger_password: str = field(default="", repr=False)
    serve: Serve = field(default_factory=Serve)
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    repository_key: str = ""
    pair: Pair | None = field(default=None, repr=False)
    """What a worker shows; its parent reads it from the files of ``serve.tls``."""
    ca: str = ""
    """Certificates of the authority behind what clients see, PEM."""
    access_log: bool = False
    """Whether each answer is written to standard output as one line of JSON."""
    limits: Limits = Limits()
    tally: int = -1
    """Descriptor of the memory for ``Tally``; its parent gives it to a worker."""
    number: int = 0
    """Which of the workers it is."""

    @property
    def scheme(self) -> str:
        """What clients speak with this server itself."""
        return "http" if self.serve.tls is None else "https"

    def to_json(self) -> bytes:
        serve = self.serve
        return json.dumps(
            {
                "store": str(self.store.absolute()),
                "ledger_url": self.ledger_url,
                "ledger_password": self.ledger_password,
                "serve": {
                    "host": serve.host,
                    "port": serve.port,
                    "workers": serve.workers,
                    "external_url": serve.external_url,
                    "grace": serve.grace,
                    "deny": sorted(serve.deny),
                    "groups": {name: list(names) for name, names in serve.groups.items()},
                    "registries": {name: asdict(each) for name, each in serve.registries.items()},
                    "tls": serve.tls and {"cert": str(serve.tls.cert), "key": str(serve.tls.key)},
                },
                "pair": self.pair and asdict(self.pair),
                "keys": {name: list(armored) for name, armored in self.keys.items()},
                "repository_key": self.repository_key,
                "ca": self.ca,
                "access_log": self.access_log,
                "tally": self.tally,
                "number": self.number,
                "limits": {name: getattr(self.limits, name) for name in Limits.__slots__},
            }
        ).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Settings:
        """What ``to_json`` wrote."""
        values = json.loads(text)
        serve = values.pop("serve")
        deny = frozenset(Digest(text) for text in serve.pop("deny"))
        groups = {name: tuple(names) for name, names in serve.pop("groups").items()}
        registries = {name: _registry(each) for name, each in serve.pop("registries").items()}
        tls, pair = serve.pop("tls"), values.pop("pair")
        if tls is not None:
            tls = ServerTls(cert=Path(tls["cert"]), key=Path(tls["key"]))
        return cls(
            store=Path(values.pop("store")),
            serve=Serve(deny=deny, groups=groups, registries=registries, tls=tls, **serve),
            pair=None if pair is None else Pair(**pair),
            keys={name: tuple(armored) for name, armored in values.pop("keys").items()},
            limits=Limits(**values.pop("limits")),
            **values,
        )


def _registry(values: dict[str, Any]) -> Registry:
    listen, replaces = values["listen"], values["replaces"]
    return Registry(
        listen=None if listen is None else (listen[0], listen[1]),
        hosts=tuple(values["hosts"]),
        replaces=None if replaces is None else tuple(replaces),
    )
