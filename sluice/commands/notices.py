"""``sluice notices``: who is told of holds, gaps and silence, and whether that works."""

from __future__ import annotations

import argparse
from typing import Any

from manifests.errors import UsageError
from sluice.context import Context
from sluice.errors import report
from sluice.notices.deliver import deliver, try_out, waiting
from sluice.text import table


def register(commands: Any) -> None:
    notices = commands.add_parser("notices")
    notices.set_defaults(command=show_notices)
    acts = notices.add_subparsers(metavar="send|test")
    send = acts.add_parser("send", help="tell what has not been told; `run` does it every minute")
    send.set_defaults(command=send_notices)
    test = acts.add_parser("test", help="send a test message by every channel")
    test.set_defaults(command=test_notices)


def _opened(options: argparse.Namespace) -> Context:
    context = Context.open(options.zone)
    if not context.zone.notices.channels:
        raise UsageError(
            "nobody is to be told",
            where=str(context.zone.folder / "zone.yaml"),
            remedy="add `notices: {syslog: {address: /dev/log}}`; the file has an example",
        )
    return context


def show_notices(options: argparse.Namespace) -> int:
    context = _opened(options)
    with context.store.ledger.read() as tx:
        found = waiting(context, tx, context.now())
    rows = [("channel", "sent", "last", "waiting", "trouble")]
    for name, channel in found.items():
        failing = channel["failing"]
        trouble = f"since {failing['since']}: {failing['error']}" if failing else "-"
        counts = str(channel["sent"]), channel["last"] or "never", str(channel["waiting"])
        rows.append((name, *counts, trouble))
    print(table(rows))
    return 0


def send_notices(options: argparse.Namespace) -> int:
    """What cannot be delivered is said and kept, and is no failure: the next call goes on."""
    for problem in deliver(_opened(options)):
        report(problem, about="notices")
    return 0


def test_notices(options: argparse.Namespace) -> int:
    """Ends with 1 if any channel does not work."""
    code = 0
    for name, problem in try_out(_opened(options)):
        if problem is None:
            print(f"{name}: a test message was handed over")
        else:
            report(problem, about=name)
            code = 1
    return code
