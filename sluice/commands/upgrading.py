"""``upgrade``: an older zone becomes one of this version, with a copy kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manifests.zone import OutsideZone
from sluice.context import Context, ledger_password
from sluice.text import plural
from store.ledger import schema
from store.store import STORE_VERSION
from store.upgrade import Pending, Place, go_back, pending, upgrade


def register(commands: Any) -> None:
    command = commands.add_parser(
        "upgrade",
        epilog="Nothing else may run in the zone meanwhile. It can be killed at any moment and"
        " given again. An up-to-date zone is left as it is.",
    )
    command.add_argument("--dry-run", action="store_true", help="only say what would be done")
    command.add_argument(
        "--back",
        type=Path,
        metavar="COPY",
        help="put back what an upgrade kept in the folder COPY, for the older Sluice",
    )
    command.set_defaults(command=run_upgrade)


def run_upgrade(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    zone = context.zone
    place = Place(zone.folder, zone.ledger.address, zone.ledger.path, ledger_password(zone))
    if options.back is not None:
        return _back(context, place, options)
    found = pending(place, context.files)
    if options.dry_run:
        print("\n".join(_plan(context, found)))
        return 0
    copy = None
    # An up-to-date zone may be at work: the unit calls this before each start.
    if found.steps or found.unfinished is not None:
        copy = upgrade(place, context.files, now=context.now(), actor=context.actor, tell=print)
    if copy is None:
        print(_versions(context, found) + ": up to date")
        return 0
    print(f"done: {_versions(context, pending(place, context.files))}")
    print(f"to go back: sluice -z {options.zone} upgrade --back {copy.folder}")
    print("then start the Sluice that was here before")
    return 0


def _versions(context: Context, found: Pending) -> str:
    ledger = "no ledger yet" if found.version is None else f"ledger {found.version}"
    return f"store {STORE_VERSION}, zone.yaml {context.zone.version}, {ledger}"


def _plan(context: Context, found: Pending) -> list[str]:
    if not found.steps and found.unfinished is None:
        return [_versions(context, found) + ": up to date"]
    lines = [f"{_versions(context, found)}; this program has ledger {schema.SCHEMA_VERSION}"]
    if found.unfinished is None:
        lines.append("would keep a copy of the ledger, zone.yaml and VERSION below upgrades/")
    else:
        lines.append(f"would go on after the copy that is in {found.unfinished.folder}")
    lines += [
        f"would bring the ledger from version {step.before} to {step.before + 1}: {step.does}"
        for step in found.steps
    ]
    return lines


def _back(context: Context, place: Place, options: argparse.Namespace) -> int:
    done = go_back(
        place, options.back.absolute(), context.files, now=context.now(), actor=context.actor
    )
    print(f"the ledger is of version {done.version} again; zone.yaml is the one of the copy")
    print(f"what was replaced is in {done.kept}")
    if done.events > 0:
        print(f"it has {plural(done.events, 'event')} more, `upgraded` among them")
    if done.sequences:
        print("bundles have passed since the copy was made:")
        if isinstance(context.zone, OutsideZone):
            print(
                "  with the older Sluice, before its first pack (no sequence is given out twice):"
            )
            print(f"  sluice -z {options.zone} trust renew --new-epoch")
        else:
            print("  have them sent again (resend, or pack --full outside)")
    return 0
