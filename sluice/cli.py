"""The command line: words to functions, errors to one line each and an exit code.

Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 held: something
needs an operator.
"""

from __future__ import annotations

import argparse
import os
import pwd
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from manifests.errors import SluiceError, UsageError
from sluice import __version__, stopping
from sluice.errors import report
from sluice.examples import explain
from sluice.text import printable

Command = Callable[[argparse.Namespace], int]

_COMMANDS = {
    "init": ("init", "make a zone: keys, store and a commented zone.yaml"),
    "sync": ("mirroring", "mirror upstreams into new snapshots"),
    "adopt": ("adopting", "take the files of an existing mirror, so that they need not be fetched"),
    "capture": ("capturing", "run a build and keep all that it asks for"),
    "roots": ("capturing", "what is asked of a repository"),
    "pack": ("bundles", "seal what changed into the next bundle"),
    "release": ("bundles", "sign a draft (two-person release), list drafts, or reject one"),
    "send": ("bundles", "hand released parts to the carrier"),
    "resend": ("resending", "hand parts of a bundle over again, the same bytes under a new name"),
    "heartbeat": ("resending", "seal a bundle that says only what the inside should hold by now"),
    "receive": ("importing", "verify and publish what the CDS brought"),
    "serve": ("serving", "serve what is published, over HTTP"),
    "run": ("running", "all duties of the zone, until stopped"),
    "backup": ("backing", "copy the zone into a folder; the next time only what is new"),
    "restore": ("backing", "make the zone that -z names, which must not exist, from a backup"),
    "upgrade": ("upgrading", "bring an older zone to this version; a copy is kept"),
    "status": ("status", "streams, repositories, holds and warnings"),
    "check": ("checking", "whether the zone has what it needs, with the remedy for each fault"),
    "notices": ("notices", "messages about holds, by syslog and webhook: how they do, send, test"),
    "metrics": ("metrics", "figures for Prometheus, as text"),
    "show": ("show", "what a bundle changed: every item, with version, upstream and who did it"),
    "snapshots": ("history", "the snapshots of a repository"),
    "diff": ("history", "what changed between two snapshots"),
    "rollback": ("history", "serve an older snapshot"),
    "verify": ("upkeep", "read every blob again and check the audit log"),
    "gc": ("upkeep", "remove blobs that nothing needs any more"),
    "quarantine": ("upkeep", "files that were refused, with the reason"),
    "wants": ("wants", "what clients asked for and did not get: list, export, import, forget"),
    "slip": ("slips", "inside: write a return slip; outside: accept one"),
    "events": ("events", "the audit log"),
    "trust": ("trust", "the root of trust and its keys"),
    "keys": ("trust", "package keys that came in bundles: list, approve, withdraw"),
}
"""Which module of ``sluice.commands`` has a command, and what `--help` says of it. Only the one
that is called is imported: the server's and the ledger's libraries take longer to load than most
work."""

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
        remedy = f"see: {self.prog} --help"
        if re.match(r"unrecognized arguments: (-z|--zone)\b", message):
            remedy = "-z stands before the command: sluice -z DIR COMMAND"
        raise UsageError(message, where=self.prog, remedy=remedy)


def parser(words: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The command line, as far as ``words`` need it; all of it without them."""
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
    called, stray = _called(words or ())
    if stray:
        near = get_close_matches(stray, _COMMANDS, 1)
        raise UsageError(
            f"there is no command {stray[:80]!r}",
            remedy=f"did you mean `{near[0]}`? all are in: sluice --help"
            if near
            else "see: sluice --help",
        )
    if called is not None:
        names = {_COMMANDS[called][0]}
    elif words is None or any(word in _COMMANDS for word in words):
        names = {module for module, _ in _COMMANDS.values()}
    else:
        names = set()
        for name, (_, text) in _COMMANDS.items():
            commands.add_parser(name, help=text)
    for name in sorted(names):
        import_module(f"sluice.commands.{name}").register(commands)
    explain(top, {name: text for name, (_, text) in _COMMANDS.items()})
    return top


def _called(words: Sequence[str]) -> tuple[str | None, str]:
    """The command in ``words``: the first word that is neither an option nor its value; or that
    word, if it is none."""
    rest = iter(words)
    for word in rest:
        if word in ("-z", "--zone"):
            next(rest, None)
        elif word in ("-h", "--help", "--version"):
            break
        elif not word.startswith("-"):
            return (word, "") if word in _COMMANDS else (None, word)
    return None, ""


def _only_text(values: Iterable[object]) -> None:
    """Refuse what was typed and no UTF-8 holds, files apart: no ledger or bundle has such a name.

    Raises UsageError.
    """
    for value in values:
        for word in value if isinstance(value, list) else [value]:
            if not isinstance(word, str):
                continue
            try:
                word.encode()
            except UnicodeEncodeError:
                raise UsageError(
                    f"an argument that is not UTF-8: {printable(word)[:80]}",
                    remedy="write it in UTF-8; a file of such a name has to be renamed",
                ) from None


def _told(error: OSError, zone: Path) -> SluiceError:
    """A file that is not there or may not be touched; a traceback would say less."""
    where = Path(os.fsdecode(error.filename)).absolute()
    what = error.strerror or str(error)
    if isinstance(error, FileNotFoundError) and not where.parent.exists():
        return SluiceError(
            "there is no such folder",
            where=str(where.parent),
            remedy="make it or mount it, then run the same command again",
        )
    if isinstance(error, PermissionError):
        return SluiceError(what, where=str(where), remedy=_whose(where, zone.absolute()))
    return SluiceError(
        what,
        where=str(where),
        remedy="see that it is there, mounted, and that the account of the zone may use it",
    )


def _whose(path: Path, zone: Path) -> str:
    """Which account may use ``path``: mostly somebody else's call, or root's earlier one."""
    here = next(one for one in (path, *path.parents) if os.access(one, os.F_OK))
    try:
        owner, me = here.owner(), pwd.getpwuid(os.geteuid()).pw_name
        if (zone == here or zone in here.parents) and zone.owner() == me:
            return f"this belongs to {owner}, the zone to {me}; as root: chown -R {me} {zone}"
    except (OSError, KeyError):
        return "call this as the account that owns the zone"
    return f"this is {me}, and {here} belongs to {owner}: let it in, or call this as that account"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Without ``arguments`` it is the program."""
    if arguments is not None:
        return _obey(arguments)
    try:
        try:
            code = _obey(sys.argv[1:])
        except SystemExit as end:  # of a stop, or of --help
            stopping.leave(end.code)
            raise
        stopping.leave(code)
    except KeyboardInterrupt:  # when the command had ended already
        os._exit(130)
    return code


def _obey(words: Sequence[str]) -> int:
    options: argparse.Namespace | None = None
    try:
        stopping.heed()
        try:
            options = parser(words).parse_args(words)
            _only_text(vars(options).values())
            command: Command = options.command
            return command(options)
        except SluiceError as error:
            report(error)
            return error.exit_code
        except Exception as error:
            stopping.check()  # what unwinding itself broke is no failure either
            if not (isinstance(error, OSError) and error.filename):
                raise
            report(_told(error, options.zone if options else Path()))
            return 1
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output went away (`| head`): not a failure of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
