"""The Grafana board: what promtool takes, metrics and labels that exist, Grafana's own panels."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.architecture.project import ROOT, code_in, section
from tests.support import tools

BOARD = ROOT / "systemd/grafana.json"
_OURS = {"row", "stat", "table", "timeseries"}


@pytest.fixture(scope="module")
def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(BOARD.read_text())["panels"]
    return found


def _exported() -> dict[str, set[str]]:
    """Labels of each metric as documented; another test holds the document to the code."""
    text = section("docs/operations.md", "## Watching")
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line.startswith("| `sluice_"):
            _, names, labels, *_ = line.split("|")
            for name in code_in(names):
                found[name] = set(code_in(labels))
    found["sluice_http_answers_total"] = {"format", "status"}
    assert f"`{max(found, key=len)}`" in text and "`sluice_http_answers_total`" in text
    return found


def test_the_board_is_the_one_that_its_script_writes() -> None:
    made = runpy.run_path(str(ROOT / "systemd/board.py"))["board"]()
    assert json.loads(BOARD.read_text()) == made


def test_every_query_is_taken_by_promtool(panels: list[dict[str, Any]], tmp_path: Path) -> None:
    queries = [target["expr"] for panel in panels for target in panel.get("targets", ())]
    assert len(queries) > 30
    rules = [
        {"record": f"query:{n}", "expr": query.replace("$__rate_interval", "5m")}
        for n, query in enumerate(queries)
    ]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    done = tools.run([tools.need("promtool"), "check", "rules", file])
    assert f"{len(queries)} rules found" in done.stdout


def test_queries_name_metrics_and_labels_that_exist(panels: list[dict[str, Any]]) -> None:
    exported = _exported()
    named = set()
    for panel in panels:
        for target in panel.get("targets", ()):
            metrics = set(re.findall(r"\bsluice_\w+", target["expr"]))
            assert metrics and metrics <= set(exported), target["expr"]
            named |= metrics
            labels = {"instance"}.union(*(exported[name] for name in metrics))
            used = re.findall(r"(\w+)=~?\"", target["expr"])
            used += re.findall(r"{{(\w+)}}", target.get("legendFormat", ""))
            used += re.findall(r"by \((\w+)\)", target["expr"])
            assert set(used) <= labels, target
    assert named == set(exported), "the board leaves something out"
    variables = json.loads(BOARD.read_text())["templating"]["list"]
    for query in [v["definition"] for v in variables if v["type"] == "query"]:
        match = re.fullmatch(r"label_values\((\w+), (\w+)\)", query)
        assert match is not None and match[2] in exported[match[1]] | {"instance"}


def test_panels_are_grafanas_own_and_do_not_overlap(panels: list[dict[str, Any]]) -> None:
    taken: set[tuple[int, int]] = set()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] in _OURS
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24 and not cells & taken, panel["title"]
        taken |= cells
