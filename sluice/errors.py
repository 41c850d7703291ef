"""How an error reaches an operator: what is wrong, and on the next line what to do."""

from __future__ import annotations

import sys

from manifests.errors import SluiceError
from sluice import stopping


def report(error: SluiceError, *, about: str = "") -> None:
    """Print ``error`` on standard error, in two lines that stand together.

    After a wish to stop that is raised instead: what it interrupted is no failure.
    """
    stopping.check()
    prefix = f"sluice: {about}: " if about and about != error.where else "sluice: "
    held = "HELD: " if error.exit_code == 3 else ""
    lines = [f"{prefix}{held}{error}"]
    if error.remedy:
        lines.append(f"  -> {error.remedy}")
    print("\n".join(lines), file=sys.stderr)
