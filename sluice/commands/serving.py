"""``sluice serve``: the inside's HTTP server."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

from manifests.errors import UsageError
from manifests.zone import InsideZone, Serve
from repo_server import Settings, serve
from sluice.context import Context, ledger_password
from sluice.wiring import read_key_files, repository_key


def register(commands: Any) -> None:
    command = commands.add_parser("serve", help="serve what is published, over HTTP")
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
    # Opened once for writing, so that a new or old store is made or refused here.
    context.store.close()
    serve(_settings(zone, _adjusted(zone.serve, options), options.access_log))
    return 0


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
        access_log=access_log,
    )
