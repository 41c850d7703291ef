"""From each version of the ledger to the next.

A step is carried out in one transaction with the version that it reaches, so that a
process may die anywhere; it must not ask what ``schema`` looks like in a later version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Connection

from store.ledger import schema


@dataclass(frozen=True, slots=True)
class Step:
    """How a ledger of version ``before`` becomes one of the next; ``does`` says it in words."""

    before: int
    does: str
    carry_out: Callable[[Connection], None]


def _adds(*names: str) -> Callable[[Connection], None]:
    """Make tables that are not there yet."""

    def carry_out(connection: Connection) -> None:
        tables = [schema.metadata.tables[name] for name in names]
        schema.metadata.create_all(connection, tables=tables)

    return carry_out


STEPS: tuple[Step, ...] = (
    Step(
        1,
        "adds the tables roots, fetched, closures and wants",
        _adds("roots", "fetched", "closures", "wants"),
    ),
)
"""In order, each version once; the last one reaches ``schema.SCHEMA_VERSION``."""

OLDEST = STEPS[0].before
"""The oldest version that can be brought up to date."""
