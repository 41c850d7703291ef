"""Writes grafana.json, the board beside alerts.yml: `python3 systemd/board.py`.

Every panel is one of Grafana's own, the data source is a variable, and each query names
nothing but what `sluice metrics` and `/metrics` export. Imported as it is, it shows all
zones; the variables above choose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

WIDTH, HEIGHT = 24, 8
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
I = 'instance=~"$instance"'  # noqa: E741 - stands in almost every query
S = f'{I},stream=~"$stream"'
R = f'{I},repository=~"$repository"'

Query = tuple[str, str]
"""An expression, and the legend."""


def stat(title: str, query: str, unit: str = "none", warn: float = 1, bad: float = 0) -> Any:
    """One number; yellow from ``warn``, red from ``bad`` (0: never)."""
    steps: list[dict[str, object]] = [{"color": "green", "value": None}]
    if warn:
        steps.append({"color": "yellow", "value": warn})
    if bad:
        steps.append({"color": "red", "value": bad})
    return {
        "type": "stat",
        "title": title,
        "width": 4,
        "height": 4,
        "targets": [{"expr": query, "instant": True}],
        "fieldConfig": {
            "defaults": {"unit": unit, "thresholds": {"mode": "absolute", "steps": steps}},
            "overrides": [],
        },
        "options": {"colorMode": "background", "reduceOptions": {"calcs": ["lastNotNull"]}},
    }


def lines(title: str, *queries: Query, unit: str = "none", width: int = 12, text: str = "") -> Any:
    """Curves over time."""
    return {
        "type": "timeseries",
        "title": title,
        "description": text,
        "width": width,
        "height": HEIGHT,
        "targets": [{"expr": query, "legendFormat": legend} for query, legend in queries],
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi"},
        },
    }


def rows(title: str, *queries: Query, unit: str = "none", width: int = 12, text: str = "") -> Any:
    """A table of what is now: one row for each set of labels, one column for each query."""
    hidden = dict.fromkeys(("Time", "__name__", "job"), True)
    letters = "ABCDEFGH"
    return {
        "type": "table",
        "title": title,
        "description": text,
        "width": width,
        "height": HEIGHT,
        "targets": [
            {"expr": query, "format": "table", "instant": True, "legendFormat": ""}
            for query, _ in queries
        ],
        "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
        "options": {"showHeader": True},
        "transformations": [
            {"id": "merge", "options": {}},
            {
                "id": "organize",
                "options": {
                    "excludeByName": hidden,
                    "renameByName": {"Value": queries[0][1]}
                    | {f"Value #{letters[n]}": name for n, (_, name) in enumerate(queries)},
                },
            },
        ],
    }


BOARD: list[tuple[str, list[Any]]] = [
    (
        "Now",
        [
            stat("Figures are old", f"max(time() - sluice_measured_timestamp_seconds{{{I}}})",
                 "s", 300, 900),
            stat("Holds", f"sum(sluice_holds{{{I}}}) or vector(0)", warn=1, bad=5),
            stat("Warnings", f"sum(sluice_warnings{{{I}}})"),
            stat("Duties that failed", f"count(sluice_duty_exit_code{{{I}}} != 0 and"
                 f" sluice_duty_exit_code{{{I}}} != 3) or vector(0)", bad=1),
            stat("Notices not delivered", f"sum(sluice_notices_waiting{{{I}}}) or vector(0)"),
            stat("Wants", f"sum(sluice_wants{{{I}}})", warn=0),
        ],
    ),
    (
        "Holds",
        [
            rows("What is held, and for how long",
                 (f"time() - sluice_hold_since_timestamp_seconds{{{I}}}", "for"),
                 unit="s", text="docs/operations.md (Holds) says what to do about each kind."),
            lines("Holds by kind", (f"sum by (kind) (sluice_holds{{{I}}})", "{{kind}}")),
        ],
    ),
    (
        "Streams",
        [
            lines("Sequence by step", (f"sluice_stream_step_sequence{{{S}}}",
                  "{{instance}} {{stream}} {{step}}"),
                  text="Outside and inside should follow each other."),
            lines("Age of the newest step",
                  (f"time() - sluice_stream_step_timestamp_seconds{{{S}}}",
                   "{{instance}} {{stream}} {{step}}"), unit="s"),
            lines("Missing inside",
                  (f"sluice_stream_missing_bundles{{{S}}}", "{{stream}} bundles not whole"),
                  (f"sluice_stream_missing_parts{{{S}}}", "{{stream}} parts"),
                  (f"sluice_stream_incomplete_bundles{{{S}}}", "{{stream}} not imported"),
                  (f"sluice_stream_wanted_volumes{{{S}}}", "{{stream}} volumes wanted"), width=8),
            lines("Size of the newest bundle",
                  (f"sluice_stream_bundle_bytes{{{S}}}", "{{instance}} {{stream}}"),
                  unit="bytes", width=8),
            lines("Sent and not confirmed, drafts",
                  (f'sluice_stream_step_sequence{{{S},step="sent"}}'
                   f" - ignoring(step) sluice_stream_confirmed_sequence{{{S}}}",
                   "{{stream}} not confirmed"),
                  (f"sluice_stream_drafts{{{S}}}", "{{stream}} drafts"), width=8),
            rows("Streams now", (f"sluice_stream_epoch{{{S}}}", "epoch"),
                 (f"sluice_stream_sequence{{{S}}}", "sequence")),
            rows("The root of trust expires in",
                 (f"sluice_stream_root_expires_timestamp_seconds{{{S}}} - time()", "in"),
                 unit="s"),
        ],
    ),
    (
        "Repositories",
        [
            rows("Repositories now", (f"sluice_repository_serial{{{R}}}", "serial"),
                 (f"sluice_repository_files{{{R}}}", "files"),
                 (f"sluice_repository_exceptions{{{R}}}", "accepted as missing"),
                 (f"sluice_repository_rolled_back{{{R}}}", "rolled back"),
                 (f"sluice_repository_withdrawn{{{R}}}", "withdrawn"), width=24),
            lines("Age of what is live or newest",
                  (f"time() - sluice_repository_timestamp_seconds{{{R}}}",
                   "{{instance}} {{repository}} {{state}}"), unit="s"),
            lines("Since the last sync that ended well",
                  (f"time() - sluice_repository_synced_timestamp_seconds{{{R}}}",
                   "{{repository}}"), unit="s"),
            lines("Size", (f"sluice_repository_bytes{{{R}}}",
                  "{{instance}} {{repository}} {{state}}"), unit="bytes"),
            lines("Wants", (f"sluice_repository_wants{{{R}}}", "{{repository}}")),
        ],
    ),
    (
        "Store",
        [
            lines("Free space", (f"sluice_store_free_bytes{{{I}}}", "{{instance}} free"),
                  (f"sluice_store_reserve_bytes{{{I}}}", "{{instance}} reserve_free"),
                  (f"predict_linear(sluice_store_free_bytes{{{I}}}[1d], 3 * 86400)",
                   "{{instance}} in three days"), unit="bytes"),
            lines("Changes",
                  (f"changes(sluice_generation{{{I}}}[1h])", "{{instance}} of what is served"),
                  (f"increase(sluice_events_total{{{I}}}[1h])", "{{instance}} events"),
                  text="In the last hour."),
        ],
    ),
    (
        "HTTP",
        [
            lines("Answers by status", ("sum by (status) (rate(sluice_http_answers_total"
                  f"{{{I}}}[$__rate_interval]))", "{{status}}"), unit="reqps", width=8),
            lines("Answers by format", ("sum by (format) (rate(sluice_http_answers_total"
                  f"{{{I}}}[$__rate_interval]))", "{{format}}"), unit="reqps", width=8),
            lines("Share that failed",
                  (f'sum(rate(sluice_http_answers_total{{{I},status="5xx"}}[$__rate_interval]))'
                   f" / sum(rate(sluice_http_answers_total{{{I}}}[$__rate_interval]))", "5xx"),
                  (f'sum(rate(sluice_http_answers_total{{{I},status="4xx"}}[$__rate_interval]))'
                   f" / sum(rate(sluice_http_answers_total{{{I}}}[$__rate_interval]))", "4xx"),
                  unit="percentunit", width=8),
        ],
    ),
    (
        "Duties",
        [
            rows("Last run", (f"sluice_duty_exit_code{{{I}}}", "exit code"),
                 text="0 done, 1 failed, 2 wrong settings, 3 held."),
            lines("Since the last run",
                  (f"time() - sluice_duty_end_timestamp_seconds{{{I}}}", "{{instance}} {{duty}}"),
                  unit="s"),
            lines("Notices sent in the last hour",
                  (f"increase(sluice_notices_sent_total{{{I}}}[1h])", "{{instance}} {{channel}}"),
                  (f"sluice_notices_failing{{{I}}}", "{{instance}} {{channel}} fails")),
            rows("Zones", (f"sluice_info{{{I}}}", "zone")),
        ],
    ),
]  # fmt: skip


def _variable(name: str, query: str) -> dict[str, object]:
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def _panels() -> Iterator[dict[str, object]]:
    number = y = 0
    for title, panels in BOARD:
        number += 1
        place = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        yield {"id": number, "type": "row", "title": title, "gridPos": place, "panels": []}
        x, y, height = 0, y + 1, 0
        for panel in panels:
            number += 1
            width = panel.pop("width")
            tall = panel.pop("height")
            if x + width > WIDTH:
                x, y, height = 0, y + height, 0
            place = {"x": x, "y": y, "w": width, "h": tall}
            x, height = x + width, max(height, tall)
            for letter, target in zip("ABCDEFGH", panel["targets"], strict=False):
                target |= {"refId": letter, "datasource": SOURCE}
            yield {"id": number, "datasource": SOURCE, "gridPos": place, **panel}
        y += height


def board() -> dict[str, object]:
    """The whole board (Grafana's dashboard JSON, schema version 39: Grafana 10.4 and newer)."""
    return {
        "uid": "sluice",
        "title": "Sluice",
        "tags": ["sluice"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "1m",
        "time": {"from": "now-7d", "to": "now"},
        "timezone": "browser",
        "templating": {
            "list": [
                {"name": "datasource", "type": "datasource", "query": "prometheus"},
                _variable("instance", "label_values(sluice_info, instance)"),
                _variable("stream", "label_values(sluice_stream_sequence, stream)"),
                _variable("repository", "label_values(sluice_repository_serial, repository)"),
            ]
        },
        "annotations": {"list": []},
        "panels": list(_panels()),
    }


if __name__ == "__main__":
    target = Path(__file__).with_name("grafana.json")
    target.write_text(json.dumps(board(), indent=1) + "\n")
