"""Paths that an operator accepted as missing or broken upstream for good.

``.sluice/exceptions.json`` is a JSON list of objects with the strings ``path``,
``reason``, ``by`` and ``at`` (UTC). It travels in the tree, so that the inside
knows what the outside knew, and reports it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from manifests import jsontext
from manifests.errors import MalformedIndex
from manifests.formats.base import EXCEPTIONS, Problem, Severity, TreeView
from manifests.formats.bounded import read_small

MAX_BYTES = 4 << 20


def accepted(view: TreeView) -> dict[str, str]:
    """Accepted paths with their reasons. Raises MalformedIndex, OversizedIndex."""
    if view.lookup(EXCEPTIONS) is None:
        return {}
    with view.open(EXCEPTIONS) as file:
        data = read_small(file, MAX_BYTES, EXCEPTIONS)
    try:
        rows = jsontext.loads(data)
    except ValueError as error:
        raise MalformedIndex("not JSON", where=EXCEPTIONS) from error
    if not isinstance(rows, list):
        raise MalformedIndex("not a JSON list", where=EXCEPTIONS)
    found: dict[str, str] = {}
    for row in rows:
        path = row.get("path") if isinstance(row, dict) else None
        reason = row.get("reason", "") if isinstance(row, dict) else None
        if not isinstance(path, str) or not isinstance(reason, str):
            raise MalformedIndex("an exception without path or reason", where=EXCEPTIONS)
        found[path] = reason
    return found


def with_exceptions(problems: Iterable[Problem], view: TreeView) -> Iterator[Problem]:
    """``problems``, those of accepted paths as advice."""
    known = accepted(view)
    for problem in problems:
        if problem.path in known and problem.severity is Severity.REQUIRED:
            reason = ascii(known[problem.path][:200])[1:-1] or "no reason given"
            what = f"{problem.what} (accepted: {reason})"
            yield replace(problem, what=what, severity=Severity.ADVICE)
        else:
            yield problem
