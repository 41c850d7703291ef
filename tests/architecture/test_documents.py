"""The documents say what the code does: errors, settings, status, holds, commands, links."""

import ast
import inspect
import re
from itertools import pairwise

import pytest

from manifests import errors
from manifests.formats.base import Spec, StaticFormat
from manifests.zone import ZoneKind, commented_example, common, inside, outside
from sluice import cli, metrics
from sluice.health.checks import CHECKS
from tests.architecture.project import ROOT, code_in, documents, first_cells, modules, section
from tests.architecture.test_calls import choices
from tests.support.manual import FOLLOWED, blocks

OPERATIONS = "docs/operations.md"


def test_every_error_stands_in_the_drawn_tree() -> None:
    drawn: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r" {4}[ |]*(?:\+-- )?([A-Z]\w+)", line)
        if match is None:
            continue
        column = match.start(1)
        above = [(at, name) for at, name in above if at < column]
        drawn[match[1]] = above[-1][1] if above else "Exception"
        above.append((column, match[1]))
    real = {
        name: value.__bases__[0].__name__
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }
    assert drawn == real


def test_every_error_is_documented_with_its_exit_code() -> None:
    rows = dict(
        re.findall(r"^\| `([A-Z]\w+)` \| (\d) \|", section(OPERATIONS, "## Errors"), re.MULTILINE)
    )
    real = {
        name: str(value.exit_code)
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.SluiceError)
    }
    assert rows == real


def _keys(heading: str, prefix: str = "") -> set[str]:
    cells = first_cells(section(OPERATIONS, heading))
    found = {word for cell in cells for word in code_in(cell)}
    return {word.removeprefix(prefix) for word in found if word.startswith(prefix)}


_REST = "### Inside: `require: NAME:`, `serve:` and `wants:`"


@pytest.mark.parametrize(
    ("heading", "prefix", "known"),
    [
        ("### Both zones", "", {*common.COMMON_KEYS, "streams"}),
        ("### Outside: `repositories: NAME:`", "", set(outside.REPOSITORY_KEYS)),
        ("### Outside: `streams: NAME:`", "", set(outside.STREAM_KEYS)),
        ("### Inside: `streams: NAME:`", "", set(inside.STREAM_KEYS)),
        (_REST, "require: NAME: ", set(inside.REQUIRE_KEYS)),
        (_REST, "serve: ", set(inside.SERVE_KEYS)),
        (_REST, "wants: ", set(inside.WANTS_KEYS)),
    ],
)
def test_every_setting_is_documented_and_no_other(
    heading: str, prefix: str, known: set[str]
) -> None:
    assert _keys(heading, prefix) == known


def test_the_example_names_every_setting() -> None:
    for kind, keys in (
        (ZoneKind.OUTSIDE, {*outside.KEYS, *outside.REPOSITORY_KEYS, *outside.STREAM_KEYS}),
        (
            ZoneKind.INSIDE,
            {*inside.KEYS, *inside.STREAM_KEYS, *inside.SERVE_KEYS, *inside.WANTS_KEYS},
        ),
    ):
        text = commented_example(kind, "hq")
        assert [key for key in sorted(keys) if f"{key}:" not in text] == []


def test_every_key_of_the_status_is_documented() -> None:
    text = section(OPERATIONS, "## Status")
    files = ("sluice/status.py", "sluice/running/standing.py", "sluice/notices/deliver.py")
    used = {
        key.value
        for file in files
        for node in ast.walk(ast.parse((ROOT / file).read_text()))
        if isinstance(node, ast.Dict)
        for key in node.keys
        if isinstance(key, ast.Constant) and isinstance(key.value, str)
    }
    words = set(re.findall(r"\w+", " ".join(code_in(text))))
    assert len(used) > 30 and used - words == set()


def test_every_metric_is_documented_and_no_other() -> None:
    nothing: dict[str, object] = {"streams": {}, "repositories": {}, "holds": [], "warnings": []}
    nothing |= {"zone": "inside", "time": "2024-05-01T12:00:00Z", "generation": 0, "wants": 0}
    nothing |= {"store": {"free_bytes": 0, "reserve_free": 0}, "notices": {}}
    known = {family.name for family in metrics.families_of(nothing, metrics.Beside())}
    cells = first_cells(section(OPERATIONS, "## Watching"))
    documented = {word for cell in cells for word in code_in(cell) if word.startswith("sluice_")}
    assert len(known) > 20 and documented == known


def test_every_alert_has_its_entry_and_no_other() -> None:
    rules = (ROOT / "systemd/alerts.yml").read_text()
    alerts = re.findall(r"- alert: (\w+)", rules)
    text = section(OPERATIONS, "### Alerts")
    entries = re.findall(r"^\| `(\w+)` \| \S.* \| \S.* \|$", text, re.MULTILINE)
    assert sorted(entries) == sorted(alerts)
    kinds = {kind for each in re.findall(r'kind=~?"([^"]+)"', rules) for kind in each.split("|")}
    holds = {
        word for cell in first_cells(section(OPERATIONS, "## Holds")) for word in code_in(cell)
    }
    assert kinds and kinds <= holds


def test_every_check_of_a_zone_is_documented_and_no_other() -> None:
    cells = first_cells(section(OPERATIONS, "### Checking a zone"))
    assert [word for cell in cells for word in code_in(cell)] == [name for name, _ in CHECKS]


def test_every_kind_of_hold_is_documented() -> None:
    kinds = set()
    for path in modules("mirror", "transfer"):
        text = path.read_text()
        kinds |= set(re.findall(r'\(errors\.\w+, "(\w+)"\)', text))
        kinds |= set(re.findall(r'_hold\(\s*(?:item\.)?row,\s*"([\w-]+)"', text))
        kinds |= set(re.findall(r'\bkind="(\w+)",\s*reason=', text))
    cells = first_cells(section(OPERATIONS, "## Holds"))
    documented = {word for cell in cells for word in code_in(cell)}
    assert len(kinds) > 10 and kinds - documented == set()


def test_every_command_is_documented_and_no_other() -> None:
    cells = first_cells(section(OPERATIONS, "## Commands").split("Exit codes:")[0])
    documented = {word.split()[0] for cell in cells for word in code_in(cell)}
    assert documented == set(choices(cli.parser()))


def test_every_command_that_a_message_names_exists() -> None:
    """An operator cannot look up what we meant."""
    known, wrong = set(choices(cli.parser())), []
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                for word in re.findall(r"`sluice (?:-z \S+ )?([a-z]+)", node.value):
                    if word not in known:
                        wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}: sluice {word}")
    assert wrong == []


@pytest.mark.parametrize("heading", FOLLOWED)
def test_every_command_of_a_followed_section_is_run_or_says_why_not(heading: str) -> None:
    """tests/clients/test_manual.py runs them; tests/support/manual.py says how to mark them."""
    found = list(blocks(ROOT / OPERATIONS, heading))
    assert found
    # What a person is to see is compared only where it follows what was typed.
    for before, block in pairwise(found):
        assert block.mark != "prints" or before.mark.startswith("run: "), block.where


def test_the_contract_of_a_format_is_documented() -> None:
    cells = " ".join(first_cells(section("docs/formats.md", "## Adding a format")))
    documented = {word.partition("(")[0] for word in code_in(cells)}
    methods = {name for name, value in vars(StaticFormat).items() if inspect.isfunction(value)}
    assert methods - {"immutable"} | {"crawl"} == documented
    assert Spec("x").filtered is False


def _anchors(text: str) -> set[str]:
    plain = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    found = set()
    for title in re.findall(r"^#+ (.+)$", plain, re.MULTILINE):
        kept = re.sub(r"[^\w\- ]", "", title.lower())
        found.add(kept.replace(" ", "-"))
    return found


def test_the_list_at_the_top_of_operations_has_every_section() -> None:
    text = (ROOT / OPERATIONS).read_text()
    listed = text.partition("\n## ")[0].partition("[From")[2]
    assert re.findall(r"\[([^\]]+)\]\(#", f"[From{listed}") == re.findall(
        r"^## (.+)$", text, re.MULTILINE
    )


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in documents():
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            if re.match(r"[a-z]+:", link):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / name).resolve() if name else path
            if not target.exists():
                broken.append(f"{path.name}: {link}: no such file")
            elif anchor and anchor not in _anchors(target.read_text()):
                broken.append(f"{path.name}: {link}: no such heading")
    assert broken == []


def test_documents_name_files_that_exist() -> None:
    """Paths of ours in code marks, such as `store/seam.py`."""
    missing = []
    for path in documents():
        for word in code_in(path.read_text()):
            ours = re.fullmatch(r"(?:tests|docs|manifests|store|sluice)/[\w/]+\.(?:py|md)", word)
            if ours and "NAME" not in word and not (ROOT / word).exists():
                missing.append(f"{path.name}: {word}")
    assert missing == []
