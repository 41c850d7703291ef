"""``sluice adopt``: an existing mirror on both sides, so that its files need not cross."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from manifests.errors import HeldError, UsageError
from manifests.state import format_time
from manifests.units import format_bytes
from manifests.zone import OutsideStream, OutsideZone
from sluice.adopting import adopt_folder, assume_inside, check_name, forget, known, write_list
from sluice.commands.trust import stream_keys, stream_of
from sluice.context import Context
from sluice.progress import Progress
from sluice.text import fingerprint, plural, table
from store.adopt import SHOWN, Taken, measure
from store.adopted import all_adopted
from transfer.assumed import assumed

_LINKED = """\
the files are shared with the folder now: they are read-only, and whoever writes to them
spoils what crosses or is served. Nobody may change them; removing the folder is all right."""


def register(commands: Any) -> None:
    command = commands.add_parser("adopt")
    command.add_argument("repository", nargs="?", metavar="REPO", help="default: list them")
    command.add_argument("folder", nargs="?", type=Path, metavar="DIR")
    command.add_argument("--dry-run", action="store_true", help="say what would be taken")
    command.add_argument(
        "--link",
        action="store_true",
        help="share the files by hard link instead of copying; nobody may change them any more",
    )
    command.add_argument(
        "--list", type=Path, metavar="FILE", help="write what was adopted, for the other side"
    )
    command.add_argument(
        "--inside",
        nargs="+",
        metavar="DIGEST|FILE",
        help="outside: what the inside adopted; it need not cross",
    )
    command.add_argument("--stream", metavar="NAME", help="outside, for --inside")
    command.add_argument("--forget", action="store_true", help="let go of what was adopted")
    command.set_defaults(command=adopt_mirror)


def adopt_mirror(options: argparse.Namespace) -> int:
    """Ends with 3 when files were left out."""
    context = Context.open(options.zone)
    name, folder = options.repository, options.folder
    if name is None:
        return _show(context)
    check_name(context, name)
    if options.forget:
        print(f"{name}: {'forgotten' if forget(context, name) else 'nothing was adopted'}")
        return 0
    if folder is None and options.list is None and options.inside is None:
        raise UsageError("which folder?", where=name, remedy=f"say: adopt {name} DIR")
    if options.dry_run:
        return _dry_run(name, folder)
    code = 0
    if folder is not None:
        code = _take(context, name, folder, link=options.link)
    if options.list is not None:
        write_list(context, known(context, name).tree, options.list)
        print(f"{name}: its list is in {options.list}")
    if options.inside is not None:
        _assume(context, name, options)
    return code


def _dry_run(name: str, folder: Path | None) -> int:
    if folder is None:
        raise UsageError("which folder?", where=name, remedy=f"say: adopt {name} DIR --dry-run")
    found = measure(folder)
    print(f"{name}: {plural(found.files, 'file')}, {format_bytes(found.bytes)} would be taken")
    return _left_out(name, found)


def _take(context: Context, name: str, folder: Path, *, link: bool) -> int:
    progress = Progress(name, "to look at")
    try:
        taken = adopt_folder(context, name, folder, link=link, progress=progress)
    finally:
        progress.done()
    assert taken.tree is not None
    before = f" ({taken.again} by an earlier call)" if taken.again else ""
    print(
        f"{name}: {plural(taken.files, 'file')}, {format_bytes(taken.bytes)} adopted{before}\n"
        f"digest of what was adopted: {fingerprint(taken.tree)}"
    )
    if link:
        print(f"note: {_LINKED}")
    if isinstance(context.zone, OutsideZone):
        print("next: adopt the same files inside; if both sides print the same digest, here:")
        print(f"  sluice -z {context.zone.folder} adopt {name} --inside {taken.tree}")
    else:
        print("next: outside, where the same files were adopted, before the first `pack`:")
        print(f"  sluice -z OUT adopt {name} --inside {taken.tree}")
    return _left_out(name, taken)


def _left_out(name: str, taken: Taken) -> int:
    if taken.links:
        print(f"{name}: {plural(taken.links, 'symbolic link')} passed over, as they have no bytes")
    for one in taken.named:
        path = one.path.encode("unicode_escape").decode()
        print(f"{name}: left out: {path}: {one.why}")
    if taken.refused > SHOWN:
        print(f"{name}: left out: {taken.refused - SHOWN} more")
    return HeldError.exit_code if taken.refused else 0


def _assume(context: Context, name: str, options: argparse.Namespace) -> None:
    zone = context.outside
    carrying = [one for one in zone.streams.values() if name in one.repositories]
    stream = (
        carrying[0]
        if options.stream is None and len(carrying) == 1
        else stream_of(context, options.stream)
    )
    assert isinstance(stream, OutsideStream)
    said = options.inside[0] if len(options.inside) == 1 else "".join(options.inside).lower()
    tree = assume_inside(context, stream, name, said)
    text = context.store.tree(tree)
    print(
        f"{name}: the inside of {stream.name} is taken to hold {plural(len(text), 'file')}"
        f" ({fingerprint(tree)})"
    )
    print("the next bundle leaves them out; `pack --full` relies on nothing and brings all")


def _show(context: Context) -> int:
    rows = [("repository", "adopted", "digest")]
    with context.store.ledger.read() as tx:
        for one in all_adopted(tx):
            rows.append((one.repository, format_time(one.at), fingerprint(one.tree)))
        for stream in context.zone.streams.values():
            if isinstance(stream, OutsideStream):
                epoch = stream_keys(context, stream).trusted().epoch
                for name, tree in assumed(tx, stream.name, epoch).items():
                    rows.append((name, f"assumed inside ({stream.name})", fingerprint(tree)))
    print(table(rows) if len(rows) > 1 else "nothing was adopted")
    return 0
