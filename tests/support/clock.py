"""A clock that stands still until a test moves it."""

from __future__ import annotations

from datetime import UTC, datetime

NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


class Clock:
    """Says ``time``, at first noon of a day to come."""

    def __init__(self) -> None:
        self.time = NOON

    def __call__(self) -> datetime:
        return self.time
