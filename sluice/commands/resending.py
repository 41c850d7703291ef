"""``sluice resend`` and ``heartbeat``: for a link that loses things, or is silent."""

from __future__ import annotations

import argparse
from typing import Any

from manifests.errors import UsageError
from manifests.units import format_bytes
from manifests.zone import OutsideStream
from sluice.beating import make_heartbeat
from sluice.commands.trust import stream_of
from sluice.context import Context
from sluice.progress import Progress
from sluice.resending import resend_parts
from sluice.text import plural
from transfer.resend import parse_parts, require_resendable, sent_bundle


def register(commands: Any) -> None:
    command = commands.add_parser("resend")
    command.add_argument("sequence", type=int, metavar="SEQ", help="the number of the bundle")
    command.add_argument(
        "--parts", metavar="LIST", help="which, as the inside names them: 3,7-9 (default: all)"
    )
    command.add_argument("--epoch", type=int, metavar="N", help="default: the newest")
    command.add_argument("--dry-run", action="store_true", help="say what would be handed over")
    command.add_argument("--stream", metavar="NAME", help="needed if there are several")
    command.set_defaults(command=resend)

    beating = commands.add_parser("heartbeat")
    beating.add_argument("--stream", metavar="NAME", help="needed if there are several")
    beating.set_defaults(command=heartbeat)


def resend(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    _ = context.outside
    stream = stream_of(context, options.stream)
    assert isinstance(stream, OutsideStream)
    with context.store.ledger.read() as tx:
        bundle = sent_bundle(tx, stream.name, options.sequence, options.epoch)
        sizes = {p.index: p.size for p in tx.parts(stream.name, bundle.epoch, bundle.sequence)}
    parts = list(range(1, bundle.parts + 1))
    if options.parts is not None:
        parts = parse_parts(options.parts, bundle.parts)
    if options.dry_run:
        require_resendable(context.store, bundle)
        size, verb = sum(sizes[part] for part in parts), "would hand over"
    else:
        progress = Progress(stream.name, "to hand over")
        size = resend_parts(context, stream, bundle, parts, progress)
        progress.done()
        verb = "handed over"
    print(
        f"{stream.name}: {verb} {plural(len(parts), 'part')} of bundle {bundle.sequence} again,"
        f" {format_bytes(size)}"
    )
    return 0


def heartbeat(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    _ = context.outside
    stream = stream_of(context, options.stream)
    assert isinstance(stream, OutsideStream)
    made = make_heartbeat(context, stream)
    if made is None:
        raise UsageError(
            "no heartbeat can be made now",
            where=stream.name,
            remedy="pack a first bundle of this epoch; a draft that somebody signed already has"
            " the next number, so release or reject it first",
        )
    print(f"{stream.name}: released heartbeat {made.sequence}; `send` hands it over")
    return 0
