"""Receive: what arrived becomes blobs, snapshots and publications.

All manifests are read first, then all parts of authentic bundles, then the newest
accepted state is evaluated. Everything is journalled in the ledger: a run may be
killed anywhere and the next one goes on; no file is called done before the commit
that makes it unneeded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from manifests.bundle import PartRecord, read_head
from manifests.digest import Digest, sha256_of
from manifests.errors import (
    ForkedStream,
    MalformedManifest,
    SluiceError,
    TrustError,
    WireError,
    WrongVersion,
)
from manifests.zone import InsideStream
from store.records import Hold
from store.repaired import end_repaired
from store.store import Store
from transfer.admit import Admission, Authentic, authenticate, fork_key
from transfer.alarms import note_alarms
from transfer.arrivals import Arrival, Outcome, Progress, Report, Verdict
from transfer.heartbeat import HEARTBEATS, forget_old
from transfer.ingest import Ingest
from transfer.known import Known, load_known, note_waiting
from transfer.mark import keep_mark, raised
from transfer.pinned import end_fork, epoch_of, trust_state
from transfer.publish import Judges, Publisher
from transfer.recognise import recognise
from transfer.trees import decode_trees


@dataclass(slots=True)
class _Look:
    """What is known of one arrival so far."""

    arrival: Arrival
    record: PartRecord | None = None
    manifest: Digest | None = None
    """The manifest that the copies in its head have."""
    error: SluiceError | None = None
    place: tuple[Known, int] | None = None
    """Bundle and part that it is."""
    outcome: Outcome | None = None


@dataclass(slots=True)
class _Run:
    store: Store
    stream: InsideStream
    now: datetime
    report: Report
    progress: Progress | None
    admission: Admission
    looks: list[_Look] = field(default_factory=list)
    authentic: dict[Digest, Authentic] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)
    """The verdicts of earlier runs, by identity."""

    @property
    def known(self) -> dict[Digest, Known]:
        return self.admission.known


def receive(
    store: Store,
    stream: InsideStream,
    arrivals: Iterable[Arrival],
    *,
    pinned_root: bytes,
    judges: Judges,
    now: datetime,
    progress: Progress | None = None,
) -> Report:
    """Take in what arrived, and publish what is complete.

    ``arrivals`` may be empty: what waits is looked at again (a clock was set, a key
    approved).

    Raises StoreBusy while another import of the stream runs, ForkedStream once a
    fork was found (nothing is taken in until an operator acts), NoSpace, StoreError;
    ConfigError or TrustError for an unusable pinned root. What is wrong with single
    files stands in the report.
    """
    with store.locks.named(f"receive-{stream.name}"), store.locks.shared():
        report = Report(stream.name)
        state = raised(store, stream, trust_state(store, stream.name, pinned_root), now)
        with store.ledger.read() as tx:
            known = load_known(store, tx, stream.name)
            fork = tx.hold(fork_key(stream.name))
        if fork is not None and state.epoch <= epoch_of(fork):
            raise ForkedStream(fork.reason, where=stream.name, remedy=fork.remedy)
        if fork is not None:
            end_fork(store, stream.name, state.epoch)
        admission = Admission(store, state, known, now)
        run = _Run(store, stream, now, report, progress, admission)
        everything = list(arrivals)
        with store.ledger.read() as tx:
            run.seen = tx.seen_among(stream.name, (arrival.identity for arrival in everything))
        for arrival in everything:
            _look(run, arrival)
        _admit(run)
        keep_mark(store, stream, admission.state)
        _place(run)
        _take_in(run)
        _evaluate(run, judges)
        _conclude(run)
        _note(run)
        with store.ledger.read() as tx:
            report.holds = tx.holds(stream.name)
        return report


# Looking


def _look(run: _Run, arrival: Arrival) -> None:
    look = _Look(arrival)
    run.looks.append(look)
    seen = run.seen.get(arrival.identity)
    if seen == Verdict.DONE:
        look.outcome = Outcome(arrival, Verdict.DONE)
        return
    if seen == Verdict.FOREIGN:
        return  # its head says nothing; it may still turn out to be a payload
    try:
        with arrival.open() as file:
            head = read_head(file, copies=False)
            if head is not None and head.record is not None and head.record.manifest in run.known:
                look.record = head.record
                return
            head = read_head(file)
    except (SluiceError, OSError) as error:
        look.error = _as_error(error, arrival)
        look.outcome = Outcome(arrival, Verdict.WAITING, look.error)
        return
    if head is None:
        return
    look.record, look.error = head.record, head.problem
    if head.copies is not None:
        look.manifest = sha256_of(head.copies.manifest)
        if look.manifest not in run.known and look.manifest not in run.authentic:
            try:
                found = authenticate(run.admission.state, head.copies)
                run.authentic[found.known.digest] = found
            except (TrustError, WireError, WrongVersion) as error:
                look.error = error


def _as_error(error: Exception, arrival: Arrival) -> SluiceError:
    if isinstance(error, SluiceError):
        return error
    return WireError(f"the file cannot be read: {error}", where=arrival.label)


# Deciding what each file is


def _admit(run: _Run) -> None:
    refused = run.admission.admit(run.authentic.values(), run.report)
    for look in run.looks:
        if look.manifest in refused:
            look.error = refused[look.manifest]
    run.admission.review_held(run.report)


def _place(run: _Run) -> None:
    for look in run.looks:
        if look.outcome is None:
            look.place = _claimed(run, look) or _recognised(run, look)


def _claimed(run: _Run, look: _Look) -> tuple[Known, int] | None:
    """What its head says it is, if that can be true."""
    record = look.record
    if record is None:
        return None
    known = run.known.get(record.manifest)
    if known is None and look.manifest is not None:
        known = run.known.get(look.manifest)
    if known is None or record.part > known.parts:
        return None
    if known.imported:
        return known, record.part
    row = known.row(record.part)
    if (row.offset, row.length) != (record.offset, record.length):
        return None
    return known, record.part


def _recognised(run: _Run, look: _Look) -> tuple[Known, int] | None:
    record = look.record
    bundles = [known for known in run.known.values() if not known.imported]
    if record is not None and record.manifest not in run.known:
        # Most likely its manifest has not come yet; reading it all would be in vain.
        order = (record.epoch, record.sequence)
        bundles = [known for known in bundles if known.order == order]
    try:
        return recognise(look.arrival, bundles)
    except (SluiceError, OSError) as error:
        look.error = _as_error(error, look.arrival)
        look.outcome = Outcome(look.arrival, Verdict.WAITING, look.error)
        return None


# Taking in


def _take_in(run: _Run) -> None:
    needed = sum(
        look.place[0].row(look.place[1]).length
        for look in run.looks
        if look.outcome is None and look.place is not None and _open(look.place)
    )
    if needed:
        run.store.require_free(needed, f"importing {run.stream.name}")
    again = True
    while again:
        again = False
        for known in sorted(run.known.values(), key=lambda known: known.order):
            again = (not known.imported and _take_bundle(run, known, needed)) or again


def _open(place: tuple[Known, int]) -> bool:
    known, part = place
    return not known.imported and part not in known.done


def _take_bundle(run: _Run, known: Known, needed: int) -> bool:
    """Take in the parts of one bundle; whether some file turned out to be another part."""
    chosen: dict[int, _Look] = {}
    for look in run.looks:
        if look.outcome is None and look.place is not None and look.place[0] is known:
            chosen.setdefault(look.place[1], look)
    chosen = {part: look for part, look in chosen.items() if part not in known.done}
    if not chosen:
        return False
    arrivals = {part: look.arrival for part, look in chosen.items()}
    ingest = Ingest(run.store, known, arrivals, run.progress, read=run.report.bytes, total=needed)
    try:
        results = ingest.run()
    except MalformedManifest as error:
        _refuse_bundle(run, known, error)
        return False
    finally:
        run.report.bytes = ingest.read
    again = False
    for part, result in results.items():
        look = chosen[part]
        if result.error is None:
            known.here.add(part)
            continue
        again = True
        look.place = _other_place(run, look, (known, part))
        if look.place is None:
            look.error = result.error
            look.outcome = _outcome(look, Verdict.BAD, known, part)
    return again


def _other_place(run: _Run, look: _Look, wrong: tuple[Known, int]) -> tuple[Known, int] | None:
    """What a file is whose payload is not that of the part it claims to be."""
    look.record = None
    place = _recognised(run, look)
    return None if place == wrong else place


def _refuse_bundle(run: _Run, known: Known, error: MalformedManifest) -> None:
    """A bundle that was signed and does not follow the format."""
    with run.store.ledger.write() as tx:
        tx.set_hold(
            Hold(
                key=f"{known.key}:malformed",
                stream=run.stream.name,
                repository="",
                kind="malformed",
                reason=str(error),
                remedy="have the outside upgrade, then pack and send a new bundle",
                since=run.now,
            )
        )
    for look in run.looks:
        if look.outcome is None and look.place is not None and look.place[0] is known:
            look.error = error
            look.outcome = _outcome(look, Verdict.BAD, known, look.place[1])


# Publishing and the verdicts


def _evaluate(run: _Run, judges: Judges) -> None:
    state = run.admission.state
    newest = next((k for k in run.known.values() if k.order == (state.epoch, state.released)), None)
    if newest is None:
        return
    bundles = list(run.known.values())
    failed = decode_trees(run.store, bundles)
    publisher = Publisher(run.store, run.stream, judges, run.now, failed)
    publisher.run(newest, bundles, run.report)


def _conclude(run: _Run) -> None:
    for look in run.looks:
        if look.outcome is None:
            look.outcome = _verdict(look)
        run.report.outcomes.append(look.outcome)
    fresh = [
        (outcome.arrival.identity, outcome.arrival.label, outcome.verdict.value)
        for outcome in run.report.outcomes
        if outcome.verdict in (Verdict.DONE, Verdict.FOREIGN)
        and run.seen.get(outcome.arrival.identity) != outcome.verdict
    ]
    if fresh:
        with run.store.ledger.write() as tx:
            tx.mark_all_seen(run.stream.name, fresh, run.now)


def _note(run: _Run) -> None:
    """What stands at the end of a run, for `status` and for the next one."""
    bundles = list(run.known.values())
    note_waiting(run.store, bundles)
    claims = [
        (outcome.bundle, outcome.part)
        for look, outcome in zip(run.looks, run.report.outcomes, strict=True)
        if look.place is None and outcome.verdict is Verdict.WAITING and outcome.error is None
    ]
    unread = [look.error for look in run.looks if isinstance(look.error, WrongVersion)]
    state = run.admission.state
    note_alarms(run.store, run.stream, bundles, state, claims, unread, run.now)
    end_repaired(run.store, run.stream.name)
    if sum(known.heartbeat for known in bundles) > HEARTBEATS:
        with run.store.ledger.write() as tx:
            forget_old(tx, run.stream.name)


def _verdict(look: _Look) -> Outcome:
    if look.place is not None:
        known, part = look.place
        look.error = None
        done = known.imported or part in known.done
        return _outcome(look, Verdict.DONE if done else Verdict.WAITING, known, part)
    if isinstance(look.error, WrongVersion):
        return Outcome(look.arrival, Verdict.WAITING, look.error)
    if look.error is not None:
        return Outcome(look.arrival, Verdict.BAD, look.error)
    if look.record is None:
        return Outcome(look.arrival, Verdict.FOREIGN)
    name = f"{look.record.epoch}/{look.record.sequence}"
    return Outcome(look.arrival, Verdict.WAITING, None, name, look.record.part)


def _outcome(look: _Look, verdict: Verdict, known: Known, part: int) -> Outcome:
    return Outcome(look.arrival, verdict, look.error, known.name, part)
