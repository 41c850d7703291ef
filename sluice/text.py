"""How values look in messages for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from manifests.state import format_time

_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a cell must not begin with, in both widths."""


def fingerprint(digest: str) -> str:
    """A digest in groups of eight, to be compared by eye or over the telephone."""
    return " ".join(digest[i : i + 8] for i in range(0, len(digest), 8))


def when(moment: datetime | None) -> str:
    """A time in UTC, or ``never``."""
    return "never" if moment is None else format_time(moment)


def printable(text: str) -> str:
    """Text from outside as part of one line, with what a terminal would act upon escaped."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def cell(text: str) -> str:
    """Text from outside for a CSV cell: printable, and no formula in any spreadsheet.

    What begins like a formula gets an apostrophe in front (OWASP, "CSV Injection").
    """
    shown = printable(text)
    return f"'{shown}" if shown.lstrip(" ").startswith(_FORMULAS) else shown


def plural(count: int, one: str, many: str = "") -> str:
    """``1 file``, ``2 files``."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def some(items: Sequence[str], limit: int = 5) -> str:
    """The first items, and how many there are besides."""
    shown = ", ".join(items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"


def files_of_parts(detail: Mapping[str, object], limit: int = 10) -> list[str]:
    """From the detail of a hold, a line for each lost part: what of it is missing."""
    files = detail.get("files")
    if not isinstance(files, Mapping):
        return []
    lines = [f"bundle {part}: {some(list(paths)) or 'no files'}" for part, paths in files.items()]
    return lines[:limit] + ([f"and {len(lines) - limit} more parts"] if len(lines) > limit else [])


def duties_table(duties: Mapping[str, Mapping[str, Any]]) -> str:
    """``duties`` of the status, for people."""
    rows = [("duty", "last run", "ended with", "next run")]
    for name, duty in duties.items():
        last, otherwise = duty["last"], "by hand (no `schedule`)"
        if name.startswith("pack "):
            otherwise = "when something changed"
        began, code = (last["began"], str(last["code"])) if last else ("never", "-")
        rows.append((name, began, code, duty["next"] or otherwise))
    return table(rows)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns, aligned by the widest cell of each; no line ends in blanks."""
    if not rows:
        return ""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
