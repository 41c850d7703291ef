"""``wants``: what clients inside asked for and did not get, and its way outside."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from manifests.durable import publish_file
from manifests.errors import UsageError
from manifests.state import format_time
from manifests.units import parse_duration
from manifests.wants import MAX_BYTES, Want, WantsFile, escaped, ignored, read, write
from manifests.zone import InsideZone
from sluice.accepting import Judged, accept, judge
from sluice.commands.trust import stream_of
from sluice.context import Context
from sluice.text import plural, table
from store.ledger import ReadTransaction
from store.records import StoredWant

WANTS_VERSION = 1
"""Of ``wants --json``."""


def register(commands: Any) -> None:
    wants = commands.add_parser("wants")
    wants.add_argument("--json", action="store_true", help="documented and versioned JSON")
    wants.set_defaults(command=list_wants)
    acts = wants.add_subparsers(metavar="export|import|forget")

    export = acts.add_parser("export", help="inside: write a file that a person may carry out")
    export.add_argument("file", type=Path, metavar="FILE")
    export.add_argument("--stream", metavar="NAME", help="needed if there are several")
    export.set_defaults(command=export_wants)

    take = acts.add_parser("import", help="outside: show a wants file, line by line")
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument(
        "--accept", action="store_true", help="make them roots, for the next sync to bring"
    )
    take.set_defaults(command=import_wants)

    forget = acts.add_parser("forget", help="inside: strike wants off the list")
    forget.add_argument("wants", nargs="*", metavar="WANT", help="as the list shows them")
    forget.add_argument("--repository", metavar="REPO", help="only of this repository")
    forget.add_argument(
        "--older", metavar="DURATION", help="those that nobody asked for in so long, such as 180d"
    )
    forget.add_argument("--all", action="store_true", help="all that there are")
    forget.set_defaults(command=forget_wants)


def list_wants(options: argparse.Namespace) -> int:
    """What was asked for most stands first."""
    context = Context.open(options.zone)
    _ = context.inside
    with context.store.ledger.read() as tx:
        found = tx.wants()
    if options.json:
        rows = [
            {
                "repository": each.repository,
                "want": each.what,
                "count": each.count,
                "last": format_time(each.last),
            }
            for each in found
        ]
        json.dump({"version": WANTS_VERSION, "wants": rows}, sys.stdout, indent=2)
        print()
    elif found:
        cells = [
            (each.repository, escaped(each.what), str(each.count), format_time(each.last))
            for each in found
        ]
        print(table([("repository", "want", "count", "last"), *cells]))
    else:
        print("nothing was asked for in vain")
    return 0


def export_wants(options: argparse.Namespace) -> int:
    """What matches ``wants: ignore`` by now stays inside, whenever it was noted."""
    context = Context.open(options.zone)
    zone = context.inside
    stream = stream_of(context, options.stream).name
    with context.store.ledger.read() as tx:
        found = tx.wants()
        theirs = {each: _source(zone, tx, each, stream) for each in {w.repository for w in found}}
    wants = [
        Want(source, each.what)
        for each in found
        if (source := theirs[each.repository]) is not None
        and not ignored(each.what, zone.wants.ignore)
    ]
    publish_file(context.files, options.file.absolute(), write(stream, wants))
    print(f"wrote {options.file}: {plural(len(set(wants)), 'want')} for stream {stream}")
    if len(wants) < len(found):
        left = plural(len(found) - len(wants), "want stays", "wants stay")
        print(f"{left} here: ignored, or not of a repository of this stream")
    print("read it before it leaves; lines may be taken out")
    return 0


def _source(zone: InsideZone, tx: ReadTransaction, name: str, stream: str) -> str | None:
    """What the outside of ``stream`` calls the repository; None if it has none such."""
    live = tx.publication(name)
    if live is not None:
        return live.source_repository if live.stream == stream else None
    theirs = (each for each in tx.repositories(stream))
    return next((each for each in theirs if zone.streams[stream].local_name(each) == name), None)


def import_wants(options: argparse.Namespace) -> int:
    """All lines are shown; any that cannot be accepted stops all of them."""
    context = Context.open(options.zone)
    zone = context.outside
    file = _read(options.file)
    judged = judge(zone, context.store, file)
    _show(judged)
    bad = [each for each in judged if each.reason]
    if bad:
        raise UsageError(
            f"{plural(len(bad), 'line')} of {len(judged)} cannot be accepted",
            where=str(options.file),
            remedy="take these lines out of the file, or add what they need to zone.yaml",
        )
    new = [each.want for each in judged if not each.known]
    if not options.accept:
        print(f"{plural(len(new), 'new want')}; --accept makes them roots")
        return 0
    if new:
        with context.store.ledger.write() as tx:
            accept(tx, file, new, context.actor)
    print(f"accepted {plural(len(new), 'want')}; the next `sync` brings what belongs to them")
    return 0


def _read(path: Path) -> WantsFile:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(
            f"cannot be read: {error.strerror}",
            where=str(path),
            remedy="name the file that `sluice wants export` wrote inside",
        ) from error
    return read(data, str(path))


def _show(judged: Sequence[Judged]) -> None:
    rows = [(_state(each), each.want.repository, escaped(each.want.what)) for each in judged]
    if rows:
        print(table([("", "repository", "want"), *rows]))


def _state(judged: Judged) -> str:
    if judged.reason:
        return judged.reason
    state = "a root already" if judged.known else "new"
    return f"{state}, and here" if judged.here else state


def forget_wants(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    _ = context.inside
    if options.older is not None:
        return _forget_old(context, options)
    if not options.wants and options.repository is None and not options.all:
        raise UsageError(
            "which wants?",
            remedy="name some as `sluice wants` shows them, or say --older 180d, or --all",
        )
    with context.store.ledger.write() as tx:
        gone = 0
        for each in _chosen(tx, options.wants, options.repository):
            gone += tx.forget_wants(each.repository, each.what)
        tx.event("wants.forgotten", repository=options.repository or "", wants=gone)
    print(f"forgot {plural(gone, 'want')}")
    return 0


def _forget_old(context: Context, options: argparse.Namespace) -> int:
    if options.wants or options.repository is not None or options.all:
        raise UsageError("--older stands alone", remedy="sluice wants forget --older 180d")
    before = context.now() - timedelta(seconds=parse_duration(options.older))
    with context.store.ledger.write() as tx:
        gone = tx.forget_old_wants(before)
        if gone:
            tx.event("wants.forgotten", wants=gone, before=before)
    if gone:
        print(f"forgot {plural(gone, 'want')}")
    return 0


def _chosen(tx: ReadTransaction, words: Sequence[str], repository: str | None) -> list[StoredWant]:
    found = tx.wants(repository)
    if not words:
        return found
    unknown = set(words) - {escaped(each.what) for each in found}
    if unknown:
        raise UsageError(
            f"there is no want {min(unknown)[:200]}", remedy="see `sluice wants` for the list"
        )
    return [each for each in found if escaped(each.what) in words]
