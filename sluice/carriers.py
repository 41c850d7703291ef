"""From a stream's settings to its carrier's two halves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cds.base import Inlet, Outlet
from cds.filedrop import FileInbox, FileOutbox
from cds.media import Begun, Intake, Label, MediaOutbox
from cds.tcp import Listener, TcpOutlet
from manifests.errors import StoreError
from manifests.zone import InsideStream, OutsideStream
from sluice.context import Context
from sluice.text import plural
from sluice.volumes import Taken, last_begun, note_begun, note_taken, read_taken
from transfer.arrivals import Report, Verdict

_FIRST_PEER = 10.0
"""Seconds that ``receive --once`` waits for somebody to send."""
_QUIET = 2.0
"""Seconds without a frame after which what was sent has come."""


def outlet_of(context: Context, stream: OutsideStream) -> Outlet:
    """The sending half; whoever asks closes it."""
    if stream.tcp is not None:
        return TcpOutlet(stream.tcp)
    if stream.media is not None and stream.volume is not None:
        return _media_outlet(context, stream, stream.media, stream.volume)
    assert stream.outbox is not None
    return FileOutbox(context.files, stream.outbox, names=stream.names, retain=stream.retain)


def _media_outlet(context: Context, stream: OutsideStream, folder: Path, volume: int) -> Outlet:
    ledger = context.store.ledger

    def begun(last: Begun) -> None:
        with ledger.write(context.actor) as tx:
            note_begun(tx, stream.name, last)

    def written(label: Label, parts: int) -> None:
        print(f"{stream.name}: volume {label.volume} is complete: {plural(parts, 'part')}")

    with ledger.read() as tx:
        last = last_begun(tx, stream.name)
    return MediaOutbox(
        context.files, folder, stream.name, volume, last=last, begun=begun, written=written
    )


def inlet_of(context: Context, stream: InsideStream) -> Inlet:
    """The receiving half; a folder that :func:`listening` or a :class:`Slot` may fill."""
    return FileInbox(
        context.files,
        stream.inbox,
        context.zone.folder / "quarantine" / stream.name,
        after=stream.after,
        done=stream.done,
        settle=stream.settle,
        names=stream.names,
    )


@contextmanager
def listening(
    context: Context, stream: InsideStream, landed: Callable[[], None]
) -> Iterator[Listener | None]:
    """A running listener, if the stream has one; ``landed`` is called for each new part.

    Raises CarrierError if it cannot listen, StoreBusy if another process does for this stream.
    """
    if stream.tcp is None:
        yield None
        return
    # Two would tidy up below each other, even on different ports.
    with context.store.locks.named(f"listen-{stream.name}"):
        listener = Listener(
            context.files,
            stream.inbox,
            stream.tcp,
            reserve_free=context.zone.reserve_free,
            landed=lambda path: landed(),
        )
        with listener:
            host, port = listener.address
            print(f"{stream.name}: listening on {host}:{port}", flush=True)
            yield listener


class Slot:
    """Where media of a stream are inserted, and what the ledger remembers of volumes."""

    def __init__(self, context: Context, stream: InsideStream, media: Path) -> None:
        self._ledger = context.store.ledger
        self._actor = context.actor
        self._stream = stream.name
        self.intake = Intake(
            context.files,
            media,
            stream.inbox,
            stream.name,
            reserve_free=context.zone.reserve_free,
            limit=stream.volume,
        )

    def take(self) -> None:
        """Copy what is new into the inbox.

        Raises NoSpace, StoreError; another call goes on once the import has made room.
        """
        with self._ledger.read() as tx:
            taken = read_taken(tx, self._stream)
        seen = self.intake.take(taken.known())
        before = taken.copy()
        taken.look(seen)
        self._keep(before, taken)

    def wanted(self, report: Report) -> list[tuple[int, str]]:
        """Number and reason of each volume that is still to come, after an import."""
        with self._ledger.read() as tx:
            taken = read_taken(tx, self._stream)
            incomplete = any(bundle.imported is None for bundle in tx.bundles(self._stream))
        waiting = any(outcome.verdict is Verdict.WAITING for outcome in report.outcomes)
        if not incomplete and not waiting and not report.holds:
            before = taken.copy()
            taken.settle()
            self._keep(before, taken)
        return taken.wanted()

    def _keep(self, before: Taken, after: Taken) -> None:
        if after != before:
            with self._ledger.write(self._actor) as tx:
                note_taken(tx, self._stream, after)


def slot_of(context: Context, stream: InsideStream) -> Slot | None:
    """Where media are inserted, if that is how the stream's parts come."""
    return None if stream.media is None else Slot(context, stream, stream.media)


def take_what_comes(listener: Listener) -> None:
    """For ``receive --once``: return when nothing comes any more."""
    listener.wait_quiet(_FIRST_PEER, _QUIET)


def tell_problems(name: str, listener: Listener, said: set[str]) -> int:
    """Say what went wrong with peers; of what is in ``said`` only how often.

    The exit code: what strangers do is no failure of ours, a full or broken disk is.
    """
    code = 0
    for error, count in listener.problems():
        if isinstance(error, StoreError):
            code = max(code, error.exit_code)
        times = f" ({count} times)" if count > 1 else ""
        line = f"{type(error).__name__}: {error}"
        print(f"sluice: {name}: {line}{times}", file=sys.stderr)
        if error.remedy and line not in said:
            said.add(line)
            print(f"  -> {error.remedy}", file=sys.stderr)
    return code
