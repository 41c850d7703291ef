"""Who looks at the zone: the file for Prometheus, and the channels of notices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manifests.errors import SluiceError
from manifests.state import format_time
from sluice.context import read_secret
from sluice.health.carriers import look
from sluice.health.finding import Finding, ok, problem
from sluice.health.site import Site
from sluice.notices.state import Failing, load


def watching(site: Site) -> Iterator[Finding]:
    """What ``metrics`` and ``notices`` name. Nothing is sent: `notices test` does that."""
    if site.zone.metrics is not None:
        yield _figures(site.zone.metrics)
    notices = site.zone.notices
    if notices.webhook is not None:
        files = (notices.webhook.secret_file, notices.webhook.ca_file)
        for file in files:
            if file is not None:
                yield _readable(file)
    if site.store is None:
        return
    with site.store.ledger.read() as tx:
        state = load(tx)
    for name in notices.channels:
        yield judge_channel(name, state.channel(name).failing)


def _figures(file: Path) -> Finding:
    folder = look(file.parent)
    if folder.exists and folder.write:
        return ok(file, "`run` can write figures there")
    what = "this account may not write there" if folder.exists else "there is no such folder"
    remedy = "make the folder and give it to this account; under systemd: ReadWritePaths="
    return problem(file.parent, f"`metrics` lies there, but {what}", remedy)


def _readable(file: Path) -> Finding:
    try:
        read_secret(file)
    except SluiceError as error:
        return problem(file, error.what, error.remedy)
    return ok(file, "the webhook's file can be read")


def judge_channel(name: str, failing: Failing | None) -> Finding:
    """How a channel of notices does."""
    if failing is None:
        return ok(f"notices by {name}", "no trouble since the last one")
    what = f"not delivered since {format_time(failing.since)}: {failing.error}"
    return problem(f"notices by {name}", what, "mend it, then: sluice notices test")
