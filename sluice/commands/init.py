"""``sluice init``: make a zone."""

from __future__ import annotations

import argparse
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from manifests.durable import publish_file
from manifests.errors import UsageError
from manifests.state import is_name
from manifests.zone import FILE_NAME, ZoneKind, commented_example
from sluice.ceremonies import StreamKeys
from sluice.commands.trust import add_key_options, make_keys, where_root_key_lies
from sluice.context import Context
from sluice.keys import passphrase_from
from sluice.pinned import root_in
from sluice.text import fingerprint
from store.seam import Seam


def register(commands: Any) -> None:
    init = commands.add_parser("init")
    kinds = init.add_subparsers(metavar="outside|inside", required=True)

    outside = kinds.add_parser("outside", help="the zone that mirrors and seals bundles")
    outside.add_argument("folder", type=Path, metavar="DIR")
    outside.add_argument("--stream", default="hq", metavar="NAME", help="default: hq")
    add_key_options(outside)
    outside.set_defaults(command=init_outside)

    inside = kinds.add_parser("inside", help="the zone that imports and serves")
    inside.add_argument("folder", type=Path, metavar="DIR")
    inside.add_argument("--stream", metavar="NAME", help="default: the one that the root names")
    inside.add_argument(
        "--root", type=Path, required=True, metavar="FILE", help="the outside's exported root"
    )
    inside.set_defaults(command=init_inside)


def init_outside(options: argparse.Namespace) -> int:
    folder, stream = _fresh(options.folder), options.stream
    _check_name(stream)
    seam = Seam()
    seam.mkdir(folder)
    keys = StreamKeys(
        seam,
        stream,
        folder / "keys" / stream,
        options.root_key_to.absolute() if options.root_key_to else None,
        passphrase=passphrase_from(os.environ),
    )
    root = make_keys(keys, options, datetime.now(UTC))
    seam.mkdir(folder / "outbox")
    _finish(seam, folder, ZoneKind.OUTSIDE, stream)
    print(f"outside zone in {options.folder}, stream {stream}")
    print(f"root of trust: {fingerprint(root.fingerprint)}")
    where_root_key_lies(keys, options)
    print(f"next: name repositories in {folder / FILE_NAME}, then")
    print(f"  sluice -z {options.folder} sync")
    print(f"  sluice -z {options.folder} trust export root.json   (for the inside)")
    return 0


def init_inside(options: argparse.Namespace) -> int:
    folder = _fresh(options.folder)
    root = root_in(
        options.root,
        what="cannot be read",
        remedy="make it with: sluice -z OUT trust export FILE",
    )
    stream = options.stream or root.stream
    _check_name(stream)
    if stream != root.stream:
        raise UsageError(
            f"this root of trust belongs to the stream {root.stream}, not {stream}",
            where=str(options.root),
            remedy=f"leave --stream out, or say --stream {root.stream}",
        )
    seam = Seam()
    for part in ("inbox", "trust"):
        seam.mkdir(folder / part)
    publish_file(seam, folder / "trust" / "root.json", root.data)
    _finish(seam, folder, ZoneKind.INSIDE, stream)
    print(f"inside zone in {options.folder}, stream {stream}")
    print(f"pinned root of trust: {fingerprint(root.fingerprint)}")
    print("compare it with what the outside prints: sluice -z OUT trust show")
    print(f"next: put parts into {folder / 'inbox'}, then")
    print(f"  sluice -z {options.folder} receive --once")
    print(f"  sluice -z {options.folder} serve")
    return 0


def _fresh(folder: Path) -> Path:
    folder = folder.absolute()
    if (folder / FILE_NAME).exists():
        raise UsageError(
            "there is a zone already", where=str(folder), remedy="choose another folder"
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise UsageError(
            "the folder is not empty",
            where=str(folder),
            remedy="choose an empty folder; if an earlier init broke off, remove it first",
        )
    return folder


def _check_name(stream: str) -> None:
    if not is_name(stream):
        raise UsageError(
            f"{stream[:80]!r} is not a name for a stream",
            remedy="use 1 to 64 of a-z 0-9 . _ - and begin with a letter or digit",
        )


def _finish(seam: Seam, folder: Path, kind: ZoneKind, stream: str) -> None:
    """zone.yaml comes last: with it the zone exists."""
    publish_file(seam, folder / FILE_NAME, commented_example(kind, stream).encode())
    _ = Context.open(folder).store
