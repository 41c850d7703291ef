"""The alert rules: taken by promtool, silent while all is well, and each one told by its cause."""

from __future__ import annotations

import json
import re
from pathlib import Path

import yaml

from sluice.metrics import Beside, families_of
from tests.architecture.project import ROOT
from tests.support import tools

RULES = ROOT / "systemd/alerts.yml"
_DAY = 24 * 60
_STEP = 10
"""Minutes between two measurements, and between two looks at the rules: few, to be fast."""
_SENT = 'sluice_stream_step_timestamp_seconds{stream="hq",step="sent"}'
_PACKED = 'sluice_stream_step_timestamp_seconds{stream="hq",step="packed"}'
_FREE, _RESERVE = "sluice_store_free_bytes", "sluice_store_reserve_bytes"

WELL = {
    'sluice_info{zone="inside"}': "1x{n}",
    "sluice_measured_timestamp_seconds": "0+600x{n}",
    _FREE: "1000x{n}",
    _RESERVE: "100x{n}",
    'sluice_stream_missing_bundles{stream="hq"}': "0x{n}",
    'sluice_stream_drafts{stream="hq"}': "0x{n}",
    'sluice_stream_root_expires_timestamp_seconds{stream="hq"}': "31536000x{n}",
    _PACKED: "100x{n}",
    _SENT: "100x{n}",
    'sluice_repository_synced_timestamp_seconds{repository="a"}': "0+600x{n}",
    'sluice_repository_rolled_back{repository="a"}': "0x{n}",
    'sluice_repository_withdrawn{repository="a"}': "0x{n}",
    'sluice_duty_exit_code{duty="sync a"}': "3x{n}",
    'sluice_notices_failing{channel="syslog"}': "0x{n}",
    'sluice_notices_waiting{channel="syslog"}': "0x{n}",
}


def _hold(kind: str) -> dict[str, str]:
    labels = f'{{kind="{kind}",stream="hq",repository="a"}}'
    return {
        f"sluice_holds{labels}": "1x{n}",
        f"sluice_hold_since_timestamp_seconds{labels}": "0x{n}",
    }


CASES: list[tuple[dict[str, str], int, set[str]]] = [
    # What differs from a zone that is well (empty: no such series), minutes (whole steps),
    # what rings then.
    ({}, 8 * _DAY, set()),
    ({"sluice_measured_timestamp_seconds": "0x{n}"}, 20, {"SluiceNotMeasured"}),
    ({'sluice_info{zone="inside"}': ""}, 20, {"SluiceGone"}),
    ({_FREE: "99x{n}"}, 10, {"SluiceStoreFull"}),
    ({_FREE: "3000-10x{n}"}, _DAY, {"SluiceStoreFills"}),
    (_hold("fork"), 10, {"SluiceStreamStopped"}),
    (_hold("signature"), 10, {"SluiceRefused"}),
    (_hold("damaged"), 10, {"SluiceDamaged"}),
    (_hold("silence"), 10, {"SluiceSilent"}),
    (_hold("unreachable"), 5 * 60, set()),
    (_hold("unreachable"), 7 * 60, {"SluiceHeld"}),
    ({'sluice_stream_missing_bundles{stream="hq"}': "1x{n}"}, 5 * 60, {"SluicePartsMissing"}),
    ({_PACKED: "200x{n}"}, 3 * 60, {"SluiceNotSent"}),
    ({_SENT: ""}, 3 * 60, {"SluiceNotSent"}),
    ({'sluice_stream_drafts{stream="hq"}': "1x{n}"}, _DAY + _STEP, {"SluiceDraftWaits"}),
    (
        {'sluice_repository_synced_timestamp_seconds{repository="a"}': "0x{n}"},
        2 * _DAY + _STEP,
        {"SluiceNotSynced"},
    ),
    ({'sluice_duty_exit_code{duty="sync a"}': "1x{n}"}, 70, {"SluiceDutyFails"}),
    ({'sluice_notices_failing{channel="syslog"}': "1x{n}"}, 40, {"SluiceNoticesFail"}),
    ({'sluice_notices_waiting{channel="syslog"}': "2x{n}"}, 40, {"SluiceNoticesFail"}),
    (
        {'sluice_stream_root_expires_timestamp_seconds{stream="hq"}': f"{29 * 86400}x{{n}}"},
        10,
        {"SluiceRootExpires"},
    ),
    (
        {'sluice_repository_rolled_back{repository="a"}': "1x{n}"},
        7 * _DAY + _STEP,
        {"SluiceRolledBack"},
    ),
    ({'sluice_repository_withdrawn{repository="a"}': "1x{n}"}, _DAY + _STEP, {"SluiceWithdrawn"}),
]


def _alerts() -> dict[str, str]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


def test_each_alert_rings_for_its_cause_and_for_no_other(tmp_path: Path) -> None:
    promtool = tools.need("promtool")
    assert f"{len(_alerts())} rules found" in tools.run([promtool, "check", "rules", RULES]).stdout
    tests = []
    for changed, minutes, rings in CASES:
        series = {name: text for name, text in {**WELL, **changed}.items() if text}
        expected = [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(rings)]
        tests.append(
            {
                "interval": f"{_STEP}m",
                "input_series": [
                    {"series": name, "values": text.format(n=minutes // _STEP)}
                    for name, text in series.items()
                ],
                "promql_expr_test": [
                    {
                        "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minutes}m",
                        "exp_samples": expected,
                    }
                ],
            }
        )
    file = tmp_path / "cases.yml"
    file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": f"{_STEP}m", "tests": tests})
    )
    tools.run([promtool, "test", "rules", file])
    assert {name for _, _, rings in CASES for name in rings} == set(_alerts())


def test_alerts_look_at_metrics_that_exist() -> None:
    nothing = {"streams": {}, "repositories": {}, "holds": [], "warnings": [], "wants": 0}
    nothing |= {"notices": {}}
    nothing |= {"zone": "inside", "time": "2024-05-01T12:00:00Z", "generation": 0}
    nothing |= {"store": {"free_bytes": 0, "reserve_free": 0}}
    known = {family.name for family in families_of(nothing, Beside())}
    used = set(re.findall(r"sluice_\w+", " ".join(_alerts().values())))
    assert used and used <= known
