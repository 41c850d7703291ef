"""One sync of one repository: upstream -> blobs -> tree -> checked -> snapshot.

Nothing becomes a snapshot that is not proved complete. Whatever goes wrong is kept in the
ledger as a hold (what, since when, what to do) and raised; the next sync that works clears
it. Blobs that a failed sync fetched stay in the store, so that nothing is fetched twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from manifests import errors
from manifests.formats import format_named
from manifests.state import is_name
from manifests.zone import model as zone
from mirror.attempts import Attempts
from mirror.checking import Checker, Confined, read_keys
from mirror.commit import Committer
from mirror.gaps import not_missing, slip_of_the_pen
from mirror.open_source import open_source
from mirror.report import Progress, Quiet, SyncReport
from mirror.settings import Settings, spec_of
from store.records import AcceptedMissing
from store.store import Store

ATTEMPTS = 3
"""How often a copy that is not consistent is tried before it is held."""

_KINDS: tuple[tuple[type[errors.SluiceError], str], ...] = (
    (errors.RemovalsHeld, "removals"),
    (errors.TornUpstream, "torn"),
    (errors.SignatureInvalid, "signature"),
    (errors.UpstreamUnreachable, "unreachable"),
    (errors.UpstreamRefused, "refused"),
    (errors.UpstreamMismatch, "mismatch"),
    (errors.UpstreamError, "upstream"),
    (errors.FormatError, "index"),
    (errors.TreeError, "path"),
    (errors.NoSpace, "space"),
    (errors.UsageError, "configuration"),
    (errors.HeldError, "held"),
)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a sync works with; the defaults are right outside of tests.

    ``pause`` waits seconds between attempts and between tries of one request.
    """

    checker: Checker | None = None
    pause: Callable[[float], None] = time.sleep
    attempts: int = ATTEMPTS


def sync(
    store: Store,
    repository: zone.Repository,
    *,
    accept_missing: Sequence[str] = (),
    withdraw_missing: Sequence[str] = (),
    accept_removals: bool = False,
    dry_run: bool = False,
    reason: str = "",
    actor: str = "",
    progress: Progress | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
    tools: Tools | None = None,
) -> SyncReport:
    """Mirror ``repository`` and make a snapshot if anything changed.

    ``accept_missing`` names files that are broken upstream for good, ``reason`` says why;
    both are kept in the ledger and cross in the tree, until the file is there again or
    ``withdraw_missing`` names it. ``accept_removals`` lets this sync
    drop more than ``max_removals``. ``dry_run`` only says what would happen.

    Raises StoreBusy when this repository is being synced already; RemovalsHeld,
    TornUpstream, BadPath, SignatureInvalid, UpstreamError, FormatError, NoSpace,
    ConfigError, each after it was recorded as a hold (not in a dry run). UsageError, which is
    no hold, for files to accept that are not missing, and to withdraw that were not accepted.
    """
    if not is_name(repository.name):
        raise errors.ConfigError("not a name for a repository", where=repository.name[:80])
    name = repository.name
    committer = Committer(store, repository, actor, now)
    detail: dict[str, object] = {}
    with store.locks.named(f"sync-{name}"), store.locks.shared():
        fresh = [] if dry_run else committer.to_accept(accept_missing, reason)
        if withdraw_missing and not dry_run:
            committer.require_again(withdraw_missing)
        slips: list[errors.UsageError] = []
        try:
            return _sync(
                store,
                repository,
                committer,
                detail,
                fresh,
                slips,
                accept_removals=accept_removals,
                dry_run=dry_run,
                progress=progress or Quiet(),
                tools=tools or Tools(),
            )
        except errors.StoreBusy:
            raise
        except errors.SluiceError as error:
            if not dry_run and error not in slips:
                committer.hold(error, _kind(error), detail)
            if slips and error not in slips:
                raise slips[0] from error
            raise


def _sync(
    store: Store,
    repository: zone.Repository,
    committer: Committer,
    detail: dict[str, object],
    fresh: Sequence[AcceptedMissing],
    slips: list[errors.UsageError],
    *,
    accept_removals: bool,
    dry_run: bool,
    progress: Progress,
    tools: Tools,
) -> SyncReport:
    name = repository.name
    format_named(repository.format)
    keys = read_keys(repository.signers)
    exceptions = sorted([*committer.exceptions(), *fresh], key=lambda row: row.path)
    settings = Settings.of(repository, committer.previous(), keys, exceptions)
    with open_source(store, repository, settings, progress, tools.pause) as source:
        if dry_run:
            with store.blobs.batch() as batch:
                plan = source.plan(batch)
            return SyncReport(
                name,
                added=plan.added,
                updated=plan.updated,
                removed=plan.removed,
                bytes_needed=plan.size,
                dry_run=True,
            )
        attempts = Attempts(
            store,
            repository,
            spec_of(repository),
            settings,
            tools.checker or Confined(store),
            accept_removals=accept_removals,
            pause=tools.pause,
            most=tools.attempts,
            detail=detail,
        )
        try:
            built = attempts.run(source, committer.verified(keys.digest))
        except errors.SluiceError as error:
            if fresh and not settings.named:
                error.remedy += "; then give --accept-missing again, it was not recorded"
            elif fresh:
                slips += _accept(committer, settings, fresh)
            raise
        slips += _accept(committer, settings, fresh)
        if slips:
            raise slips[0]
        if built is None:
            committer.unchanged(None, settings)
            return SyncReport(name)
        previous = settings.previous
        snapshot = None
        if previous is not None and previous.snapshot.tree == built.tree.digest:
            committer.unchanged(built, settings)
        else:
            snapshot = committer.snapshot(built, settings, attempts.removals_accepted)
        source.committed(built.tree.digest)
    return SyncReport(
        name,
        snapshot,
        added=built.counts.added,
        updated=built.counts.updated,
        removed=built.counts.removed,
        bytes_needed=built.gathered.needed,
        bytes_downloaded=built.gathered.downloaded,
        attempts=built.attempts,
        problems=built.problems,
        returned=built.returned,
    )


def _accept(
    committer: Committer, settings: Settings, fresh: Sequence[AcceptedMissing]
) -> list[errors.UsageError]:
    """Record what this sync found missing; the error for what it did not, if any."""
    wrong = not_missing(settings, [row.path for row in fresh])
    committer.accept([row for row in fresh if row.path not in wrong])
    return [slip_of_the_pen(settings, wrong, committer.name)] if wrong else []


def _kind(error: errors.SluiceError) -> str:
    return next((kind for known, kind in _KINDS if isinstance(error, known)), "failed")
