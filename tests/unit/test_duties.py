"""The duties of ``run`` are calls that the program takes, and their keys switch them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from manifests.formats import FORMATS
from manifests.zone import ZoneKind, commented_example, parse
from sluice import cli
from sluice.running.duties import duties_of, services_of


@pytest.mark.parametrize("kind", list(ZoneKind))
def test_everything_on_and_everything_off(kind: ZoneKind) -> None:
    text = commented_example(kind, "hq")
    everything = parse(re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", text), Path("/z"), FORMATS)
    duties = duties_of(everything)
    assert {"gc", "events", "metrics", "notices"} <= set(duties)
    assert ({"wants", "quarantine"} <= set(duties)) is (kind is ZoneKind.INSIDE)
    for duty in (*duties.values(), *services_of(everything).values()):
        assert callable(cli.parser(duty.words).parse_args(duty.words).command)
    assert duties["gc"].words == ("gc",), "what bundles changed is kept for good"
    text = f"zone: {kind.value}\nupkeep: {{changes: 1825d}}\n"
    limited = duties_of(parse(text, Path("/z"), FORMATS))["gc"].words
    assert limited == ("gc", "--forget-changes", f"{1825 * 86400}s")
    assert callable(cli.parser(limited).parse_args(limited).command)
    off = "upkeep: {gc: never, quarantine: never, wants: never, events: never}\n"
    nothing = parse(f"zone: {kind.value}\n{off}", Path("/z"), FORMATS)
    assert duties_of(nothing) == {}
