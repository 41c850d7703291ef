"""Examples of calls, which the help of a command shows below its options.

The zone is the one of ``-z`` or ``$SLUICE_ZONE``. A test parses every line.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init outside": (
        "sluice init outside /var/lib/sluice/hq --stream hq --root-key-to /media/rootkey",
    ),
    "init inside": ("sluice init inside /var/lib/sluice/hq --root /media/usb/root.json",),
    "sync": (
        "sluice sync                     all repositories",
        "sluice sync baseos --dry-run    what would be fetched",
        'sluice sync baseos --accept-missing Packages/a.rpm --reason "broken upstream"',
    ),
    "adopt": (
        "sluice adopt baseos /mnt/mirror/baseos             prints a digest to be compared",
        "sluice adopt baseos --list /media/out/list.txt     inside: for the outside",
        "sluice adopt baseos --inside /media/in/list.txt    outside: that need not cross",
    ),
    "capture": ("sluice capture central -- mvn -B verify",),
    "roots": ("sluice roots central --remove 'org.example:*'",),
    "pack": (
        "sluice pack             what changed",
        "sluice pack baseos      an urgent fix before a backlog",
        "sluice pack --full      everything, when in doubt about what is inside",
    ),
    "release": ("sluice release          lists the drafts",),
    "resend": ("sluice resend 7 --parts 3,7-9",),
    "receive": ("sluice receive --once",),
    "serve": ("sluice serve --listen 0.0.0.0:8080",),
    "run": ("sluice run --dry-run    lists the duties, their last and their next run",),
    "backup": ("sluice backup /media/backup/hq",),
    "restore": ("sluice -z /var/lib/sluice/hq restore /media/backup/hq",),
    "status": ("sluice status --json",),
    "check": ("sluice check --quiet    only what is not well",),
    "metrics": ("sluice metrics /var/lib/node_exporter/sluice-hq.prom",),
    "show": (
        "sluice show 7                  the first 1,000 items of each repository",
        "sluice show 7 --csv            all of them, for a spreadsheet",
    ),
    "diff": ("sluice diff baseos 3 4   what snapshot 4 changed; `snapshots` lists them",),
    "rollback": ("sluice rollback baseos 3 --dry-run",),
    "verify": ("sluice verify --repair  sets damaged blobs aside, to be fetched or sent again",),
    "gc": ("sluice gc --forget-changes 1825d    also what bundles changed five years ago",),
    "quarantine": ("sluice quarantine --remove-older 90d",),
    "wants export": ("sluice wants export /media/out/wants.txt",),
    "wants import": ("sluice wants import /media/in/wants.txt --accept",),
    "wants forget": ("sluice wants forget --older 180d",),
    "slip": (
        "sluice slip key                                    inside: the key that signs slips",
        "sluice slip /media/out/slip.txt                    inside: writes one",
        "sluice slip accept /media/in/slip.txt --resend     outside: takes it",
    ),
    "events": ("sluice events --last 20",),
    "events export": ("sluice events export /media/out/events.jsonl",),
    "trust export": ("sluice trust export /media/usb/root.json",),
    "trust rotate": ("sluice trust rotate targets --root-key-to /media/rootkey",),
    "trust renew": ("sluice trust renew --root-key-to /media/rootkey",),
}
"""By the words of the command; what stands after two spaces says what it does."""

_WIDTH = 79


def explain(
    parser: argparse.ArgumentParser, texts: Mapping[str, str], words: tuple[str, ...] = ()
) -> None:
    """Give every command below ``parser`` a description and its examples. ``texts`` says what
    the first words do; the others say it themselves."""
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        helps = {choice.dest: choice.help for choice in action._choices_actions}
        for name, below in action.choices.items():
            text = helps.get(name) or ("" if words else texts.get(name))
            _explain_one(below, text, EXAMPLES.get(" ".join((*words, name)), ()))
            explain(below, texts, (*words, name))


def _explain_one(
    parser: argparse.ArgumentParser, text: str | None, examples: tuple[str, ...]
) -> None:
    if text and not parser.description:
        parser.description = textwrap.fill(f"{text[:1].upper()}{text[1:]}.", _WIDTH)
    paragraphs = [textwrap.fill(parser.epilog, _WIDTH)] if parser.epilog else []
    if examples:
        title = "examples:" if len(examples) > 1 else "example:"
        paragraphs.append("\n".join([title, *(f"  {line}" for line in examples)]))
    parser.epilog = "\n\n".join(paragraphs) or None
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
