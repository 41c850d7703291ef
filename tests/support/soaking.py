"""How many examples a property test draws where the number of the profile does not suit it."""

from __future__ import annotations

from hypothesis import settings


def examples(count: int) -> int:
    """``count``; ten times as many, each time others, in the profile ``soak``."""
    return count if settings.default.derandomize else 10 * count
