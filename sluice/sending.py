"""From the spool to the carrier: hand over each released part once, and remember it.

A part counts as sent when the carrier has it durably *and* the ledger says so.
A crash in between offers it again, which carriers take for the same part.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from cds.base import Outlet
from manifests.zone import OutsideStream
from sluice.carriers import outlet_of
from sluice.context import Context
from sluice.progress import Progress
from store.records import BundleRecord, PartRecord
from transfer.recreate import recreate
from transfer.resend import earlier_names
from transfer.spool import Spool

RELEASED, SENT, ENDED = "released", "sent", "ended"


@dataclass(slots=True)
class SendReport:
    """What `send_stream` did. ``ended`` counts files that `retain` took away."""

    parts: int = 0
    bytes: int = 0
    ended: int = 0
    sequences: list[int] = field(default_factory=list)


def send_stream(
    context: Context, stream: OutsideStream, *, dry_run: bool, progress: Progress
) -> SendReport:
    """Hand over what was not sent yet, oldest bundle first, then end old files.

    Raises CarrierError, NoSpace, StoreBusy (another send of this stream runs).
    """
    result = SendReport()
    store = context.store
    with store.locks.named(f"send-{stream.name}"):
        if not dry_run:
            _tidy_spool(context, stream)
        waiting = _waiting(context, stream)
        result.sequences = [bundle.sequence for bundle, _ in waiting]
        for _, parts in waiting:
            result.parts += len(parts)
            result.bytes += sum(part.size for part in parts)
        progress.expect(result.parts, result.bytes)
        if dry_run:
            return result
        with _open_outlet(context, stream) as outlet:
            for bundle, parts in waiting:
                for part in parts:
                    _send_part(context, outlet, bundle, part)
                    progress.advance(1, part.size)
                _bundle_sent(context, bundle)
            result.ended = _end_old(context, stream, outlet)
    return result


@contextmanager
def _open_outlet(context: Context, stream: OutsideStream) -> Iterator[Outlet]:
    """The carrier, and what it cannot vouch for in the end is sent by the next call."""
    outlet = outlet_of(context, stream)
    try:
        with closing(outlet):
            yield outlet
    finally:
        _send_anew(context, stream, outlet.in_doubt())


def _send_anew(context: Context, stream: OutsideStream, names: list[str]) -> None:
    """Parts that were handed over and may be lost wait once more."""
    if not names:
        return
    with context.store.ledger.write(context.actor) as tx:
        for bundle in tx.bundles(stream.name):
            doubtful = [
                part
                for part in tx.parts(bundle.stream, bundle.epoch, bundle.sequence)
                if part.name in names
            ]
            for part in doubtful:
                tx.set_part(replace(part, state=RELEASED))
            if doubtful:
                tx.update_bundle(stream.name, bundle.epoch, bundle.sequence, sent=None)


def _bundle_sent(context: Context, bundle: BundleRecord) -> None:
    with context.store.ledger.write(context.actor) as tx:
        tx.update_bundle(bundle.stream, bundle.epoch, bundle.sequence, sent=context.now())
        tx.event(
            "bundle.sent",
            bundle.stream,
            epoch=bundle.epoch,
            sequence=bundle.sequence,
            parts=bundle.parts,
        )
    # Only now: a crash before leaves the spool as the place to send from.
    Spool(context.files, context.spool, bundle.stream).drop_bundle(bundle)


def _waiting(
    context: Context, stream: OutsideStream
) -> list[tuple[BundleRecord, list[PartRecord]]]:
    found = []
    with context.store.ledger.read() as tx:
        for bundle in reversed(tx.bundles(stream.name)):
            if bundle.released is None or bundle.sent is not None:
                continue
            parts = tx.parts(bundle.stream, bundle.epoch, bundle.sequence)
            found.append((bundle, [part for part in parts if part.state == RELEASED]))
    return found


def _tidy_spool(context: Context, stream: OutsideStream) -> None:
    """Remove the parts of sent bundles that a killed run left."""
    folder = context.spool / stream.name
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if not there:
        return
    spool = Spool(context.files, context.spool, stream.name)
    with context.store.ledger.read() as tx:
        for bundle in tx.bundles(stream.name):
            if bundle.sent is None:
                continue
            parts = tx.parts(stream.name, bundle.epoch, bundle.sequence)
            if any(spool.file_name(part) in there for part in parts):
                spool.drop_bundle(bundle)


def _send_part(context: Context, outlet: Outlet, bundle: BundleRecord, part: PartRecord) -> None:
    source = _source(context, bundle, part)
    outlet.offer(part.name, source)
    with context.store.ledger.write(context.actor) as tx:
        tx.set_part(replace(part, state=SENT))


def _source(context: Context, bundle: BundleRecord, part: PartRecord) -> Path:
    """The part in the spool; made again if somebody removed it."""
    source = context.spool / bundle.stream / f"{part.name}.tar"
    if not source.is_file():
        context.files.mkdir(source.parent)
        recreate(context.store, bundle, part.index, source)
    return source


def _end_old(context: Context, stream: OutsideStream, outlet: Outlet) -> int:
    """Take away what `retain` ended, where the CDS mirrors the outbox."""
    if stream.retain is None:
        return 0
    sent: dict[str, float] = {}
    known: dict[str, PartRecord] = {}
    with context.store.ledger.read() as tx:
        for bundle in tx.bundles(stream.name):
            if bundle.sent is None:
                continue
            for part in tx.parts(bundle.stream, bundle.epoch, bundle.sequence):
                if part.state == SENT:
                    sent[part.name] = bundle.sent.timestamp()
                    known[part.name] = part
            for _, name, moment in earlier_names(tx, bundle):
                sent[name] = moment.timestamp()
    ended = outlet.expire(context.now().timestamp(), sent)
    with context.store.ledger.write(context.actor) as tx:
        for name in filter(known.__contains__, ended):
            tx.set_part(replace(known[name], state=ENDED))
    return len(ended)
