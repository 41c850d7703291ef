"""All checks, and running them: one that fails or hangs stops no other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from manifests.errors import SluiceError
from sluice.health.carriers import carriers
from sluice.health.certificates import certificates
from sluice.health.clock import clock
from sluice.health.filesystem import filesystem
from sluice.health.finding import Finding, problem
from sluice.health.keys import keys
from sluice.health.ledger import ledger
from sluice.health.owners import owners
from sluice.health.programs import programs
from sluice.health.service import service
from sluice.health.site import Site
from sluice.health.space import space
from sluice.health.upstreams import upstreams
from sluice.health.watching import watching

Check = Callable[[Site], Iterable[Finding]]

CHECKS: Final[tuple[tuple[str, Check], ...]] = (
    ("ledger", ledger),
    ("space", space),
    ("filesystem", filesystem),
    ("owners", owners),
    ("clock", clock),
    ("keys", keys),
    ("certificates", certificates),
    ("programs", programs),
    ("carriers", carriers),
    ("upstreams", upstreams),
    ("watching", watching),
    ("service", service),
)
"""In the order in which they are told; docs/operations.md has a line for each."""

_PATIENCE: Final = 120.0
"""Seconds after which a check is given up: a file server that hangs answers nobody."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A finding, and which check it is of."""

    check: str
    finding: Finding


def examine(
    site: Site,
    checks: Iterable[tuple[str, Check]] = CHECKS,
    *,
    patience: float = _PATIENCE,
) -> Iterator[Checked]:
    """Run all checks, one after the other."""
    for name, check in checks:
        for finding in _run(name, check, site, patience):
            yield Checked(name, finding)


def _run(name: str, check: Check, site: Site, patience: float) -> list[Finding]:
    found: list[Finding] = []

    def work() -> None:
        try:
            for finding in check(site):
                found.append(finding)
        except SluiceError as error:
            found.append(problem(error.where or name, error.what, error.remedy))
        except Exception as error:  # noqa: BLE001
            # Whatever it is, the others have something to say, too.
            what = f"the check could not be made: {type(error).__name__}: {error}"
            found.append(problem(name, what, "see what the message names; then check again"))

    thread = threading.Thread(target=work, name=f"check-{name}", daemon=True)
    thread.start()
    thread.join(patience)
    if thread.is_alive():
        what = f"no answer within {patience:.0f} seconds"
        remedy = "a disk, mount or server does not answer: look there first"
        return [*found, problem(name, what, remedy)]
    return found
