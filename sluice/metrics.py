"""What a zone knows of itself, as measurements for Prometheus.

docs/operations.md ("Watching") names every metric. Times are seconds since the epoch, so
that an alert compares them with the clock of whoever watches: an age would stand still
together with what computes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from manifests.errors import StoreError
from manifests.exposition import Family, render
from manifests.state import parse_time
from sluice import __version__
from sluice.context import Context
from sluice.running.duties import duties_of
from sluice.running.history import Run
from sluice.running.standing import last_runs
from sluice.status import zone_status

_STEPS = ("packed", "sent", "received", "imported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What is measured and is no part of the status."""

    wants: Mapping[str, int] = field(default_factory=dict)
    """Wants by repository."""
    bundle_bytes: Mapping[str, int] = field(default_factory=dict)
    """Size of the newest bundle by stream, bytes."""
    duties: Mapping[str, Run] = field(default_factory=dict)
    """The last run of each duty of ``run`` that ever ran."""
    events: int = 0
    """Sequence of the newest event of the audit log."""


def zone_metrics(context: Context) -> str:
    """All measurements of a zone, as text. It only reads.

    Raises StoreError, also where some of the store is lost: figures would say that all is well.
    """
    status = zone_status(context)
    for one in status["store"]["damage"]:
        raise StoreError(one["what"], where=one["where"], remedy=one["remedy"])
    with context.store.ledger.read() as tx:
        newest = {name: tx.bundles(name, limit=1) for name in context.zone.streams}
        beside = Beside(
            wants=tx.wants_by_repository(),
            bundle_bytes={name: found[0].size for name, found in newest.items() if found},
            duties=last_runs(tx, duties_of(context.zone)),
            events=tx.event_head()[0],
        )
    return render(families_of(status, beside))


def families_of(status: Mapping[str, Any], beside: Beside) -> list[Family]:
    """A status document of version 1 and what stands beside it, as measurements. Pure."""
    return [
        *_of_zone(status, beside),
        *_of_holds(status),
        *_of_streams(status["streams"], beside),
        *_of_repositories(status, beside),
        *_of_duties(beside),
        *_of_notices(status["notices"]),
    ]


def _seconds(text: str | None) -> int | None:
    return None if text is None else int(parse_time(text).timestamp())


def _gauge(name: str, text: str) -> Family:
    return Family(f"sluice_{name}", "gauge", text)


def _of_zone(status: Mapping[str, Any], beside: Beside) -> Iterator[Family]:
    about = _gauge("info", "Kind of the zone and version of the program; always 1.")
    about.add(1, zone=status["zone"], version=__version__)
    yield about
    for name, text, value in (
        ("measured_timestamp_seconds", "When these figures were taken.", _seconds(status["time"])),
        ("generation", "Rises with every change of what is served.", status["generation"]),
        ("warnings", "Warnings that `sluice status` shows.", len(status["warnings"])),
        ("wants", "Wants of clients that are kept.", status["wants"]),
        (
            "store_free_bytes",
            "Free space of the store's file system.",
            status["store"]["free_bytes"],
        ),
        (
            "store_reserve_bytes",
            "Free space below which nothing is taken in (reserve_free).",
            status["store"]["reserve_free"],
        ),
    ):
        family = _gauge(name, text)
        family.add(value)
        yield family
    events = Family("sluice_events_total", "counter", "Events of the audit log.")
    events.add(beside.events)
    yield events


def _of_holds(status: Mapping[str, Any]) -> Iterator[Family]:
    count = _gauge("holds", "Holds: what waits for an operator.")
    since = _gauge("hold_since_timestamp_seconds", "Since when the oldest of these holds is.")
    counted: Counter[tuple[str, str, str]] = Counter()
    oldest: dict[tuple[str, str, str], int] = {}
    for hold in status["holds"]:
        key = (hold["kind"], hold["stream"], hold["repository"])
        counted[key] += 1
        moment = _seconds(hold["since"]) or 0
        oldest[key] = min(moment, oldest.get(key, moment))
    for (kind, stream, repository), number in sorted(counted.items()):
        labels = {"kind": kind, "stream": stream, "repository": repository}
        count.add(number, **labels)
        since.add(oldest[kind, stream, repository], **labels)
    yield count
    yield since


def _of_streams(streams: Mapping[str, Any], beside: Beside) -> Iterator[Family]:
    epoch = _gauge("stream_epoch", "Epoch of the newest bundle known here.")
    sequence = _gauge("stream_sequence", "Sequence of the newest bundle known here.")
    size = _gauge("stream_bundle_bytes", "Size of the newest bundle known here.")
    step = _gauge("stream_step_sequence", "Sequence of the newest bundle with this step done.")
    moment = _gauge("stream_step_timestamp_seconds", "When that step was done for that bundle.")
    confirmed = _gauge("stream_confirmed_sequence", "Confirmed by a return slip.")
    drafts = _gauge("stream_drafts", "Drafts that wait for signatures.")
    incomplete = _gauge("stream_incomplete_bundles", "Bundles that are not wholly imported.")
    bundles = _gauge("stream_missing_bundles", "Bundles of which something has to come.")
    parts = _gauge("stream_missing_parts", "Parts that have to come, where it is known which.")
    volumes = _gauge("stream_wanted_volumes", "Removable volumes that are still wanted.")
    expires = _gauge("stream_root_expires_timestamp_seconds", "When the root of trust expires.")
    for name, stream in streams.items():
        epoch.add(stream["epoch"], stream=name)
        sequence.add(stream["sequence"], stream=name)
        size.add(beside.bundle_bytes.get(name), stream=name)
        for each in _STEPS:
            mark = stream[each]
            if mark is not None:
                step.add(mark["sequence"], stream=name, step=each)
                moment.add(_seconds(mark["time"]), stream=name, step=each)
        if "watermarks" in stream:
            confirmed.add(stream["watermarks"]["confirmed"], stream=name)
            drafts.add(len(stream["drafts"]), stream=name)
        else:
            missing = stream["missing"]
            incomplete.add(len(stream["incomplete"]), stream=name)
            bundles.add(len(missing), stream=name)
            parts.add(sum(len(each["parts"]) for each in missing), stream=name)
            if stream["volumes"] is not None:
                volumes.add(len(stream["volumes"]["wanted"]), stream=name)
        if stream["root"] is not None:
            expires.add(_seconds(stream["root"]["expires"]), stream=name)
    yield from (epoch, sequence, size, step, moment, confirmed, drafts)
    yield from (incomplete, bundles, parts, volumes, expires)


def _of_repositories(status: Mapping[str, Any], beside: Beside) -> Iterator[Family]:
    serial, moment, files, size = [
        _gauge(f"repository_{name}", text)
        for name, text in (
            ("serial", "Serial of the newest snapshot here, or of what is live."),
            ("timestamp_seconds", "When that snapshot was made, or went live."),
            ("files", "Files in it."),
            ("bytes", "Bytes in it."),
        )
    ]
    synced = _gauge("repository_synced_timestamp_seconds", "When a sync last ended well.")
    back = _gauge("repository_rolled_back", "1: an older snapshot is live by an operator's will.")
    withdrawn = _gauge("repository_withdrawn", "1: the outside no longer sends it.")
    exceptions = _gauge("repository_exceptions", "Files that are accepted as missing upstream.")
    wants = _gauge("repository_wants", "Wants of clients of this repository.")
    for name, repository in status["repositories"].items():
        for state in ("snapshot", "publication"):
            found = repository[state]
            if found is not None:
                labels = {"repository": name, "state": state}
                serial.add(found["serial"], **labels)
                moment.add(_seconds(found["time"]), **labels)
                files.add(found["files"], **labels)
                size.add(found["bytes"], **labels)
        if repository.get("configured"):  # of the others none is expected any more
            synced.add(_seconds(repository["synced"]), repository=name)
        exceptions.add(len(repository["exceptions"]), repository=name)
        if repository["publication"] is not None:
            back.add(int(repository["publication"]["rolled_back"]), repository=name)
        if "withdrawn" in repository:
            withdrawn.add(int(repository["withdrawn"]), repository=name)
        if status["zone"] == "inside":
            wants.add(beside.wants.get(name, 0), repository=name)
    yield from (serial, moment, files, size, synced, back, withdrawn, exceptions, wants)


def _of_duties(beside: Beside) -> Iterator[Family]:
    code = _gauge("duty_exit_code", "Exit code of the last run of a duty of `sluice run`.")
    ended = _gauge("duty_end_timestamp_seconds", "When that run ended.")
    for name, run in beside.duties.items():
        code.add(run.code, duty=name)
        ended.add(int(run.ended.timestamp()), duty=name)
    yield code
    yield ended


def _of_notices(channels: Mapping[str, Any]) -> Iterator[Family]:
    waiting = _gauge("notices_waiting", "What somebody should have been told by now.")
    failing = _gauge("notices_failing", "1: the last attempt to deliver a notice failed.")
    sent = Family("sluice_notices_sent_total", "counter", "Notices that were delivered.")
    for name, channel in channels.items():
        waiting.add(channel["waiting"], channel=name)
        failing.add(int(channel["failing"] is not None), channel=name)
        sent.add(channel["sent"], channel=name)
    yield from (waiting, failing, sent)
