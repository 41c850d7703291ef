"""``sluice serve``: the inside's HTTP server."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from manifests.errors import ConfigError, SluiceError, UsageError
from manifests.zone import InsideZone, Serve
from repo_server import Settings, serve
from sluice import stopping
from sluice.context import Context, ledger_password
from sluice.noting import Notebook, is_read_only
from sluice.wiring import read_key_files, repository_key
from store.ledger import Ledger

_MAX_CERTIFICATES = 1 << 20


def register(commands: Any) -> None:
    command = commands.add_parser("serve")
    command.add_argument("--listen", metavar="HOST:PORT", help="instead of zone.yaml's")
    command.add_argument("--workers", type=int, metavar="N", help="processes (default: zone.yaml)")
    command.add_argument(
        "--access-log",
        action="store_true",
        help="one JSON line for each answer, on standard output",
    )
    command.set_defaults(command=serve_zone)


def serve_zone(options: argparse.Namespace) -> int:
    """Runs until SIGTERM or Ctrl-C; answers that are under way may finish."""
    context = Context.open(options.zone)
    zone = context.inside
    settings = _settings(zone, _adjusted(zone.serve, options), options.access_log)
    notebook = Notebook(_ledger(context), zone.wants.ignore)
    try:
        # What swallowed a stop until then is not to make it wait for ever.
        serve(settings, on_miss=notebook.note, check=stopping.check)
    finally:
        notebook.close()
    return 0


def _ledger(context: Context) -> Callable[[], Ledger] | None:
    """How wants are written down; None where the store can only be read.

    The store is opened once for writing, so that a new or old one is made or refused here.
    """
    try:
        context.store.close()
    except (SluiceError, OSError) as error:
        if not is_read_only(error):
            raise
        print(
            f"sluice serve: the store can only be read ({error}); wants are not written down",
            file=sys.stderr,
        )
        return None
    zone = context.zone
    return lambda: Ledger.open(
        zone.ledger.address, context.files, password=ledger_password(zone), actor="serve"
    )


def _adjusted(settings: Serve, options: argparse.Namespace) -> Serve:
    if options.listen is not None:
        host, colon, port = options.listen.rpartition(":")
        if not colon or not port.isdigit() or int(port) > 65535:
            raise UsageError(
                f"{options.listen!r} is not HOST:PORT", remedy="write for example 127.0.0.1:8080"
            )
        settings = replace(settings, host=host.strip("[]"), port=int(port))
    if options.workers is not None:
        if not 1 <= options.workers <= 256:
            raise UsageError("--workers takes 1 to 256")
        settings = replace(settings, workers=options.workers)
    return settings


def _settings(zone: InsideZone, listen: Serve, access_log: bool) -> Settings:
    keys = {
        name: tuple(key.decode("ascii", "replace") for key in read_key_files(required.signed_by))
        for name, required in zone.require.items()
    }
    own = repository_key(zone)
    return Settings(
        store=zone.folder,
        ledger_url=zone.ledger.address,
        ledger_password=ledger_password(zone),
        serve=listen,
        keys=keys,
        repository_key=own.public().armored.decode("ascii") if own else "",
        ca="" if listen.ca_file is None else certificates(listen.ca_file),
        access_log=access_log,
    )


def certificates(path: Path) -> str:
    """The certificates in a PEM file that anybody may read. Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_CERTIFICATES + 1)
    except OSError as error:
        raise ConfigError(
            f"the certificates cannot be read: {error.strerror}",
            where=str(path),
            remedy="put the authority's certificate there, or change `serve: ca_file`",
        ) from error
    if b"PRIVATE KEY" in data:
        raise ConfigError(
            "this file has a private key in it, and everybody gets it",
            where=str(path),
            remedy="name a file with the authority's certificate alone as `serve: ca_file`",
        )
    if len(data) > _MAX_CERTIFICATES or b"-----BEGIN CERTIFICATE-----" not in data:
        raise ConfigError(
            "there is no certificate in this file",
            where=str(path),
            remedy="write the authority's certificate as PEM (`-----BEGIN CERTIFICATE-----`)",
        )
    return data.decode("ascii", "replace")
