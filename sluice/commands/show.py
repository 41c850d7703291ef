"""``sluice show``: a bundle, and every item that it changed, for people, JSON and CSV."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Mapping
from typing import Any, Final, TextIO

from manifests.changelist import Head, Item, Listed
from manifests.provenance import Origin
from manifests.units import format_bytes
from sluice.commands.trust import stream_of
from sluice.context import Context
from sluice.showing import CHANGED, FORGOTTEN, Part, Shown, head_of, look_up, opened
from sluice.text import cell, plural, printable, when
from store.store import Store

VERSION: Final = 1
"""Of the JSON; a change of what is there raises it, an addition does not."""
_LISTED = 1000
_PAIRED = 10_000
_VERSIONED = ("package", "artifact")
"""Kinds whose next version has another path."""
_SIGNS = {"added": "+", "updated": "~", "removed": "-"}

COLUMNS = (
    "stream", "epoch", "sequence", "repository", "format", "serial", "change", "kind", "what",
    "name", "version", "path", "size", "digest", "old_size", "old_digest", "upstream", "signature",
    "checked", "actor", "synced", "by", "at", "replaces",
)  # fmt: skip


def register(commands: Any) -> None:
    command = commands.add_parser("show", help="what a bundle changed")
    command.add_argument("sequence", type=int, metavar="SEQ", help="the bundle's number")
    how = command.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="everything, for programs")
    how.add_argument("--csv", action="store_true", help="one line for each item")
    command.add_argument("--all", action="store_true", help=f"more than {_LISTED} items of each")
    command.add_argument("--stream", metavar="NAME", help="needed if there are several")
    command.add_argument("--epoch", type=int, metavar="N", help="default: the newest that has it")
    command.set_defaults(command=show)


def show(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    stream = stream_of(context, options.stream)
    shown = look_up(context.store, stream, options.sequence, options.epoch)
    if options.json:
        write_json(context.store, shown, sys.stdout)
    elif options.csv:
        write_csv(context.store, shown, sys.stdout)
    else:
        tell(context.store, shown, None if options.all else _LISTED)
    return 0


# For people


def tell(store: Store, shown: Shown, limit: int | None) -> None:
    """In words, so many items of each repository (None: all)."""
    bundle, manifest = shown.bundle, shown.manifest
    print(
        f"{bundle.stream}: bundle {bundle.sequence} of epoch {bundle.epoch}: {bundle.kind},"
        f" wire {manifest.wire}, {plural(bundle.parts, 'part')}, {format_bytes(bundle.size)}"
    )
    done = "released" if shown.zone == "outside" else "imported"
    by = f" by {printable(shown.by)}" if shown.by else ""
    print(f"  created {when(bundle.created)}, {done} {when(shown.at)}{by}")
    if manifest.base.rows:
        rows = ", ".join(f"{row.repository} {row.serial}" for row in manifest.base.rows)
        print(f"  base: {rows}")
    if not shown.accounts and bundle.kind != "heartbeat":
        print("  nothing was written down of what it changed here")
    for part in shown.parts:
        _tell_part(store, part, limit)


def _tell_part(store: Store, part: Part, limit: int | None) -> None:
    row, listed = part.row, part.listed
    name = f"{row.repository} ({row.format}) snapshot {row.serial}"
    if listed is None:
        print(f"{name}: {part.status}{part.reason and ': '}{printable(part.reason)}")
        return
    counts = f"{listed.added} added, {listed.updated} updated, {listed.removed} removed"
    if part.status == FORGOTTEN:
        print(f"{name}: {counts}; the items themselves are forgotten")
        return
    with opened(store, listed) as changes:
        head = changes.head
        before = f", before {head.serial_before}" if head.serial_before is not None else ""
        print(f"{name}{before}: {counts}")
        for line in _origin_lines(head, part):
            print(f"  {line}")
        replaced = _replaced(store, listed)
        for item in itertools.islice(changes.items(), limit):
            print(f"  {_line(item, replaced)}")
    total = listed.added + listed.updated + listed.removed
    if limit is not None and total > limit:
        print(f"  ... and {total - limit} more (--all)")


def _replaced(store: Store, listed: Listed) -> dict[tuple[str, str], str]:
    """By kind and name: the version that went, where one version of it came and one went.

    Nothing for long lists, so that any number of items needs little memory.
    """
    if not listed.added or not listed.removed or listed.added + listed.removed > _PAIRED:
        return {}
    came: dict[tuple[str, str], set[str]] = {}
    went: dict[tuple[str, str], set[str]] = {}
    with opened(store, listed) as changes:
        for item in changes.items():
            if item.kind in _VERSIONED and item.change != "updated":
                side = came if item.change == "added" else went
                side.setdefault((item.kind, item.name), set()).add(item.version)
    return {
        key: next(iter(versions))
        for key, versions in went.items()
        if len(versions) == 1 and len(came.get(key, ())) == 1 and came[key] != versions
    }


def _instead_of(item: Item, replaced: Mapping[tuple[str, str], str]) -> str:
    """The version in whose place an added item stands; "" for none."""
    return replaced.get((item.kind, item.name), "") if item.change == "added" else ""


def _line(item: Item, replaced: Mapping[tuple[str, str], str]) -> str:
    old = _instead_of(item, replaced)
    instead = f"  (in the place of {printable(old)})" if old else ""
    asked = f"  (asked for by {printable(item.by)})" if item.by else ""
    where = "" if item.what == item.path else f"  {printable(item.path)}"
    sign = _SIGNS[item.change]
    return f"{sign} {printable(item.what)}  {format_bytes(item.size)}{where}{instead}{asked}"


def _origin_lines(head: Head, part: Part) -> list[str]:
    lines = []
    if head.origin is not None:
        origin = head.origin
        by = f" by {printable(origin.actor)}" if origin.actor else ""
        source = f" from {printable(origin.upstream)}" if origin.upstream else ""
        lines.append(f"synced {when(origin.synced)}{by}{source}; signatures: {_signature(origin)}")
    if part.account is not None and head.checked is not None:
        own = "signatures verified here, too" if head.checked else "no signatures demanded here"
        by = f" by {printable(part.account.by)}" if part.account.by else ""
        lines.append(f"published {when(part.account.at)}{by}; {own}")
    if head.note:
        lines.append(f"note: {printable(head.note)}")
    return lines


def _signature(origin: Origin) -> str:
    if origin.signature != "good":
        return origin.signature
    what = "indexes and packages" if origin.packages else "good"
    keys = f" (keys {', '.join(map(printable, origin.keys))})" if origin.keys else ""
    return f"good, {what}{keys}" if origin.packages else f"good{keys}"


# For programs


def write_json(store: Store, shown: Shown, out: TextIO) -> None:
    """One object; each item on a line of its own, so that any number needs little memory."""
    bundle, manifest = shown.bundle, shown.manifest
    about = {
        "version": VERSION,
        "zone": shown.zone,
        "stream": bundle.stream,
        "epoch": bundle.epoch,
        "sequence": bundle.sequence,
        "kind": bundle.kind,
        "wire": manifest.wire,
        "writer": manifest.writer,
        "manifest": bundle.manifest,
        "previous": bundle.previous or None,
        "created": when(bundle.created),
        "at": None if shown.at is None else when(shown.at),
        "by": shown.by,
        "parts": bundle.parts,
        "bytes": bundle.size,
        "base": {row.repository: row.serial for row in manifest.base.rows},
        "accounts": [
            {"digest": digest, "at": when(account.at), "by": account.by}
            for digest, account, _ in shown.accounts
        ],
    }
    out.write(json.dumps(about)[:-1] + ', "repositories": [')
    for number, part in enumerate(shown.parts):
        out.write(",\n" if number else "\n")
        out.write(json.dumps(_about_part(part, head_of(store, part)))[:-1] + ', "items": [')
        if part.listed is not None and part.status == CHANGED:
            replaced = _replaced(store, part.listed)
            with opened(store, part.listed) as changes:
                for place, item in enumerate(changes.items()):
                    out.write((",\n" if place else "\n") + json.dumps(_about_item(item, replaced)))
        out.write("]}")
    out.write("]}\n")


def _about_part(part: Part, head: Head | None) -> dict[str, object]:
    row, listed, account = part.row, part.listed, part.account
    origin = None if head is None else head.origin
    return {
        "repository": row.repository,
        "format": row.format,
        "serial": row.serial,
        "tree": row.tree,
        "status": part.status,
        "reason": part.reason,
        "serial_before": None if head is None else head.serial_before,
        "added": listed and listed.added,
        "updated": listed and listed.updated,
        "removed": listed and listed.removed,
        "list": listed and listed.digest,
        "at": account and when(account.at),
        "by": "" if account is None else account.by,
        "checked": None if head is None else head.checked,
        "note": "" if head is None else head.note,
        "provenance": None if origin is None else origin.to_json(),
    }


def _about_item(item: Item, replaced: Mapping[tuple[str, str], str]) -> dict[str, object]:
    about: dict[str, object] = item._asdict() | {"replaces": _instead_of(item, replaced)}
    if item.change != "updated":
        about |= {"old_size": None, "old_digest": None}
    return about


def write_csv(store: Store, shown: Shown, out: TextIO) -> None:
    """RFC 4180, a header first. Cells are defused for spreadsheets and terminals."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    bundle = shown.bundle
    for part in shown.parts:
        if part.listed is None or part.status != CHANGED:
            continue
        row, account = part.row, part.account
        replaced = _replaced(store, part.listed)
        with opened(store, part.listed) as changes:
            head = changes.head
            origin = head.origin or Origin(row.repository, row.serial)
            first = (bundle.stream, bundle.epoch, bundle.sequence, row.repository, row.format)
            checked = {None: "", True: "good", False: "unchecked"}[head.checked]
            synced = "" if origin.synced is None else when(origin.synced)
            done = ("", "") if account is None else (cell(account.by), when(account.at))
            for item in changes.items():
                updated = item.change == "updated"
                writer.writerow(
                    (
                        *first, row.serial, item.change, item.kind, cell(item.what),
                        cell(item.name), cell(item.version), cell(item.path), item.size,
                        item.digest, item.old_size if updated else "", item.old_digest,
                        cell(origin.upstream), origin.signature, checked,
                        cell(item.by or origin.actor), synced, *done,
                        cell(_instead_of(item, replaced)),
                    )
                )  # fmt: skip
