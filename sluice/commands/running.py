"""``sluice run``: all duties of a zone, until stopped."""

from __future__ import annotations

import argparse
import asyncio
from typing import Any

from manifests.state import format_time
from manifests.zone import OutsideZone
from sluice.context import Context
from sluice.running.agenda import Agenda
from sluice.running.duties import duties_of, services_of
from sluice.running.history import last_run, last_starts
from sluice.running.journal import Log, Manager
from sluice.running.loop import Runner, timezone_of
from sluice.text import table


def register(commands: Any) -> None:
    command = commands.add_parser(
        "run",
        help="all duties of the zone, until stopped",
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
    with context.store.locks.named("run"):
        runner = Runner(context, Log(context.zone.log_level), Manager())
        return asyncio.run(runner.run())


def _list(context: Context) -> None:
    duties = duties_of(context.zone)
    agenda = Agenda(
        {name: duty.when for name, duty in duties.items() if duty.when is not None},
        timezone_of(context.zone),
        last_starts(context.store, duties),
        context.now(),
    )
    rows = [("duty", "last run", "ended with", "next run")]
    with context.store.ledger.read() as tx:
        runs = {name: last_run(tx, name) for name in duties}
    for name, duty in duties.items():
        run = runs[name]
        moment = agenda.next(name) if duty.when is not None else None
        rows.append(
            (
                name,
                "never" if run is None else format_time(run.began),
                "-" if run is None else str(run.code),
                format_time(moment) if moment else "when something changed"
                if duty.words[0] == "pack" else "by hand (no `schedule`)",
            )
        )  # fmt: skip
    print(table(rows))
    for name in services_of(context.zone):
        print(f"always: {name}")
    if isinstance(context.zone, OutsideZone) and not any(
        repository.schedule for repository in context.zone.repositories.values()
    ):
        print("no repository has a `schedule`: nothing is mirrored by itself")
