"""``capture`` and ``roots``: what builds need becomes part of a repository."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from manifests.errors import UsageError
from manifests.state import format_time
from manifests.units import format_bytes
from mirror.maven.asked import remove_roots, roots_of
from mirror.maven.pull import Tally
from sluice.commands.mirroring import chosen
from sluice.context import Context
from sluice.fulfilled import arrived
from sluice.text import plural, table, when
from store.records import Root, RootKind

_SHOWN = 20


def register(commands: Any) -> None:
    capture = commands.add_parser(
        "capture",
        epilog="{settings}, {init_script}, {local_repository} and {url} in COMMAND stand for a"
        " settings.xml, a Gradle init script, the empty local repository and our address."
        " Without COMMAND the proxy of `capture: {listen: ...}` is kept up until it is stopped.",
    )
    capture.add_argument("repository", metavar="REPO")
    capture.add_argument("words", nargs=argparse.REMAINDER, metavar="-- COMMAND...")
    capture.set_defaults(command=capture_build)

    roots = commands.add_parser("roots")
    roots.add_argument("repository", metavar="REPO")
    roots.add_argument(
        "--remove", action="append", default=[], metavar="ROOT", help="a name or glob (repeatable)"
    )
    roots.add_argument("--json", action="store_true")
    roots.set_defaults(command=show_roots)


def capture_build(options: argparse.Namespace) -> int:
    """Returns the build's own exit code."""
    from mirror.maven.capture import capture, keep_up

    context = Context.open(options.zone)
    repository = chosen(context.outside, [options.repository])[0]
    words = list(options.words)
    if words[:1] == ["--"]:
        words = words[1:]
    if words and words[0].startswith("-"):
        raise UsageError(
            f"there is no option {words[0]}",
            remedy=f"write the build's command after two hyphens: sluice capture {repository.name}"
            " -- mvn verify",
        )
    if not words:
        keep_up(
            context.store,
            repository,
            actor=context.actor,
            announce=lambda url: print(f"{repository.name}: capturing at {url}", flush=True),
        )
        return 0
    code, tally = capture(context.store, repository, words, actor=context.actor)
    _tell(repository.name, code, tally)
    return code


def _tell(name: str, code: int, tally: Tally) -> None:
    """On stderr: the build's own output may be read by a program."""

    def say(text: str) -> None:
        print(f"{name}: {text}", file=sys.stderr)

    say(
        f"captured {plural(tally.roots, 'new root')}; {plural(tally.asked, 'request')},"
        f" {plural(tally.fetched, 'file')} fetched ({format_bytes(tally.bytes)}),"
        f" {tally.absent} not there"
    )
    for failed, reason in list(tally.failures.items())[:_SHOWN]:
        say(f"kept out: {failed}: {reason}")
    if len(tally.failures) > _SHOWN:
        say(f"and {len(tally.failures) - _SHOWN} more were kept out")
    if code:
        say(f"the build ended with {code}; what it asked for is kept all the same")


def show_roots(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    repository = chosen(context.outside, [options.repository])[0]
    if options.remove:
        gone = remove_roots(context.store, repository, options.remove, actor=context.actor)
        print(f"{repository.name}: {plural(len(gone), 'root')} removed; the next sync drops"
              " what nothing else needs")  # fmt: skip
        return 0
    found = roots_of(context.store, repository)
    named = [one.root for one in found if one.kind is not RootKind.PROJECT]
    here = arrived(context.store, repository.name, repository.format, named)
    if options.json:
        rows = [
            {
                "root": one.root,
                "kind": one.kind,
                "by": one.by,
                "at": format_time(one.at),
                "here": None if one.kind is RootKind.PROJECT else one.root in here,
            }
            for one in found
        ]
        print(json.dumps(rows, indent=2))
        return 0
    if not found:
        print(f"{repository.name}: nothing is asked of it")
        return 0
    print(
        table([("kind", "root", "by", "since", "here"),
               *((one.kind.value, one.root, one.by, when(one.at), _here(one, here))
                 for one in found)])
    )  # fmt: skip
    return 0


def _here(root: Root, here: set[str]) -> str:
    if root.kind is RootKind.PROJECT:
        return ""
    return "yes" if root.root in here else "not yet"
