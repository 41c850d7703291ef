"""``backup`` and ``restore``: a copy of a zone that a new machine can go on from."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path
from typing import Any

from manifests.errors import UsageError
from manifests.units import format_bytes
from manifests.zone import OutsideZone
from sluice.context import Context, ledger_password
from sluice.progress import Progress
from sluice.text import plural
from store.backup import backup, restore
from store.seam import Seam
from store.upgrade import Place, carry_out, pending


def register(commands: Any) -> None:
    saving = commands.add_parser("backup")
    saving.add_argument("folder", type=Path, metavar="FOLDER")
    saving.add_argument(
        "--without-ledger",
        action="store_true",
        help="the ledger lies in PostgreSQL and was dumped just before",
    )
    saving.set_defaults(command=save)

    bringing = commands.add_parser("restore")
    bringing.add_argument("folder", type=Path, metavar="FOLDER")
    bringing.set_defaults(command=bring_back)


def save(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    ledger = context.zone.ledger.path
    if ledger is None and not options.without_ledger:
        raise UsageError(
            "the ledger lies in PostgreSQL, which has backups of its own",
            where=str(context.zone.folder),
            remedy="dump it by pg_dump first, then: sluice backup --without-ledger FOLDER",
        )
    progress = Progress("backup")
    done = backup(
        context.store,
        options.folder.absolute(),
        ledger=None if options.without_ledger else ledger,
        now=context.now(),
        progress=progress.reach,
    )
    progress.done()
    print(
        f"{plural(done.files, 'file')} beside the ledger; {plural(done.blobs, 'new blob')},"
        f" {format_bytes(done.bytes)}"
    )
    for name in done.passed_over:
        print(f"left out: {name} (a key of the root of trust has copies of its own)")
    return 0


def bring_back(options: argparse.Namespace) -> int:
    folder = options.zone.absolute()
    progress = Progress("restore")
    done = restore(options.folder.absolute(), folder, Seam(), progress=progress.reach)
    progress.done()
    context = Context.open(folder)
    _bring_up_to_date(context)
    with context.store.ledger.write(context.actor) as tx:
        tx.event("restored", blobs=done.blobs, files=done.files)
    print(f"{plural(done.blobs, 'blob')}, {format_bytes(done.bytes)}; the zone is in {folder}")
    if isinstance(context.zone, OutsideZone):
        print("before the first pack, so that no sequence is given out twice:")
        print(f"  sluice -z {options.zone} trust renew --new-epoch")
    else:
        print("what came after the backup is asked of the outside: resend, or pack --full")
    print(f"  sluice -z {options.zone} verify      reads everything once")
    return 0


def _bring_up_to_date(context: Context) -> None:
    """The backup of an older version is a copy already, so that none is made here."""
    zone = context.zone
    place = Place(zone.folder, zone.ledger.address, zone.ledger.path, ledger_password(zone))
    ledger = place.open_any(context.files, context.actor)
    if ledger is not None:
        with closing(ledger):
            carry_out(ledger, pending(place, context.files).steps, print)
