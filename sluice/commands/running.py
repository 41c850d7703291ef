"""``sluice run``: all duties of a zone, until stopped."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from manifests.zone import OutsideZone
from sluice.context import Context
from sluice.running.journal import Log, Manager
from sluice.running.loop import Runner
from sluice.running.standing import LOCK, standing
from sluice.text import duties_table

_WAIT = 1.0
"""Seconds: whoever asks whether a run holds the lock has it for a moment."""


def register(commands: Any) -> None:
    command = commands.add_parser(
        "run",
        epilog="SIGTERM and Ctrl-C stop it in order, SIGHUP reads zone.yaml again. Each duty is"
        " a command in a process of its own; the journal names it in SLUICE_DUTY.",
    )
    command.add_argument(
        "--dry-run", action="store_true", help="list the duties, their last and their next run"
    )
    command.set_defaults(command=run_zone)


def run_zone(options: argparse.Namespace) -> int:
    """Runs until it is stopped; a duty that fails stops neither it nor another duty."""
    context = Context.open(options.zone)
    if options.dry_run:
        _list(context)
        return 0
    with context.store.locks.named(LOCK, wait=_WAIT):
        runner = Runner(context, Log(context.zone.log_level), Manager())
        return asyncio.run(runner.run())


def _list(context: Context) -> None:
    with context.store.ledger.read() as tx:
        found = standing(context, tx, context.now())
    print(duties_table(found["duties"]))
    for name in found["run"]["always"]:
        print(f"always: {name}")
    if isinstance(context.zone, OutsideZone) and not any(
        repository.schedule for repository in context.zone.repositories.values()
    ):
        print("no repository has a `schedule`: nothing is mirrored by itself")
