"""Messages for the person who runs the server."""

from __future__ import annotations

import sys


def report(what: str, **where: str) -> None:
    """One line on standard error; ``where`` is shown escaped and cut."""
    rest = "".join(f" {name}={value[:300]!r}" for name, value in where.items())
    sys.stderr.write(f"sluice serve: {what}{rest}\n")
    sys.stderr.flush()
