"""Times of day as crontab writes them: five fields, and ``@daily`` and its like.

The meaning is that of crontab(5): Sunday is 0 and 7, names have three letters, and
where both the day of the month and the day of the week are restricted, either of
them is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from manifests.errors import ConfigError

_REMEDY = (
    "write five fields: minute hour day month weekday, such as `0 3 * * *` or"
    " `*/15 6-20 * * mon-fri`; or @hourly, @daily, @weekly, @monthly"
)
_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
}
_MONTHS = {
    name: number + 1
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
    )
}
_WEEKDAYS = {
    name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])
}
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_LONGEST = 200


@dataclass(frozen=True, slots=True)
class Cron:
    """The minutes, hours (0 to 23), days (1 to 31), months (1 to 12) and weekdays (0: Sunday)
    at which something is due; None for a day or weekday that is not restricted."""

    text: str
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: tuple[int, ...] | None
    months: tuple[int, ...]
    weekdays: tuple[int, ...] | None


def parse_cron(text: str) -> Cron:
    """Read an expression. Raises ConfigError."""
    fields = _WORDS.get(text.strip().lower(), text).split() if len(text) <= _LONGEST else []
    if len(fields) != 5:
        _fail(text)
    minutes, hours, days, months, weekdays = fields
    found = Cron(
        text=text.strip(),
        minutes=_field(text, minutes, 0, 59, {}),
        hours=_field(text, hours, 0, 23, {}),
        days=None if days == "*" else _field(text, days, 1, 31, {}),
        months=_field(text, months, 1, 12, _MONTHS),
        weekdays=None if weekdays == "*" else _weekdays(text, weekdays),
    )
    if found.days and found.weekdays is None:
        longest = max(_LENGTHS[month - 1] for month in found.months)
        if found.days[0] > longest:
            raise ConfigError(
                f"{text[:_LONGEST]!r} names a day that no such month has", remedy=_REMEDY
            )
    return found


def _weekdays(text: str, field: str) -> tuple[int, ...]:
    return tuple(sorted({day % 7 for day in _field(text, field, 0, 7, _WEEKDAYS)}))


def _field(text: str, field: str, low: int, high: int, names: Mapping[str, int]) -> tuple[int, ...]:
    """All values of one field: ``*``, ``5``, ``1-5``, each with ``/STEP``, and commas."""
    found: set[int] = set()
    for item in field.split(","):
        span, slash, step = item.partition("/")
        first, dash, last = span.partition("-")
        if span == "*":
            start, end = low, high if high != 7 else 6
        else:
            start = _number(text, first, low, high, names)
            # `5/15` counts on to the end, as in cron.
            end = start if not slash else high
            if dash:
                end = _number(text, last, low, high, names)
        every = _number(text, step, 1, high + 1, {}) if slash else 1
        if start > end:
            _fail(text)
        found.update(range(start, end + 1, every))
    return tuple(sorted(found))


def _number(text: str, word: str, low: int, high: int, names: Mapping[str, int]) -> int:
    value = names.get(word.lower())
    if value is None:
        if not (word.isascii() and word.isdigit() and len(word) <= 3):
            _fail(text)
        value = int(word)
    if not low <= value <= high:
        _fail(text)
    return value


def _fail(text: str) -> NoReturn:
    raise ConfigError(f"{text[:_LONGEST]!r} is not a cron expression", remedy=_REMEDY)
