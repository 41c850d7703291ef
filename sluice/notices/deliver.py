"""Tell what is to be told, on every channel that is set."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from datetime import datetime
from functools import partial
from typing import Any

from manifests.errors import CarrierError, SluiceError, StoreBusy
from manifests.state import format_time
from sluice.context import Context
from sluice.errors import report
from sluice.notices.message import Sender
from sluice.notices.plan import Notice, Pending, notices, pending
from sluice.notices.state import Channel, load, plain_failing, save
from sluice.notices.subjects import subjects
from sluice.notices.syslog import send_syslog
from sluice.notices.webhook import send_webhook
from store.ledger import ReadTransaction

Send = Callable[[Notice, Sender, datetime], None]
_LOCK = "notices"
_PATIENCE = 10.0
"""Seconds for one message, whatever the other side, or the name server, does."""
_AFTERWARDS = 10.0
"""Seconds that a command waits at its end for its notices."""


def channels(context: Context) -> Iterator[tuple[str, Send]]:
    """The channels that are set, by name."""
    settings = context.zone.notices
    if settings.syslog is not None:
        yield "syslog", partial(send_syslog, settings.syslog)
    if settings.webhook is not None:
        yield "webhook", partial(send_webhook, settings.webhook)


def sender_of(context: Context) -> Sender:
    """Who speaks."""
    zone = context.zone
    return Sender(zone.kind.value, zone.folder.name, socket.gethostname(), os.getpid())


def deliver(context: Context) -> list[SluiceError]:
    """Tell what is due; what could not be told, which the next call tries again in time.

    Raises StoreError. Whoever tells already is left to it.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(context.store.locks.named(_LOCK))
        except StoreBusy:
            return []
        told = [_tell(context, name, send) for name, send in channels(context)]
    return [problem for problem in told if problem is not None]


def _tell(context: Context, name: str, send: Send) -> SluiceError | None:
    now, sender = context.now().replace(microsecond=0), sender_of(context)
    with context.store.ledger.read() as tx:
        state = load(tx)
        before = dict(state.gaps)
        found = pending(
            context.zone.notices,
            subjects(context, tx, state.gaps, now),
            state.channel(name).told,
            now,
        )
    channel = state.channel(name)
    problem: SluiceError | None = None
    due = [] if channel.rests(now) else notices(found, channel.sent, now)
    for notice in due:
        try:
            _in_time(send, notice, sender, now)
        except SluiceError as error:
            channel.failed(str(error), now)
            problem = error
        else:
            channel.delivered(now)
            channel.told.update((each.id, each) for each in notice.begun)
            for each in notice.ended:
                channel.told.pop(each.id, None)
        # After each one: whoever kills us now repeats no more than this message.
        with context.store.ledger.write() as writing:
            save(writing, state)
        if problem is not None:
            return problem
    if not due and state.gaps != before:
        with context.store.ledger.write() as writing:
            save(writing, state)
    return None


def _in_time(send: Send, notice: Notice, sender: Sender, now: datetime) -> None:
    """Send, or give up after ``_PATIENCE``: a thread that hangs is left behind, and ends with
    this process. Raises what ``send`` raises, and CarrierError."""
    ended: Future[None] = Future()

    def attempt() -> None:
        try:
            send(notice, sender, now)
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits for it
            ended.set_exception(error)
        else:
            ended.set_result(None)

    threading.Thread(target=attempt, daemon=True).start()
    try:
        ended.result(_PATIENCE)
    except TimeoutError as error:
        raise CarrierError(
            f"did not take a message within {_PATIENCE:.0f} s", remedy="sluice notices test"
        ) from error


def waiting(context: Context, tx: ReadTransaction, now: datetime) -> dict[str, Any]:
    """``notices`` of the status: how each channel does."""
    state = load(tx)
    found = subjects(context, tx, state.gaps, now) if context.zone.notices.channels else []
    return {
        name: _standing(
            channel := state.channel(name),
            pending(context.zone.notices, found, channel.told, now),
        )
        for name in context.zone.notices.channels
    }


def _standing(channel: Channel, found: Pending) -> dict[str, Any]:
    return {
        "waiting": len(found),
        "sent": channel.total,
        "last": None if channel.last is None else format_time(channel.last),
        "failing": plain_failing(channel.failing),
    }


def try_out(context: Context) -> Iterator[tuple[str, SluiceError | None]]:
    """Send a test to each channel, whatever its state; how that went."""
    for name, send in channels(context):
        try:
            _in_time(send, Notice("test"), sender_of(context), context.now())
        except SluiceError as error:
            yield name, error
        else:
            yield name, None


def tell_afterwards(context: Context) -> None:
    """At the end of a command that may have set holds: tell them, but never wait for long and
    never fail it; ``run`` goes on with what is left."""
    if not context.zone.notices.channels:
        return

    def tell() -> None:
        try:
            for problem in deliver(Context(context.zone, context.files)):
                report(problem, about="notices")
        except SluiceError as error:
            report(error, about="notices")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    thread.join(_AFTERWARDS)
    if thread.is_alive():
        error = CarrierError("not delivered in time; they are tried again", where="notices")
        print(f"sluice: {error}", file=sys.stderr)
