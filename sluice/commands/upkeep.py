"""``verify``, ``gc`` and ``quarantine``: keeping a zone in order."""

from __future__ import annotations

import argparse
import sys
from datetime import timedelta
from typing import Any

from cds.aside import remove_older
from manifests.units import format_bytes, parse_duration
from manifests.zone import InsideZone, OutsideZone
from sluice.context import Context
from sluice.notices.deliver import tell_afterwards
from sluice.progress import Progress
from sluice.text import plural, table
from store.gc import collect
from store.verify import verify
from transfer.changes import forget_lists

_MAX_REASON = 4096
_WAIT = 60.0
"""Seconds that gc waits for running work to end."""


def register(commands: Any) -> None:
    check = commands.add_parser("verify")
    check.add_argument(
        "--repair",
        action="store_true",
        help="set damaged blobs aside, so that the next sync or bundle brings them again",
    )
    check.set_defaults(command=verify_store)

    collect = commands.add_parser("gc")
    collect.add_argument("--dry-run", action="store_true", help="only say what would go")
    collect.add_argument(
        "--forget-changes",
        metavar="DURATION",
        help="let go of what bundles changed longer ago, such as 1825d; `show` then only counts",
    )
    collect.set_defaults(command=collect_garbage)

    quarantine = commands.add_parser("quarantine")
    quarantine.add_argument(
        "--remove-older", metavar="DURATION", help="remove those refused longer ago, such as 90d"
    )
    quarantine.set_defaults(command=list_quarantine)


def verify_store(options: argparse.Namespace) -> int:
    """Ends with 1 if anything is missing, damaged or altered."""
    context = Context.open(options.zone)
    progress = Progress("verifying")
    result = verify(context.store, repair=options.repair, progress=progress.reach)
    progress.done()
    if options.repair:
        tell_afterwards(context)
    print(
        f"{plural(result.blobs, 'blob')}, {format_bytes(result.bytes)};"
        f" {plural(result.trees, 'tree')}; {plural(result.events, 'event')}"
    )
    if result.sound:
        print("everything is as it was written")
        return 0
    for finding in result.findings:
        about = " ".join(word for word in (finding.repository, finding.path) if word)
        print(f"sluice: {finding.kind}: {about or finding.digest}: {finding.what}", file=sys.stderr)
    total = sum(result.counts.values())
    if total > len(result.findings):
        print(f"sluice: and {total - len(result.findings)} more", file=sys.stderr)
    if result.set_aside:
        print(f"{plural(result.set_aside, 'damaged blob')} set aside")
        outside = isinstance(context.zone, OutsideZone)
        print(f"  -> {'`sync`' if outside else 'outside, `pack --full`'} brings them again")
    elif not options.repair:
        print("  -> sluice verify --repair sets damaged blobs aside", file=sys.stderr)
    return 1


def collect_garbage(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    zone = context.zone
    resend = (
        {name: stream.resend_window for name, stream in zone.streams.items()}
        if isinstance(zone, OutsideZone)
        else {}
    )
    grace = timedelta(seconds=zone.serve.grace) if isinstance(zone, InsideZone) else timedelta(0)
    if options.forget_changes is not None and not options.dry_run:
        age = timedelta(seconds=parse_duration(options.forget_changes))
        with context.store.ledger.write(context.actor) as tx:
            gone = forget_lists(tx, context.now() - age)
        print(f"the items of {plural(gone, 'account')} of changes are forgotten")
    done = collect(context.store, resend=resend, grace=grace, dry_run=options.dry_run, wait=_WAIT)
    verb = "would remove" if done.dry_run else "removed"
    print(f"{verb} {plural(done.removed, 'blob')}, {format_bytes(done.bytes)}; {done.kept} stay")
    return 0


def list_quarantine(options: argparse.Namespace) -> int:
    """One line for each refused file; the files themselves stay where they are."""
    context = Context.open(options.zone)
    folder = context.inside.folder / "quarantine"
    if options.remove_older is not None:
        age = parse_duration(options.remove_older)
        gone = remove_older(context.files, folder, context.now().timestamp() - age)
        print(f"{plural(gone, 'refused file')} removed")
        return 0
    reasons = sorted(folder.glob("*/*.reason.txt")) if folder.is_dir() else []
    if not reasons:
        print("nothing is in quarantine")
        return 0
    rows = [("stream", "file", "reason")]
    for path in reasons:
        with path.open("rb") as file:
            reason = file.read(_MAX_REASON).decode("utf-8", "replace").strip()
        rows.append((path.parent.name, path.name.removesuffix(".reason.txt"), reason))
    print(table(rows))
    print(f"they lie in {folder}; remove them when they are understood")
    return 0
