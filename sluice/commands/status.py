"""``sluice status``: what a zone knows of itself, for people and for programs."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from manifests.units import format_bytes
from sluice.context import Context
from sluice.status import zone_status
from sluice.text import duties_table, files_of_parts, plural, table

_SHOWN = 5
"""Items of a hold that are shown; ``--json`` has more."""


def register(commands: Any) -> None:
    status = commands.add_parser("status")
    status.add_argument("--json", action="store_true", help="documented and versioned JSON")
    status.set_defaults(command=show_status)


def show_status(options: argparse.Namespace) -> int:
    """Ends with 1 where the store is damaged, else with 3 while something is held."""
    status = zone_status(Context.open(options.zone))
    if options.json:
        json.dump(status, sys.stdout, indent=2)
        print()
    else:
        _print(status)
    return 1 if status["store"]["damage"] else 3 if status["holds"] else 0


def _print(status: dict[str, Any]) -> None:
    print(f"{status['zone']} zone at {status['time']}")
    steps = ("packed", "sent") if status["zone"] == "outside" else ("received", "imported")
    outside = status["zone"] == "outside"
    streams = [
        (name, *(_mark(stream[step]) for step in steps))
        + ((_confirmed(stream),) if outside else ())
        for name, stream in status["streams"].items()
    ]
    if streams:
        print()
        print(table([("stream", *steps, *(("confirmed",) if outside else ())), *streams]))
    for name, stream in status["streams"].items():
        for number in (stream.get("volumes") or {}).get("wanted", ()):
            print(f"\n{name}: volume {number} is still wanted")
    rows = [("repository", "format", "live" if status["zone"] == "inside" else "snapshot", "")]
    for name, repository in status["repositories"].items():
        rows.append((name, repository["format"] or "-", *_repository(repository)))
    if len(rows) > 1:
        print()
        print(table(rows))
    for name, repository in status["repositories"].items():
        if repository["exceptions"]:
            print(f"\n{name}: accepted as missing: {_first(repository['exceptions'])}")
    for one in status["store"]["damage"]:
        print(f"\nDAMAGED {one['where']}: {one['what']}")
    if status["store"]["damage"]:
        print(f"  -> {status['store']['damage'][-1]['remedy']}")
    for hold in status["holds"]:
        print(
            f"\nHELD {hold['repository'] or hold['stream']} since {hold['since']}: {hold['reason']}"
        )
        for line in files_of_parts(hold["detail"]):
            print(f"     {line}")
        items = [] if hold["detail"].get("files") else hold["detail"].get("items", [])
        for item in items[:_SHOWN]:
            print(f"     {item}")
        if hold["detail"].get("total", 0) > _SHOWN:
            print(f"     ... {hold['detail']['total']} in all")
        if hold["remedy"]:
            print(f"  -> {hold['remedy']}")
    _print_duties(status)
    if status["wants"]:
        print(f"\n{plural(status['wants'], 'want')} of clients: see `sluice wants`")
    for name, channel in status["notices"].items():
        if channel["failing"]:
            failing = channel["failing"]
            print(f"\nNOTICES by {name} are not delivered since {failing['since']}:")
            print(f"     {failing['error']}; {plural(channel['waiting'], 'message')} to tell")
            print("  -> sluice notices test")
    for line in status["warnings"]:
        print(f"\nwarning: {line}")


def _print_duties(status: dict[str, Any]) -> None:
    """Only where `run` was ever used."""
    if not status["run"]["running"] and not any(d["last"] for d in status["duties"].values()):
        return
    print()
    print(duties_table(status["duties"]))
    if not status["run"]["running"]:
        print("`sluice run` is not running: none of these is done by itself")


def _first(paths: list[str]) -> str:
    more = len(paths) - _SHOWN
    return ", ".join(paths[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _confirmed(stream: dict[str, Any]) -> str:
    number = stream["watermarks"]["confirmed"]
    return "-" if number is None else str(number)


def _mark(mark: dict[str, Any] | None) -> str:
    return "-" if mark is None else f"{mark['sequence']} ({mark['time']})"


def _repository(repository: dict[str, Any]) -> tuple[str, str]:
    state = repository["publication"] or repository["snapshot"]
    if state is None:
        return "nothing yet", ""
    notes = [f"{plural(state['files'] or 0, 'file')}, {format_bytes(state['bytes'] or 0)}"]
    if repository["publication"] and state["rolled_back"]:
        notes.append("rolled back")
    if repository.get("withdrawn"):
        notes.append("no longer sent by the outside")
    if repository["exceptions"]:
        notes.append(f"{plural(len(repository['exceptions']), 'file')} accepted as missing")
    if repository["holds"]:
        notes.append("held")
    return f"{state['serial']} ({state['time']})", ", ".join(notes)
