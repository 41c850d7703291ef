"""``sluice receive``: from the inbox to publications."""

from __future__ import annotations

import argparse
import sys
import threading
from contextlib import ExitStack
from typing import Any

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers import Observer
from watchdog.observers.api import BaseObserver

from cds.base import Inlet
from manifests.errors import HeldError, NoSpace, SluiceError
from manifests.units import format_bytes
from manifests.zone import InsideStream
from sluice import stopping
from sluice.carriers import (
    Slot,
    inlet_of,
    listening,
    slot_of,
    take_what_comes,
    tell_problems,
)
from sluice.commands.trust import stream_of
from sluice.context import Context
from sluice.errors import report as report_error
from sluice.importing import receive_stream
from sluice.notices.deliver import tell_afterwards
from sluice.notices.meanwhile import telling
from sluice.progress import Progress
from sluice.text import files_of_parts, plural, some
from transfer.arrivals import Report, Verdict

_FAREWELL = 2.0
"""Seconds."""
_RESCAN = 30.0
"""Seconds between two looks: network file systems tell nobody of new files."""
_LOOK_FOR_MEDIA = 5.0
"""The same where a person inserts media."""


def register(commands: Any) -> None:
    command = commands.add_parser("receive")
    command.add_argument(
        "--once", action="store_true", help="import what lies there, then end (default: go on)"
    )
    command.add_argument("--stream", metavar="NAME", help="default: all streams")
    command.set_defaults(command=receive_streams)


def receive_streams(options: argparse.Namespace) -> int:
    """0: all that lay there is imported; 3: something is held or was refused."""
    context = Context.open(options.zone)
    zone = context.inside
    streams = list(zone.streams.values())
    if options.stream is not None or not streams:
        stream = stream_of(context, options.stream)
        assert isinstance(stream, InsideStream)
        streams = [stream]
    said: set[str] = set()
    if options.once:
        worst = max(_once(context, stream, said) for stream in streams)
        tell_afterwards(context)
        return worst
    return _watch(context, streams, said)


def _once(context: Context, stream: InsideStream, said: set[str]) -> int:
    """Take what comes now, if the stream listens, and import what lies there."""
    try:
        with listening(context, stream, lambda: None) as listener:
            if listener is not None:
                take_what_comes(listener)
    except SluiceError as error:
        report_error(error, about=stream.name)
        return error.exit_code
    refused = 0 if listener is None else tell_problems(stream.name, listener, said)
    inlet, slot = inlet_of(context, stream), slot_of(context, stream)
    if slot is not None:
        return _look_at_media(context, stream, inlet, slot, said, once=True)
    return max(refused, _look(context, stream, inlet, said, once=True))


def _look(
    context: Context,
    stream: InsideStream,
    inlet: Inlet,
    said: set[str],
    *,
    once: bool,
    slot: Slot | None = None,
) -> int:
    """One look into the inbox. What is in ``said`` is not said again."""
    progress = Progress(stream.name, "to read")
    try:
        report = receive_stream(context, stream, inlet, settle=once, progress=progress.at)
    except SluiceError as error:
        progress.done()
        if f"{stream.name} {error}" not in said:
            said.add(f"{stream.name} {error}")
            report_error(error, about=stream.name)
        return error.exit_code
    progress.done()
    _tell(stream.name, report, inlet, said, once=once)
    code = report.exit_code
    return code if slot is None else max(code, _tell_volumes(stream, slot, report, said))


def _look_at_media(
    context: Context, stream: InsideStream, inlet: Inlet, slot: Slot, said: set[str], *, once: bool
) -> int:
    """Take volumes in and import, as often as the import makes room for more."""
    while True:
        before = slot.intake.parts
        trouble: SluiceError | None = None
        try:
            slot.take()
        except SluiceError as error:
            trouble = error
        code = _look(context, stream, inlet, said, once=once, slot=slot)
        if trouble is None:
            return code
        if not isinstance(trouble, NoSpace) or slot.intake.parts == before:
            if f"{stream.name} {trouble}" not in said:
                said.add(f"{stream.name} {trouble}")
                report_error(trouble, about=stream.name)
            return max(code, trouble.exit_code)


def _tell_volumes(stream: InsideStream, slot: Slot, report: Report, said: set[str]) -> int:
    for name, why in slot.intake.foreign():
        print(f"{stream.name}: left alone: {name}: {why}", file=sys.stderr)
    wanted = slot.wanted(report)
    for number, why in wanted:
        line = f"{stream.name}: volume {number} is still wanted{why and f' ({why})'}"
        if line not in said:
            said.add(line)
            print(f"sluice: {line}", file=sys.stderr)
            print(f"  -> insert it into {stream.media}; any order will do", file=sys.stderr)
    return HeldError.exit_code if wanted else 0


def _tell(name: str, report: Report, inlet: Inlet, said: set[str], *, once: bool) -> None:
    for bundle in report.accepted:
        print(f"{name}: accepted bundle {bundle}")
    for bundle in report.late:
        print(f"{name}: bundle {bundle} came late; what it brought is kept, nothing moves back")
    for live in report.published:
        print(f"{name}: published {live.repository} snapshot {live.serial}")
    if report.bytes:
        print(f"{name}: {format_bytes(report.bytes)} verified")
    remedies: list[str] = []
    for outcome in report.outcomes:
        if outcome.error is not None:
            print(f"sluice: {name}: {outcome.arrival.label}: {outcome.reason}", file=sys.stderr)
            if outcome.error.remedy not in remedies:  # mostly the same for many parts
                remedies.append(outcome.error.remedy)
        elif outcome.verdict is Verdict.FOREIGN and outcome.arrival.identity not in said:
            said.add(outcome.arrival.identity)
            label = outcome.arrival.label
            print(f"{name}: left alone: {label}: not a part of a bundle", file=sys.stderr)
    for remedy in filter(None, remedies):
        print(f"  -> {remedy}", file=sys.stderr)
    if any(outcome.verdict is Verdict.BAD for outcome in report.outcomes):
        print("     refused files lie in quarantine: `sluice quarantine`", file=sys.stderr)
    if report.missing:
        numbers = some([str(number) for number in report.missing])
        print(f"sluice: {name}: never arrived: bundle {numbers}", file=sys.stderr)
    for hold in report.holds:
        if f"{hold.key} {hold.reason}" in said:
            continue
        said.add(f"{hold.key} {hold.reason}")
        about = f"{hold.repository}: " if hold.repository else ""
        print(f"sluice: {name}: HELD: {about}{hold.reason}", file=sys.stderr)
        for line in files_of_parts(hold.detail):
            print(f"     {line}", file=sys.stderr)
        if hold.remedy:
            print(f"  -> {hold.remedy}", file=sys.stderr)
    foreign = inlet.foreign()
    for label, why in foreign.fresh:
        print(f"{name}: left alone: {label}: {why}", file=sys.stderr)
    waiting = inlet.waiting()
    if once and waiting.settling + waiting.unmarked:
        count = plural(waiting.settling + waiting.unmarked, "file")
        print(f"{name}: {count} not whole yet; call again later", file=sys.stderr)
    if once and not report.outcomes:
        print(f"{name}: nothing new in the inbox")
    sys.stdout.flush()


class _Wake(FileSystemEventHandler):
    """Sets an event whenever something happens in an inbox."""

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def on_any_event(self, event: FileSystemEvent) -> None:
        if event.event_type not in ("opened", "closed_no_write"):
            self._event.set()


def _let_go(observer: BaseObserver) -> None:
    """End the watching, but do not wait for it for long.

    Its threads end with the process; one that a signal met at a bad moment may never end
    by itself, and must not keep us.
    """
    observer.stop()
    if observer.is_alive():
        observer.join(_FAREWELL)


def _watch(context: Context, streams: list[InsideStream], said: set[str]) -> int:
    """Go on until stopped: at every change, and every 30 seconds."""
    wake = threading.Event()
    observer = Observer()
    with ExitStack() as stack:
        listeners = {
            stream.name: stack.enter_context(listening(context, stream, wake.set))
            for stream in streams
        }
        inlets = {stream.name: inlet_of(context, stream) for stream in streams}
        slots = {stream.name: slot_of(context, stream) for stream in streams}
        for stream in streams:
            if stream.inbox.is_dir():
                observer.schedule(_Wake(wake), str(stream.inbox))
            print(f"{stream.name}: watching {stream.inbox}", flush=True)
        stack.callback(_let_go, observer)
        observer.start()
        stack.enter_context(telling(context))
        try:
            while True:
                stopping.check()
                pause = _RESCAN
                for stream in streams:
                    inlet, listener = inlets[stream.name], listeners[stream.name]
                    if listener is not None:
                        tell_problems(stream.name, listener, said)
                    slot = slots[stream.name]
                    if slot is None:
                        _look(context, stream, inlet, said, once=False)
                    else:
                        _look_at_media(context, stream, inlet, slot, said, once=False)
                    if inlet.waiting().settling:
                        pause = min(pause, stream.settle)
                    if slot is not None:
                        pause = min(pause, _LOOK_FOR_MEDIA)
                wake.wait(pause)
                wake.clear()
        except KeyboardInterrupt:
            return 0
