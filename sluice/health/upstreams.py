"""Upstreams: one cheap request each, as a sync would ask."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from manifests.errors import SluiceError
from manifests.zone import Repository
from mirror.probe import address, probe
from sluice.health.finding import Finding, ok, problem
from sluice.health.site import Site

_AT_ONCE = 8


def upstreams(site: Site) -> Iterator[Finding]:
    """All of them, several at a time."""
    if site.outside is None or site.offline:
        return
    repositories = list(site.outside.repositories.values())
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        yield from pool.map(lambda one: _ask(one, site.seconds), repositories)


def _ask(repository: Repository, seconds: float) -> Finding:
    where = f"{repository.name}: {address(repository)}"
    try:
        said = probe(repository, seconds)
    except SluiceError as error:
        return problem(where, error.what, error.remedy or "see `upstream` in zone.yaml")
    return ok(where, said)
