"""``sluice events``: the audit log, shown, checked, written elsewhere, archived."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from manifests.state import format_time
from manifests.units import parse_duration
from sluice.auditing import export_events
from sluice.context import Context
from sluice.text import plural
from store.eventlog import archive_events, verify_log


def register(commands: Any) -> None:
    events = commands.add_parser("events")
    events.add_argument("--verify", action="store_true", help="check its hash chain")
    events.add_argument("--json", action="store_true", help="one JSON object for each line")
    events.add_argument("--last", type=int, default=50, metavar="N", help="default: 50; 0: all")
    events.set_defaults(command=show_events)
    acts = events.add_subparsers(metavar="export|archive")
    export = acts.add_parser("export", help="check all of it and write it to a file")
    export.add_argument("file", type=Path, metavar="FILE")
    export.set_defaults(command=write_events)
    archive = acts.add_parser(
        "archive", help="move old events into compressed blobs; the chain goes on through them"
    )
    archive.add_argument(
        "--older", metavar="DURATION", default="365d", help="older than this; default: 365d"
    )
    archive.set_defaults(command=archive_old)


def show_events(options: argparse.Namespace) -> int:
    """Of what the ledger holds; ``--verify`` and ``export`` read what was archived, too."""
    context = Context.open(options.zone)
    with context.store.ledger.read() as tx:
        if options.verify:
            count = verify_log(context.store, tx)
            print(f"{plural(count, 'event')}, every one in its place")
            return 0
        found = tx.last_events(options.last or sys.maxsize)
    for event in found:
        if options.json:
            print(
                json.dumps(
                    {
                        "seq": event.seq,
                        "time": format_time(event.time),
                        "kind": event.kind,
                        "actor": event.actor,
                        "stream": event.stream,
                        "repository": event.repository,
                        "detail": dict(event.detail),
                        "digest": event.digest,
                    }
                )
            )
            continue
        about = " ".join(word for word in (event.stream, event.repository) if word)
        detail = " ".join(f"{key}={value}" for key, value in event.detail.items())
        print(f"{event.seq} {format_time(event.time)} {event.actor} {event.kind} {about} {detail}")
    return 0


def write_events(options: argparse.Namespace) -> int:
    """The whole log with its hash chain, for those who keep or check it elsewhere."""
    context = Context.open(options.zone)
    target = options.file.absolute()
    with context.store.ledger.read() as tx:
        count, head = export_events(context.store, tx, context.files, target)
    print(f"{plural(count, 'event')} written to {target}; the last has the digest {head}")
    return 0


def archive_old(options: argparse.Namespace) -> int:
    """Quiet where there was nothing to do, since `run` calls it every day."""
    context = Context.open(options.zone)
    age = timedelta(seconds=parse_duration(options.older))
    moved = archive_events(context.store, context.now() - age)
    if moved:
        print(f"{plural(moved, 'event')} archived")
    return 0
