"""``sluice check``: whether the zone has what it needs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from manifests.errors import HeldError
from manifests.state import format_time
from sluice.context import Context
from sluice.health.checks import Checked, examine
from sluice.health.finding import Level, worst
from sluice.health.site import Site
from sluice.text import plural

CHECK_VERSION = 1


def register(commands: Any) -> None:
    command = commands.add_parser("check")
    command.add_argument("--json", action="store_true", help="documented and versioned JSON")
    command.add_argument(
        "--offline", action="store_true", help="connect to no upstream and no carrier"
    )
    command.add_argument("--quiet", action="store_true", help="only what is not well")
    command.add_argument(
        "--days", type=int, default=30, metavar="N", help="tell expiries N days ahead; default: 30"
    )
    command.set_defaults(command=check_zone)


def check_zone(options: argparse.Namespace) -> int:
    """Ends with 3 when something needs an operator; warnings are none."""
    context = Context.open(options.zone)
    site = Site(context.zone, context.now(), offline=options.offline, days=max(0, options.days))
    found: list[Checked] = []
    for one in examine(site):
        found.append(one)
        if not options.json and not (options.quiet and one.finding.level is Level.OK):
            print(_line(one), flush=True)
    if options.json:
        json.dump(_document(site, found), sys.stdout, indent=2)
        print()
    elif not options.quiet:
        print(_sum(found))
    bad = worst(one.finding for one in found) is Level.PROBLEM
    return HeldError.exit_code if bad else 0


def _line(one: Checked) -> str:
    finding = one.finding
    remedy = f" -> {finding.remedy}" if finding.remedy else ""
    text = f"{finding.level:<8}{one.check}: {finding.where}: {finding.what}{remedy}"
    return "".join(c if c.isprintable() else "?" for c in text)


def _sum(found: list[Checked]) -> str:
    count = {level: sum(one.finding.level is level for one in found) for level in Level}
    if not count[Level.PROBLEM] and not count[Level.WARNING]:
        return "all is well"
    return f"{plural(count[Level.PROBLEM], 'problem')}, {plural(count[Level.WARNING], 'warning')}"


def _document(site: Site, found: list[Checked]) -> dict[str, Any]:
    return {
        "version": CHECK_VERSION,
        "zone": site.zone.kind.value,
        "folder": str(site.folder),
        "time": format_time(site.now),
        "level": worst(one.finding for one in found).value,
        "findings": [
            {
                "check": one.check,
                "level": one.finding.level.value,
                "where": one.finding.where,
                "what": one.finding.what,
                "remedy": one.finding.remedy,
            }
            for one in found
        ],
    }
