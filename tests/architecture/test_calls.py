"""No document names a command, an option or an argument that the program does not take."""

import argparse
import re
import shlex
from collections.abc import Iterator

from manifests.errors import SluiceError
from sluice import cli
from tests.architecture.project import code_in, documents, section

OPERATIONS = "docs/operations.md"
PARSER = cli.parser()
_ELLIPSIS = re.compile(r"(?: ?\[[^\]]*\]| \.\.\.)+$")


def choices(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """The options of a command and of all below it."""
    own = {option for action in parser._actions for option in action.option_strings}
    return own.union(*(options_of(below) for below in choices(parser).values()))


def _plain(text: str) -> str:
    """The text without its fenced blocks."""
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.DOTALL | re.MULTILINE)


def _in_blocks(text: str) -> Iterator[str]:
    printed = re.sub(r"^<!-- prints -->\n```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"^ *```[a-z]*\n(.*?)^ *```$", printed, re.DOTALL | re.MULTILINE):
        for line in block.replace("\\\n", "").splitlines():
            call = re.match(r"\s*(?:\S+ -u sluice )?(sluice (?!-)\S.*|sluice -z .*)$", line)
            if call:
                yield call[1]


def _calls() -> list[tuple[str, str]]:
    found = set()
    for path in documents():
        text = path.read_text()
        inline = [word for word in code_in(_plain(text)) if word.startswith("sluice ")]
        for line in (*_in_blocks(text), *inline):
            found.add((path.name, re.split(r" (?:\||>|2>|&&) ?", line)[0]))
    return sorted(found)


def _refused(line: str) -> str:
    """Why the program does not take a command line; empty if it does."""
    line = _ELLIPSIS.sub("", line).replace(" COMMAND", " status")
    words = shlex.split(line, comments=True)[1:]
    if len(words) == 1 or "--help" in words:
        # A command in the middle of a sentence, without its arguments.
        known = {*choices(PARSER), "--help", "--version"}
        return "" if known.issuperset(words) else "no such command"
    try:
        options = PARSER.parse_args(words)
    except SluiceError as error:
        return str(error)
    return "" if callable(options.command) else "it does nothing"


def test_every_call_in_a_document_is_one_that_the_program_takes() -> None:
    calls = _calls()
    assert {"README.md", "operations.md"} <= {document for document, _ in calls}
    wrong = [f"{document}: {line}: {_refused(line)}" for document, line in calls if _refused(line)]
    assert wrong == []


def _unknown(code: str, commands: dict[str, argparse.ArgumentParser]) -> set[str]:
    """Options in ``code`` that its command, by its first word, does not have."""
    words = re.sub(r"^sluice (?:-z \S+ )?", "", code).split(" -- ")[0].split()
    if not words or words[0] not in commands:
        return set()
    parser = commands[words[0]]
    for word in words[1:]:
        parser = choices(parser).get(word, parser)
    return {word for word in words if word.startswith("--")} - options_of(parser)


def test_options_in_the_middle_of_a_sentence_exist() -> None:
    """Such as `pack --full`; an option alone is checked in the table of commands."""
    commands = choices(PARSER)
    wrong = {
        f"{path.name}: {code}"
        for path in documents()
        for code in code_in(_plain(path.read_text()))
        if _unknown(code, commands)
    }
    assert wrong == set()


def test_the_table_of_commands_names_options_that_they_have() -> None:
    commands, wrong, seen = choices(PARSER), [], 0
    for line in section(OPERATIONS, "## Commands").splitlines():
        cells = line.strip("| ").split(" | ")
        named = [commands[w.split()[0]] for w in code_in(cells[0]) if w.split()[0] in commands]
        if not named:
            continue
        known = set[str]().union(*(options_of(parser) for parser in named))
        used = {w for code in code_in(line) for w in re.findall(r"--[a-z-]+", code)}
        seen += len(used)
        wrong += [f"{cells[0]}: {option}" for option in used - known]
    assert seen > 30 and wrong == []


def test_the_check_sees_a_wrong_option() -> None:
    assert _refused("sluice pack --everything") and _refused("sluice rollback baseos")
    assert not _refused("sluice -z /srv/out pack --full")
    assert _unknown("pack --everything", choices(PARSER)) == {"--everything"}
