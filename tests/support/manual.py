"""The command blocks of a document, each with the mark that says who runs it.

A mark is an HTML comment in the line before the fence, invisible to readers:

    <!-- run: MACHINE as ACCOUNT -->                  every line ends with 0
    <!-- run: MACHINE as ACCOUNT, ends with N -->     the last line ends with N
    <!-- run: MACHINE as ACCOUNT, within a minute --> repeated until it ends and prints so
    <!-- prints -->                                   what the block before printed; ... is anything
    <!-- below "LINE" in FILE MACHINE -->             what a person inserts there
    <!-- not run: WHY -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

FOLLOWED = (
    "## From nothing to a served repository",
    "## Loss and sending again",
    "## Wants",
    "## Stopping bad content",
    "## Keys",
    "## Routine",
    "## Backups",
    "## Installing without a network",
    "## As a service",
)
"""Sections of docs/operations.md whose commands are run, in the order in which they are."""

RUN = re.compile(
    r"run: (?P<machine>[a-z]+) as (?P<account>[a-z]+)"
    r"(?:, ends with (?P<code>\d+))?(?P<patient>, within a minute)?"
)
BELOW = re.compile(r'below "(?P<line>[^"]+)" in (?P<file>\S+) (?P<machine>[a-z]+)')
NOT_RUN = re.compile(r"not run: (?P<why>\S.{9,})")


@dataclass(frozen=True)
class Block:
    """One fenced block of a section."""

    where: str
    """``FILE:LINE``, for messages."""
    mark: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The commands, those that go on after a backslash joined."""
        joined = self.text.replace("\\\n", "")
        return [line for line in joined.splitlines() if line.strip()]

    def filled(self, words: Mapping[str, str]) -> str:
        """The text with what it leaves open."""
        text = self.text
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    def printed(self, said: str) -> bool:
        """Whether ``said`` is what this block shows; ``...`` stands for anything."""
        shown = ".*".join(re.escape(piece) for piece in self.text.strip().split("..."))
        return re.fullmatch(shown, said.strip(), re.DOTALL) is not None


def blocks(document: Path, heading: str) -> Iterator[Block]:
    """All fenced blocks below ``heading`` (with its ``#``), sub-sections included.

    AssertionError: there is no such heading, or a block has no mark that is understood.
    """
    rank, inside, found = heading.index(" "), False, False
    before, start, mark, body = "", 0, "", [""]
    fence = margin = ""
    for number, line in enumerate(document.read_text().splitlines(), 1):
        if fence:
            if line.strip() != fence:
                body.append(line.removeprefix(margin))
                continue
            fence = ""
            if inside:
                yield _marked(Block(f"{document.name}:{start}", mark, "\n".join(body)))
        elif line.lstrip().startswith("~~~"):
            raise AssertionError(f"{document.name}:{number}: fences are made of ```")
        elif line.lstrip().startswith("```"):
            fence, start, mark, body = "```", number, before.strip(), []
            margin = line[: line.index("`")]
        elif line.startswith("#"):
            level = line.index(" ")
            inside = line == heading or (inside and level > rank)
            found = found or line == heading
        before = line
    assert found, f"{document.name} has no section {heading!r}"


def _marked(block: Block) -> Block:
    comment = re.fullmatch(r"<!-- (.+) -->", block.mark)
    known = comment and (
        comment[1] == "prints" or any(form.fullmatch(comment[1]) for form in (RUN, BELOW, NOT_RUN))
    )
    assert comment and known, (
        f"{block.where}: this block says neither who runs it nor why nobody does:\n{block.text}"
    )
    return Block(block.where, comment[1], block.text)
