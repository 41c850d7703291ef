"""``sluice slip``: written inside, carried out by a person, accepted outside."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any

from manifests.durable import publish_file
from manifests.errors import ForeignSlip, UsageError
from manifests.slip import MAX_SLIP, format_parts, read, write
from manifests.wants import escaped
from manifests.zone import InsideStream, OutsideStream
from sluice.commands.trust import stream_of
from sluice.context import Context
from sluice.keys import passphrase_from
from sluice.progress import Progress
from sluice.resending import resend_parts
from sluice.slips import (
    Accepted,
    accept_slip,
    make_slip,
    pin_slip_key,
    public_text,
    slip_signer,
)
from sluice.text import plural, some

_KEY = re.compile(r"[0-9a-f]{64}")


def register(commands: Any) -> None:
    slip = commands.add_parser(
        "slip",
        usage="sluice slip [FILE] | slip key | slip trust KEY | slip accept FILE",
    )
    slip.add_argument(
        "words",
        nargs="*",
        metavar="FILE",
        help="inside: where to write (default: standard output), or the word `key`, which shows"
        " the key that signs; outside: `trust KEY`, `accept FILE`",
    )
    slip.add_argument("--stream", metavar="NAME", help="needed if there are several")
    slip.add_argument("--no-wants", action="store_true", help="inside: leave the wants out")
    slip.add_argument("--resend", action="store_true", help="accept: send again what is missing")
    slip.set_defaults(command=slip_command)


def slip_command(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    match options.words:
        case ["key"]:
            return _show_key(context, options)
        case ["trust", key]:
            return _trust(context, options, key)
        case ["accept", file]:
            return _accept(context, options, Path(file))
        case [] | [_]:
            return _write(context, options)
    raise UsageError("not a call of slip", remedy="see: sluice slip --help")


def _inside(context: Context, options: argparse.Namespace) -> InsideStream:
    _ = context.inside
    stream = stream_of(context, options.stream)
    assert isinstance(stream, InsideStream)
    return stream


def _write(context: Context, options: argparse.Namespace) -> int:
    stream = _inside(context, options)
    signer = slip_signer(context, stream.name, passphrase_from(os.environ))
    slip = make_slip(context, stream, public_text(signer), wants=not options.no_wants)
    data = write(slip, lambda text: bytes.fromhex(signer.sign(text).signature))
    if not options.words:
        sys.stdout.write(data.decode("ascii"))
        return 0
    target = Path(options.words[0]).absolute()
    publish_file(context.files, target, data)
    missing = plural(len(slip.missing), "bundle")
    print(f"wrote {target.name}: whole up to bundle {slip.whole} of {slip.sequence}, {missing}"
          f" missing or in part, {plural(len(slip.wants), 'want')}")  # fmt: skip
    print("read it before it leaves; not one byte may change")
    return 0


def _show_key(context: Context, options: argparse.Namespace) -> int:
    stream = _inside(context, options)
    print(public_text(slip_signer(context, stream.name, passphrase_from(os.environ))))
    return 0


def _trust(context: Context, options: argparse.Namespace, key: str) -> int:
    _ = context.outside
    stream = stream_of(context, options.stream)
    wanted = key.replace(" ", "").lower()
    if not _KEY.fullmatch(wanted):
        raise UsageError(
            "not a key: 64 hexadecimal digits", remedy="give what `sluice slip key` shows inside"
        )
    with context.store.ledger.write(context.actor) as tx:
        pin_slip_key(tx, stream.name, wanted)
    print(f"{stream.name}: slips signed by {wanted} are believed from now on")
    return 0


def _accept(context: Context, options: argparse.Namespace, path: Path) -> int:
    zone = context.outside
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SLIP + 1)
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=str(path)) from error
    slip = read(data, str(path))
    if options.stream not in (None, slip.stream) or slip.stream not in zone.streams:
        raise ForeignSlip(
            f"it is of the stream {slip.stream}",
            where=str(path),
            remedy=f"streams here: {', '.join(zone.streams) or 'none'}",
        )
    stream = zone.streams[slip.stream]
    result = accept_slip(context, stream, slip, data)
    _tell(stream, result, sending=options.resend)
    if options.resend:
        for bundle, parts in result.resend:
            progress = Progress(stream.name, "to hand over")
            resend_parts(context, stream, bundle, parts, progress)
            progress.done()
    return 0


def _tell(stream: OutsideStream, result: Accepted, *, sending: bool) -> None:
    slip, name = result.slip, stream.name
    again = " (accepted before)" if result.again else ""
    print(f"{name}: confirmed up to bundle {slip.whole}{again}")
    for bundle, parts in result.resend:
        which = format_parts(parts)
        how = "sent again" if sending else f"`resend {bundle.sequence} --parts {which}` brings it"
        print(f"{name}: missing inside: bundle {bundle.sequence} part {which}; {how}")
    if result.gone:
        numbers = some([str(number) for number in result.gone])
        base = f"starts from bundle {slip.whole}" if slip.whole else "is a full one"
        print(f"{name}: bundle {numbers} cannot be sent again; the next `pack` {base}")
    if slip.wants:
        print(f"{name}: {plural(result.wants, 'new want')} of {len(slip.wants)} accepted")
    for want, reason in result.refused[:20]:
        print(f"{name}: not accepted: {want.repository} {escaped(want.what)}: {reason}")
