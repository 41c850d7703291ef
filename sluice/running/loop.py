"""``sluice run``: start what is due, keep services up, stop everything in order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

from manifests.errors import HeldError, SluiceError
from manifests.state import format_time
from manifests.zone import InsideZone, Zone
from sluice import stopping
from sluice.context import Context
from sluice.running.children import carry_out
from sluice.running.duties import Duty, Service, duties_of, services_of
from sluice.running.history import newest_serial, note
from sluice.running.journal import Log, Manager
from sluice.running.standing import agenda_of, last_runs, timed, timezone_of

AT_ONCE = 2
"""Duties that run side by side; services and light duties do not count."""
_LONGEST_NAP = 15.0
"""Seconds: a clock that jumps is noticed after so long at most."""
_FULL_NAP = 1.0
_UP_SECONDS = 60.0
_LONGEST_PAUSE = 60.0
_SETTLED = 60.0
"""A service that lived so many seconds is started again at once."""


class Runner:
    """One ``sluice run``."""

    def __init__(self, context: Context, log: Log, manager: Manager) -> None:
        self._context = context
        self._log = log
        self._manager = manager
        self._folder = context.zone.folder
        self._duties = duties_of(context.zone)
        with context.store.ledger.read() as tx:
            runs = last_runs(tx, self._duties)
        self._agenda = agenda_of(context.zone, self._duties, runs, context.now())
        self._asked: dict[str, None] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._services: dict[str, _Kept] = {}
        self._wake = asyncio.Event()
        self._stopping = False
        self._reload = False

    async def run(self) -> int:
        """Until SIGTERM or SIGINT; SIGHUP reads zone.yaml again. Returns the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._ask_reload)
        stopping.check()  # what swallowed a stop until now is not to make it run for ever
        feeding = asyncio.create_task(self._feed())
        self._keep_services()
        up = await self._up()
        # What a killed run left half-way goes on: nothing new costs a look.
        for name, duty in self._duties.items():
            if duty.light or duty.words[0] in ("pack", "send"):
                self._asked[name] = None
        self._manager.ready(self._summary())
        self._log("info", "", f"running; {self._summary()}" if up else "running, not all is up")
        while not self._stopping:
            if self._reload:
                await self._load_again()
            self._start_due()
            await self._nap()
        self._manager.stopping()
        await self._stop_all()
        feeding.cancel()
        self._log("info", "", "stopped")
        return 0

    def _stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _ask_reload(self) -> None:
        self._reload = True
        self._wake.set()

    async def _nap(self) -> None:
        moment = self._agenda.soonest()
        seconds = _LONGEST_NAP
        if moment is not None:
            seconds = min(seconds, max(0.05, (moment - self._context.now()).total_seconds()))
        if self._full():
            seconds = max(seconds, _FULL_NAP)  # the end of a duty wakes us
        elif self._asked:
            seconds = 0.05
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def _feed(self) -> None:
        """Feed the watchdog for as long as this loop turns."""
        while self._manager.watchdog is not None:
            self._manager.alive()
            await asyncio.sleep(self._manager.watchdog / 3)

    # Duties

    def _start_due(self) -> None:
        for name in [*self._asked, *self._agenda.due(self._context.now())]:
            if name in self._running or name not in self._duties:
                continue
            if self._full() and not self._duties[name].light:
                continue
            self._asked.pop(name, None)
            self._agenda.started(name, self._context.now())
            self._running[name] = asyncio.create_task(self._carry_out(self._duties[name]))

    def _full(self) -> bool:
        heavy = (n for n in self._running if n not in self._duties or not self._duties[n].light)
        return sum(1 for _ in heavy) >= AT_ONCE

    async def _carry_out(self, duty: Duty) -> None:
        began, clock = self._context.now(), time.monotonic()
        before = newest_serial(self._context.store, duty.repository)
        code = -1
        try:
            code, _ = await carry_out(self._folder, duty.words, self._teller(duty))
        except OSError as error:
            self._log("error", duty.name, f"cannot be started: {error}")
        finally:
            self._running.pop(duty.name, None)
            self._agenda.ended(duty.name, self._context.now())
            self._wake.set()
        self._tell_end(duty, code, time.monotonic() - clock)
        try:
            note(self._context.store, duty.name, began, self._context.now(), code)
            changed = newest_serial(self._context.store, duty.repository) != before
        except SluiceError as error:
            self._log("error", duty.name, f"its end cannot be noted: {error}")
            changed = True
        if code == 0 and not self._stopping and (changed or not duty.repository):
            self._asked.update(dict.fromkeys(duty.then))
            self._wake.set()

    def _tell_end(self, duty: Duty, code: int, seconds: float) -> None:
        fields = {"code": str(code), "repository": duty.repository, "stream": duty.stream}
        if code == 0:
            self._log("debug", duty.name, f"done in {seconds:.1f} s", **fields)
        elif code == HeldError.exit_code:
            self._log("warning", duty.name, "held: see `sluice status`", **fields)
        elif self._stopping:
            self._log("info", duty.name, "stopped; the next run goes on", **fields)
        else:
            self._log("error", duty.name, f"ended with {code}", **fields)

    def _teller(self, duty: Duty) -> Callable[[str, str], None]:
        def tell(level: str, line: str) -> None:
            about = f"{duty.repository or duty.stream}: "
            self._log(
                level,
                duty.name,
                line.removeprefix("sluice: ").removeprefix(about),
                repository=duty.repository,
                stream=duty.stream,
            )

        return tell

    # Services

    def _keep_services(self) -> None:
        for name, service in services_of(self._context.zone).items():
            if name not in self._services:
                self._services[name] = _Kept(service, self._folder, self._log)

    async def _up(self) -> bool:
        """Wait until every service has said its first word; False if one did not in time."""
        waiting = [asyncio.create_task(kept.up.wait()) for kept in self._services.values()]
        stop = asyncio.create_task(self._wake.wait())
        until = time.monotonic() + _UP_SECONDS
        while any(not task.done() for task in waiting) and not self._stopping:
            if time.monotonic() > until:
                break
            await asyncio.wait([*waiting, stop], timeout=0.5, return_when="FIRST_COMPLETED")
        for task in (*waiting, stop):
            task.cancel()
        return all(kept.up.is_set() for kept in self._services.values())

    # Settings

    async def _load_again(self) -> None:
        self._reload = False
        self._manager.reloading()
        try:
            fresh = Context.open(self._folder)
        except SluiceError as error:
            self._log("error", "", f"zone.yaml is not taken, the old one stays: {error}")
            self._log("error", "", f"  -> {error.remedy}")
            self._manager.ready(self._summary())
            return
        old, self._context.zone = self._context.zone, fresh.zone
        self._duties = duties_of(fresh.zone)
        self._agenda = self._agenda.replaced(
            timed(self._duties), timezone_of(fresh.zone), self._context.now()
        )
        wanted = services_of(fresh.zone)
        stale = [
            name
            for name in self._services
            if name not in wanted or _served_by(old, name) != _served_by(fresh.zone, name)
        ]
        await asyncio.gather(*(self._services.pop(name).end() for name in stale))
        self._keep_services()
        await self._up()
        self._manager.ready(self._summary())
        self._log("info", "", f"zone.yaml was read again; {self._summary()}")

    def _summary(self) -> str:
        moment = self._agenda.soonest()
        soonest = "" if moment is None else f"; next duty at {format_time(moment)}"
        return f"{len(self._duties)} duties, {len(self._services)} services{soonest}"

    async def _stop_all(self) -> None:
        for task in self._running.values():
            task.cancel()
        await asyncio.gather(
            *self._running.values(),
            *(kept.end() for kept in self._services.values()),
            return_exceptions=True,
        )


class _Kept:
    """A service that is started again whenever it ends."""

    def __init__(self, service: Service, folder: Path, log: Log) -> None:
        self._service = service
        self._folder = folder
        self._log = log
        self.up = asyncio.Event()
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        pause = 1.0
        while True:
            began = time.monotonic()
            code, stopped = await carry_out(self._folder, self._service.words, self._tell)
            if stopped:
                return
            if time.monotonic() - began > _SETTLED:
                pause = 1.0
            self._log(
                "error",
                self._service.name,
                f"ended with {code}; it is started again in {pause:.0f} s",
                code=str(code),
            )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    def _tell(self, level: str, line: str) -> None:
        if level == "info":
            self.up.set()
        self._log(level, self._service.name, line, repository=self._service.repository)

    async def end(self) -> None:
        """Stop it and wait for its end."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


def _served_by(zone: Zone, service: str) -> object:
    """The settings that a service reads when it starts."""
    common = (zone.ledger, zone.reserve_free, zone.repository_key)
    if not isinstance(zone, InsideZone):
        return common, zone.repositories.get(service.partition(" ")[2])
    if service == "serve":
        return common, zone.serve, zone.require, zone.wants
    return common, zone.streams, zone.require
