"""What no bundle brings up by itself: silence, a heartbeat that announces more than is
here, a ledger that was restored, parts whose manifest never came."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from manifests.errors import WrongVersion
from manifests.state import format_time
from manifests.trust import TrustState
from manifests.units import format_duration
from manifests.zone import InsideStream
from store.ledger import ReadTransaction
from store.records import Hold
from store.store import Store
from transfer.known import Known


def silence(tx: ReadTransaction, stream: InsideStream, now: datetime) -> Hold | None:
    """An alarm if the newest accepted bundle was made longer ago than ``silence`` allows.

    None before the first bundle: nobody knows when it should have come.
    """
    raw = tx.trust_state(stream.name)
    newest = None if raw is None else TrustState.from_bytes(raw).time_floor
    if stream.silence is None or newest is None or (now - newest).total_seconds() < stream.silence:
        return None
    allowed = format_duration(stream.silence)
    return Hold(
        key=f"stream:{stream.name}:silence",
        stream=stream.name,
        repository="",
        kind="silence",
        reason=f"nothing newer than {format_time(newest)} has come; `silence` allows {allowed}",
        remedy="see whether the link works and the outside sends (`heartbeat` there)",
        since=newest + timedelta(seconds=stream.silence),
        detail={"newest": format_time(newest)},
    )


def behind(
    stream: InsideStream, newest: Known | None, announced: Known, now: datetime
) -> list[Hold]:
    """For each repository of which a heartbeat announces another snapshot than the newest
    bundle that came: its release was lost, or is still on its way."""
    before = {} if newest is None else {r.repository: r for r in newest.manifest.state.rows}
    first = 1 if newest is None or newest.order[0] < announced.order[0] else newest.order[1] + 1
    gone = range(first, announced.order[1])
    which = f"{gone[0]}" if len(gone) == 1 else f"{gone[0]} to {gone[-1]}" if gone else "?"
    holds = []
    for row in announced.manifest.state.rows:
        if before.get(row.repository) == row:
            continue
        holds.append(
            Hold(
                key=f"{_behind(stream)}{row.repository}",
                stream=stream.name,
                repository=stream.local_name(row.repository) or row.repository,
                kind="behind",
                reason=f"heartbeat {announced.name} announces snapshot {row.serial}; what brings"
                f" it (among bundles {which}) has not come",
                remedy=f"wait for it, or outside: `resend` of bundle {which}",
                since=now,
                detail={"first": first, "last": announced.order[1] - 1, "serial": row.serial},
            )
        )
    return holds


def _behind(stream: InsideStream) -> str:
    return f"announced:{stream.name}:"


def unmatched(
    stream: InsideStream, claims: Sequence[tuple[str, int]], now: datetime
) -> Hold | None:
    """Parts that lie there while no manifest of theirs has come; what they claim to be is a
    hint that nobody signed."""
    if not claims:
        return None
    by_bundle: dict[str, list[int]] = {}
    for bundle, part in sorted(claims):
        by_bundle.setdefault(bundle, []).append(part)
    named = [
        f"bundle {bundle} part {', '.join(map(str, parts[:10]))}"
        + (f" and {len(parts) - 10} more" if len(parts) > 10 else "")
        for bundle, parts in list(by_bundle.items())[:10]
    ]
    return Hold(
        key=f"stream:{stream.name}:unmatched",
        stream=stream.name,
        repository="",
        kind="unmatched",
        reason="parts wait for a manifest that has not come: " + "; ".join(named),
        remedy="wait for the other parts, or outside: `resend` of part 1 of that bundle",
        since=now,
        detail={"items": named, "total": len(claims)},
    )


def unreadable(stream: InsideStream, errors: Sequence[WrongVersion], now: datetime) -> Hold | None:
    """Parts that lie there in a wire that only another Sluice reads."""
    if not errors:
        return None
    told = min(errors, key=lambda error: ("written by" not in error.what, error.what))
    return Hold(
        key=f"stream:{stream.name}:wire",
        stream=stream.name,
        repository="",
        kind="wire",
        reason=f"{len(errors)} parts wait unread: {told.what}",
        remedy=told.remedy,
        since=now,
        detail={"total": len(errors)},
    )


def note_alarms(
    store: Store,
    stream: InsideStream,
    bundles: Sequence[Known],
    state: TrustState,
    claims: Sequence[tuple[str, int]],
    unread: Sequence[WrongVersion],
    now: datetime,
) -> None:
    """After a run of `receive`: set what is an alarm now, and clear what is none any more.

    ``claims`` are the bundle and part that files of an unknown manifest say they are,
    ``unread`` what is wrong with those of an unknown wire.
    """
    newest = _at(bundles, state.epoch, state.released)
    announced = _at(bundles, state.epoch, state.sequence)
    wanted = []
    if announced is not None and announced is not newest:
        wanted += behind(stream, newest, announced, now)
    with store.ledger.read() as tx:
        alarms = (
            silence(tx, stream, now),
            unmatched(stream, claims, now),
            unreadable(stream, unread, now),
        )
        wanted += [hold for hold in alarms if hold]
        standing = {hold.key: hold for hold in tx.holds() if _is_ours(hold.key, stream)}
    keys = {hold.key for hold in wanted}
    if newest is None:
        keys.add(f"stream:{stream.name}:restored")
    gone = sorted(set(standing) - keys)
    fresh = [h for h in wanted if h.key not in standing or standing[h.key].reason != h.reason]
    if fresh or gone:
        with store.ledger.write() as tx:
            for key in gone:
                tx.clear_hold(key)
            for hold in fresh:
                tx.set_hold(hold)
                tx.event("held", hold.stream, hold.repository, reason=hold.reason)


def _at(bundles: Sequence[Known], epoch: int, sequence: int) -> Known | None:
    return next((known for known in bundles if known.order == (epoch, sequence)), None)


def _is_ours(key: str, stream: InsideStream) -> bool:
    kinds = ("silence", "unmatched", "restored", "wire")
    return key.startswith(_behind(stream)) or key in {f"stream:{stream.name}:{k}" for k in kinds}
