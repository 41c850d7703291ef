"""From a stream's settings to its carrier's two halves."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from cds.base import Inlet, Outlet
from cds.filedrop import FileInbox, FileOutbox
from cds.tcp import Listener, TcpOutlet
from manifests.errors import SluiceError
from manifests.zone import InsideStream, OutsideStream
from sluice.context import Context

_FIRST_PEER = 10.0
"""Seconds that ``receive --once`` waits for somebody to send."""
_QUIET = 2.0
"""Seconds without a frame after which what was sent has come."""


def outlet_of(context: Context, stream: OutsideStream) -> Outlet:
    """The sending half; whoever asks closes it."""
    if stream.tcp is not None:
        return TcpOutlet(stream.tcp)
    assert stream.outbox is not None
    return FileOutbox(context.files, stream.outbox, names=stream.names, retain=stream.retain)


def inlet_of(context: Context, stream: InsideStream) -> Inlet:
    """The receiving half; over TCP the folder that :func:`listening` fills."""
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


def take_what_comes(listener: Listener) -> None:
    """For ``receive --once``: return when nothing comes any more."""
    listener.wait_quiet(_FIRST_PEER, _QUIET)


def tell_problems(name: str, listener: Listener, said: set[str]) -> None:
    """Say what went wrong with peers; of what is in ``said`` only how often."""
    for error, count in listener.problems():
        times = f" ({count} times)" if count > 1 else ""
        line = f"{type(error).__name__}: {error}"
        print(f"sluice: {name}: {line}{times}", file=sys.stderr)
        if isinstance(error, SluiceError) and error.remedy and line not in said:
            said.add(line)
            print(f"  -> {error.remedy}", file=sys.stderr)
