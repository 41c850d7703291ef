"""``sluice sync``: upstream to snapshot."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from manifests.errors import SluiceError, UsageError
from manifests.units import format_bytes
from manifests.zone import OutsideZone, Repository
from mirror.report import SyncReport
from mirror.sync import sync
from sluice.context import Context
from sluice.errors import report
from sluice.notices.deliver import tell_afterwards
from sluice.progress import Progress
from sluice.text import plural

_SHOWN_ADVICE = 10


def register(commands: Any) -> None:
    command = commands.add_parser("sync")
    command.add_argument("repositories", nargs="*", metavar="REPO", help="default: all")
    command.add_argument("--dry-run", action="store_true", help="say what would be fetched")
    command.add_argument(
        "--accept-missing",
        action="append",
        default=[],
        metavar="PATH",
        help="this file is broken upstream for good; the inside is told. Until the file is there"
        " again (repeatable)",
    )
    command.add_argument(
        "--withdraw-missing",
        action="append",
        default=[],
        metavar="PATH",
        help="require this file again, which was accepted as missing (repeatable)",
    )
    command.add_argument("--reason", default="", metavar="TEXT", help="why, for --accept-missing")
    command.add_argument(
        "--accept-removals",
        action="store_true",
        help="let this sync drop more files than max_removals allows",
    )
    command.set_defaults(command=sync_repositories)


def chosen(zone: OutsideZone, names: list[str]) -> list[Repository]:
    """The repositories that a command line names. Raises UsageError for an unknown one."""
    for name in names:
        if name not in zone.repositories:
            known = ", ".join(zone.repositories) or "none yet; add them to zone.yaml"
            raise UsageError(f"there is no repository {name}", remedy=f"repositories: {known}")
    return [zone.repositories[name] for name in names or zone.repositories]


def sync_repositories(options: argparse.Namespace) -> int:
    """One failing repository never stops the others; the worst exit code is returned."""
    context = Context.open(options.zone)
    repositories = chosen(context.outside, options.repositories)
    if not repositories:
        raise UsageError(
            "this zone mirrors nothing yet",
            where=str(context.zone.folder / "zone.yaml"),
            remedy="name repositories below `repositories:`; the file has an example",
        )
    for option in ("accept_missing", "withdraw_missing"):
        if getattr(options, option) and len(repositories) > 1:
            raise UsageError(
                f"--{option.replace('_', '-')} belongs to one repository",
                remedy="name it: sync REPO ...",
            )
    worst = 0
    for repository in repositories:
        progress = Progress(repository.name, "to fetch")
        try:
            result = sync(
                context.store,
                repository,
                accept_missing=options.accept_missing,
                withdraw_missing=options.withdraw_missing,
                accept_removals=options.accept_removals,
                reason=options.reason,
                dry_run=options.dry_run,
                actor=context.actor,
                progress=progress,
                now=context.now,
            )
        except SluiceError as error:
            progress.done()
            report(error, about=repository.name)
            worst = max(worst, error.exit_code)
            continue
        progress.done()
        _tell(result)
    if not options.dry_run:
        tell_afterwards(context)
    return worst


def _tell(result: SyncReport) -> None:
    name = result.repository
    counts = f"{result.added} added, {result.updated} changed, {result.removed} removed"
    if result.dry_run:
        print(f"{name}: {counts}; {format_bytes(result.bytes_needed)} to fetch")
        return
    if result.snapshot is None:
        print(f"{name}: unchanged")
    else:
        snapshot = result.snapshot
        print(
            f"{name}: snapshot {snapshot.serial}: {plural(snapshot.files, 'file')},"
            f" {format_bytes(snapshot.bytes)} ({counts};"
            f" {format_bytes(result.bytes_downloaded)} fetched)"
        )
    for path in result.returned:
        print(f"{name}: {path} is there again: no longer accepted as missing")
    for problem in result.problems[:_SHOWN_ADVICE]:
        print(f"{name}: note: {problem.path}: {problem.what}", file=sys.stderr)
    if len(result.problems) > _SHOWN_ADVICE:
        more = len(result.problems) - _SHOWN_ADVICE
        print(f"{name}: and {plural(more, 'more note')}", file=sys.stderr)
