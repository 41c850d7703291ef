"""The command line: words to functions, errors to one line each and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 held: something
needs an operator.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from manifests.errors import SluiceError, UsageError
from sluice import __version__, stopping
from sluice.errors import report

Command = Callable[[argparse.Namespace], int]

_MODULES = {
    "init": "init",
    "sync": "mirroring",
    "capture": "capturing",
    "roots": "capturing",
    "pack": "bundles",
    "release": "bundles",
    "send": "bundles",
    "resend": "resending",
    "heartbeat": "resending",
    "receive": "importing",
    "serve": "serving",
    "run": "running",
    "backup": "backing",
    "restore": "backing",
    "status": "status",
    "metrics": "metrics",
    "snapshots": "history",
    "diff": "history",
    "rollback": "history",
    "verify": "upkeep",
    "gc": "upkeep",
    "quarantine": "upkeep",
    "wants": "wants",
    "slip": "slips",
    "events": "events",
    "trust": "trust",
    "keys": "trust",
}
"""Which module of ``sluice.commands`` has a command. Only the one that is called is
imported: the server's and the ledger's libraries take longer to load than most work."""

_DESCRIPTION = """\
Sluice carries package repositories across an air gap.

  outside:  sluice init outside OUT --stream hq      then: sync, pack, send
  inside:   sluice init inside IN --root root.json --stream hq
            then: receive, serve
"""

_EPILOG = """\
exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
            3 held: something needs an operator (see: sluice -z DIR status)
"""


class _Parser(argparse.ArgumentParser):
    """argparse, with our way to report a mistake."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, where=self.prog, remedy=f"see: {self.prog} --help")


def parser(words: Sequence[str] = ()) -> argparse.ArgumentParser:
    """The command line; only the command in ``words`` if there is one, else all of it."""
    top = _Parser(
        prog="sluice",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument(
        "-z",
        "--zone",
        type=Path,
        metavar="DIR",
        default=Path(os.environ.get("SLUICE_ZONE", ".")),
        help="the zone's folder (default: $SLUICE_ZONE, else the current folder)",
    )
    top.add_argument("--version", action="version", version=f"sluice {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    called = _called(words)
    names = [_MODULES[called]] if called else dict.fromkeys(_MODULES.values())
    for name in names:
        import_module(f"sluice.commands.{name}").register(commands)
    return top


def _called(words: Sequence[str]) -> str | None:
    """The command in ``words``: the first word that is neither an option nor its value."""
    rest = iter(words)
    for word in rest:
        if word in ("-z", "--zone"):
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in _MODULES else None
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    stopping.heed()
    try:
        try:
            words = sys.argv[1:] if arguments is None else arguments
            options = parser(words).parse_args(words)
            command: Command = options.command
            return command(options)
        except SluiceError as error:
            report(error)
            return error.exit_code
        except Exception:
            stopping.check()  # what unwinding itself broke is no failure either
            raise
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not a failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
