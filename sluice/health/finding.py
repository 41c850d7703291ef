"""What a check finds: one line for a person, one object for a program."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. Only a problem needs an operator now."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """``where`` is a path, an address, or a name; ``remedy`` is empty where nothing is to do."""

    level: Level
    where: str
    what: str
    remedy: str = ""


def ok(where: object, what: str) -> Finding:
    """Nothing to do."""
    return Finding(Level.OK, str(where), what)


def warning(where: object, what: str, remedy: str) -> Finding:
    """It works now, but soon will not, or should not be so."""
    return Finding(Level.WARNING, str(where), what, remedy)


def problem(where: object, what: str, remedy: str) -> Finding:
    """It does not work, or is unsafe."""
    return Finding(Level.PROBLEM, str(where), what, remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """The worst level of all."""
    order = list(Level)
    return max((finding.level for finding in findings), key=order.index, default=Level.OK)
