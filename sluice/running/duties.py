"""What a zone has to do, from its zone.yaml. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from manifests.cron import parse_cron
from manifests.zone import InsideZone, OutsideZone, Zone
from sluice.running.agenda import When

_SEND_AGAIN = timedelta(minutes=10)
"""How often is looked for parts that could not be handed over, and for files to end."""
_MEASURE = timedelta(minutes=2)
_TELL = timedelta(minutes=1)
_DAILY = When(cron=parse_cron("15 3 * * *"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """A command that ends. ``then`` names the duties that follow a success."""

    words: tuple[str, ...]
    when: When | None = None
    """None: only when another duty asks for it."""
    then: tuple[str, ...] = ()
    repository: str = ""
    stream: str = ""
    light: bool = False
    """Done in a moment: it waits for no other duty."""

    @property
    def name(self) -> str:
        """What logs and status call it: the command and what it is about."""
        about = self.repository or self.stream
        return f"{self.words[0]} {about}" if about else self.words[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A command that goes on until it is stopped, and is started again if it ends."""

    words: tuple[str, ...]
    repository: str = ""

    @property
    def name(self) -> str:
        """What logs call it."""
        return " ".join(self.words)


def duties_of(zone: Zone) -> dict[str, Duty]:
    """All duties by name."""
    found = [*_outside(zone)] if isinstance(zone, OutsideZone) else [*_inside(zone)]
    if zone.upkeep.gc is not None:
        words: tuple[str, ...] = ("gc",)
        if zone.upkeep.changes is not None:
            words += ("--forget-changes", _seconds(zone.upkeep.changes))
        found.append(Duty(words=words, when=When(cron=zone.upkeep.gc)))
    if zone.upkeep.events is not None:
        older = _seconds(zone.upkeep.events)
        found.append(Duty(words=("events", "archive", "--older", older), when=_DAILY))
    if zone.notices.channels:
        found.append(Duty(words=("notices", "send"), when=When(every=_TELL), light=True))
    if zone.metrics is not None:
        words = ("metrics", str(zone.metrics))
        found.append(Duty(words=words, when=When(every=_MEASURE), light=True))
    return {duty.name: duty for duty in found}


def _outside(zone: OutsideZone) -> Iterator[Duty]:
    for repository in zone.repositories.values():
        carried = [s.name for s in zone.streams.values() if repository.name in s.repositories]
        yield Duty(
            words=("sync", repository.name),
            when=None if repository.schedule is None else When(cron=repository.schedule),
            then=tuple(f"pack {name}" for name in carried),
            repository=repository.name,
        )
    for stream in zone.streams.values():
        send = f"send {stream.name}"
        yield Duty(
            words=("pack", "--quiet", "--stream", stream.name),
            # A full bundle may be due although nothing changed.
            when=None if stream.full_every is None else _DAILY,
            then=(send,),
            stream=stream.name,
        )
        yield Duty(
            words=("send", "--quiet", "--stream", stream.name),
            when=When(every=_SEND_AGAIN),
            stream=stream.name,
        )


def _inside(zone: InsideZone) -> Iterator[Duty]:
    if zone.upkeep.quarantine is not None:
        older = _seconds(zone.upkeep.quarantine)
        yield Duty(words=("quarantine", "--remove-older", older), when=_DAILY)
    if zone.upkeep.wants is not None:
        older = _seconds(zone.upkeep.wants)
        yield Duty(words=("wants", "forget", "--older", older), when=_DAILY)


def _seconds(age: float) -> str:
    return f"{age:.0f}s"


def services_of(zone: Zone) -> dict[str, Service]:
    """All services by name."""
    if isinstance(zone, InsideZone):
        found = [Service(words=("serve",))]
        if zone.streams:
            found.append(Service(words=("receive",)))
    else:
        found = [
            Service(words=("capture", repository.name), repository=repository.name)
            for repository in zone.repositories.values()
            if repository.maven.listen is not None
        ]
    return {service.name: service for service in found}
