"""State tables and times: one text for one state."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta, timezone
from itertools import permutations
from typing import Any

import pytest

from manifests.digest import EMPTY, sha256_of
from manifests.errors import MalformedManifest
from manifests.state import MAX_SERIAL, StateRow, StateTable, format_time, is_name, parse_time

ROW: dict[str, Any] = {
    "repository": "baseos",
    "format": "yum",
    "serial": 7,
    "tree": EMPTY,
    "tree_size": 0,
}


def row(**other: Any) -> StateRow:
    return StateRow(**(ROW | other))


def test_the_text_is_what_the_format_says() -> None:
    table = StateTable.of([row(repository="b", serial=2, tree_size=9), row(repository="a-b")])
    text = f"a-b\tyum\t7\t{EMPTY}\t0\nb\tyum\t2\t{EMPTY}\t9\n".encode()
    assert table.text() == text
    assert table.digest == hashlib.sha256(text).hexdigest()
    assert StateTable(()).digest == EMPTY


def test_order_of_arrival_does_not_matter() -> None:
    rows = [row(repository=name) for name in ("a", "a-b", "a.b", "a0", "b")]
    assert len({StateTable.of(some).digest for some in permutations(rows)}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"repository": "appstream"},
        {"format": "files"},
        {"serial": 8},
        {"tree": sha256_of(b"x")},
        {"tree_size": 1},
    ],
)
def test_every_cell_counts(change: dict[str, object]) -> None:
    assert StateTable((row(),)).digest != StateTable((row(**change),)).digest


def test_a_row_is_found_by_name() -> None:
    table = StateTable.of([row(repository="b"), row(repository="a")])
    assert table.row("b") == row(repository="b")
    assert table.row("c") is None


def test_a_table_that_is_unsorted_or_names_one_twice_is_refused() -> None:
    a, b = row(repository="a"), row(repository="b")
    with pytest.raises(MalformedManifest):
        StateTable((b, a))
    with pytest.raises(MalformedManifest):
        StateTable((a, a))
    with pytest.raises(MalformedManifest):
        StateTable.of([a, row(repository="a", serial=8)])


@pytest.mark.parametrize(
    "change",
    [
        {"repository": ""},
        {"repository": "Base"},
        {"repository": "-a"},
        {"repository": ".a"},
        {"repository": "a..b"},
        {"repository": "a/b"},
        {"repository": "a\tb"},
        {"repository": "a\n"},
        {"repository": "é"},
        {"repository": "a" * 65},
        {"format": ""},
        {"format": "Yum"},
        {"format": "yum\n"},
        {"format": "1a"},
        {"format": "a" * 17},
        {"serial": 0},
        {"serial": -1},
        {"serial": MAX_SERIAL + 1},
        {"serial": True},
        {"serial": 1.0},
        {"tree": ""},
        {"tree": EMPTY.upper()},
        {"tree": EMPTY + "\n"},
        {"tree_size": -1},
        {"tree_size": MAX_SERIAL},
        {"tree_size": False},
        {"tree_size": 0.0},
    ],
)
def test_a_row_out_of_form_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(MalformedManifest):
        row(**change)


def test_names() -> None:
    for good in ("a", "0", "base-os_8.x", "a" * 64):
        assert is_name(good)
    for bad in ("", "A", "a b", "a..b", "_a", "a" * 65, "a\n"):
        assert not is_name(bad)


def test_times_are_utc_with_whole_seconds() -> None:
    there = datetime(2024, 5, 1, 14, 0, 0, 999_999, timezone(timedelta(hours=2)))
    assert format_time(there) == "2024-05-01T12:00:00Z"
    assert parse_time("2024-05-01T12:00:00Z") == datetime(2024, 5, 1, 12, tzinfo=UTC)
    early = datetime(1, 1, 1, tzinfo=UTC)
    assert parse_time(format_time(early)) == early


def test_a_time_without_a_zone_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="zone"):
        format_time(datetime(2024, 5, 1))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2024-05-01",
        "2024-05-01T12:00:00",
        "2024-05-01T12:00:00z",
        "2024-05-01T12:00:00+00:00",
        "2024-05-01T12:00:00.5Z",
        "2024-5-1T12:00:00Z",
        " 2024-05-01T12:00:00Z",
        "2024-05-01T12:00:00Z\n",
        "2024-02-30T12:00:00Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T12:00:60Z",
        "0000-05-01T12:00:00Z",
        "99999-05-01T12:00:00Z",
        "9999-12-31T24:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "20240501T120000Z",
        "2024-05-01T12:00Z",
        "2024-05-01 12:00:00Z",
        "2024-05-01\ud80012:00:00Z",
        "2024-W18-3T12:00:00Z",
        "２０２４-05-01T12:00:00Z",
    ],
)
def test_any_other_form_of_time_is_refused(text: str) -> None:
    with pytest.raises(MalformedManifest):
        parse_time(text)
