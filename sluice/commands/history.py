"""``snapshots``, ``diff`` and ``rollback``: what a repository held, and what is live."""

from __future__ import annotations

import argparse
import itertools
import json
from typing import Any

from manifests.errors import UsageError
from manifests.state import format_time
from manifests.tree import diff
from manifests.units import format_bytes
from manifests.zone import InsideZone
from sluice.context import Context
from sluice.text import plural, table, when
from sluice.wiring import InsideChecks
from store.ledger import ReadTransaction
from store.records import StoredSnapshot
from transfer.rollback import roll_back as transfer_rollback

_SHOWN = 1000


def register(commands: Any) -> None:
    snapshots = commands.add_parser("snapshots")
    snapshots.add_argument("repository", metavar="REPO")
    snapshots.add_argument("--json", action="store_true")
    snapshots.set_defaults(command=list_snapshots)

    difference = commands.add_parser("diff")
    difference.add_argument("repository", metavar="REPO")
    difference.add_argument("old", type=int, metavar="A")
    difference.add_argument("new", type=int, metavar="B")
    difference.add_argument("--all", action="store_true", help=f"more than {_SHOWN} lines")
    difference.set_defaults(command=show_difference)

    rollback = commands.add_parser("rollback")
    rollback.add_argument("repository", metavar="REPO")
    rollback.add_argument("serial", type=int, metavar="SERIAL")
    rollback.add_argument("--dry-run", action="store_true", help="say what would change")
    rollback.set_defaults(command=roll_back)


def find_snapshots(
    context: Context, tx: ReadTransaction, repository: str
) -> tuple[str, list[StoredSnapshot]]:
    """The stream and the snapshots behind a name that is served (or mirrored) here.

    Raises UsageError for an unknown name.
    """
    stream, source = "", repository
    if isinstance(context.zone, InsideZone):
        live = tx.publication(repository)
        if live is not None:
            stream, source = live.stream, live.source_repository
        else:
            for candidate in context.zone.streams.values():
                theirs = [
                    name
                    for name in tx.repositories(candidate.name)
                    if candidate.local_name(name) == repository
                ]
                if theirs:
                    stream, source = candidate.name, theirs[0]
    found = tx.snapshots(stream, source)
    if not found:
        known = ", ".join(tx.repositories()) or "none yet"
        raise UsageError(
            f"no snapshot of a repository {repository}", remedy=f"repositories here: {known}"
        )
    return stream, found


def _one(found: list[StoredSnapshot], serial: int) -> StoredSnapshot:
    for stored in found:
        if stored.snapshot.serial == serial:
            return stored
    serials = ", ".join(str(stored.snapshot.serial) for stored in found)
    raise UsageError(f"there is no snapshot {serial}", remedy=f"snapshots here: {serials}")


def list_snapshots(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    with context.store.ledger.read() as tx:
        _, found = find_snapshots(context, tx, options.repository)
        live = tx.publication(options.repository)
    serial = live.serial if live else None
    if options.json:
        print(
            json.dumps(
                [
                    {
                        "serial": s.snapshot.serial,
                        "created": format_time(s.snapshot.created),
                        "files": s.snapshot.files,
                        "bytes": s.snapshot.bytes,
                        "tree": s.snapshot.tree,
                        "live": s.snapshot.serial == serial,
                    }
                    for s in found
                ],
                indent=2,
            )
        )
        return 0
    rows = [("serial", "created", "files", "size", "")]
    for stored in found:
        snapshot = stored.snapshot
        rows.append(
            (
                str(snapshot.serial),
                when(snapshot.created),
                str(snapshot.files),
                format_bytes(snapshot.bytes),
                "live" if snapshot.serial == serial else "",
            )
        )
    print(table(rows))
    return 0


def show_difference(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    with context.store.ledger.read() as tx:
        _, found = find_snapshots(context, tx, options.repository)
    old = _one(found, options.old).snapshot
    new = _one(found, options.new).snapshot
    counts = {"+": 0, "-": 0, "~": 0}
    grown = 0
    changes = diff(context.store.tree(old.tree), context.store.tree(new.tree))
    for number, change in enumerate(changes):
        sign = "+" if change.before is None else "-" if change.after is None else "~"
        counts[sign] += 1
        grown += (change.after.size if change.after else 0) if sign != "-" else 0
        if options.all or number < _SHOWN:
            side = change.after or change.before
            assert side is not None
            print(f"{sign} {change.path}  {format_bytes(side.size)}")
        elif number == _SHOWN:
            print("...  (more with --all)")
    print(
        f"{counts['+']} added, {counts['-']} removed, {counts['~']} changed;"
        f" {format_bytes(grown)} of new content"
    )
    return 0


def roll_back(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    zone = context.inside
    store = context.store
    with store.ledger.read() as tx:
        _, found = find_snapshots(context, tx, options.repository)
        live = tx.publication(options.repository)
    target = _one(found, options.serial)
    snapshot = target.snapshot
    if live is not None and live.serial == snapshot.serial:
        print(f"{options.repository} serves snapshot {snapshot.serial} already")
        return 0
    if live is not None:
        changes = list(
            itertools.islice(diff(store.tree(live.tree), store.tree(snapshot.tree)), _SHOWN + 1)
        )
        shown = (
            f"more than {_SHOWN} files" if len(changes) > _SHOWN else plural(len(changes), "file")
        )
        print(f"{options.repository}: from snapshot {live.serial} to {snapshot.serial}, {shown}")
    if options.dry_run:
        return 0
    checks = InsideChecks(store, zone)
    published = transfer_rollback(
        store, options.repository, snapshot.serial, deriver=checks.derive, now=context.now()
    )
    print(f"{options.repository} serves snapshot {snapshot.serial} from now on")
    if published.rolled_back:
        print("it stays there until a newer snapshot arrives from outside")
    if snapshot.format == "yum":
        print(
            "clients: dnf needs `dnf --refresh`; yum of CentOS 7 and older refuses an older"
            " repomd.xml until `yum clean metadata`"
        )
    return 0
