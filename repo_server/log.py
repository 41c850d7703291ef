"""What the server writes for the person who runs it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping


def report(what: str, **where: str) -> None:
    """One line on standard error; ``where`` is shown escaped and cut."""
    rest = "".join(f" {name}={value[:300]!r}" for name, value in where.items())
    sys.stderr.write(f"sluice serve: {what}{rest}\n")
    sys.stderr.flush()


def log_access(answer: Mapping[str, object]) -> None:
    """One answer as a line of JSON on standard output, with the time (UTC) in front."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    sys.stdout.write(json.dumps({"time": now, **answer}) + "\n")
    sys.stdout.flush()
