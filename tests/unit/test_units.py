"""Sizes, durations, rates and percentages: what people write is what they get."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import ConfigError
from manifests.units import (
    format_bytes,
    format_duration,
    format_rate,
    format_size,
    parse_duration,
    parse_percent,
    parse_rate,
    parse_size,
)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64MiB", 64 * 2**20),
        ("25GB", 25 * 10**9),
        ("1.5 GiB", 3 * 2**29),
        ("3kB", 3000),
        ("3KB", 3000),
        ("3KiB", 3072),
        ("2TiB", 2**41),
        ("7 bytes", 7),
        (" 1PB ", 10**15),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize(
    "text",
    [
        "",
        "MiB",
        "64M",
        "64Mib",
        "64mb",
        "64Mbit",
        "-1",
        "1e9",
        "1_000",
        "٣",
        "1 2",
        "9999PiB",
        "9" * 5000,
        "1.MiB",
        ".5MiB",
        "0x10",
    ],
)
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_size(text)
    assert "64MiB" in caught.value.remedy
    assert len(caught.value.what) < 200


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("500ms", 0.5),
        ("2s", 2),
        ("15m", 900),
        ("15min", 900),
        ("6h", 21600),
        ("24h", 86400),
        ("30d", 30 * 86400),
        ("2w", 14 * 86400),
        ("1h30m", 5400),
        ("1d 2h", 93600),
        ("1.5h", 5400),
    ],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "6",
        "h",
        "6 hours",
        "6H",
        "-6h",
        "6h,",
        "6h  3m",
        "1y",
        "9" * 30 + "w",
        "6h" * 99,
        "36501d",
    ],
)
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert "6h" in caught.value.remedy


def test_rates() -> None:
    assert parse_rate("800Mbit") == 100_000_000
    assert parse_rate("800Mbit/s") == 100_000_000
    assert parse_rate("10MiB") == parse_rate("10MiB/s") == 10 * 2**20
    assert parse_rate("9600") == 9600
    assert format_rate(10 * 2**20) == "10 MiB/s"
    for text in ("800Mb", "fast", "", "10MiB/min", "bit", "1/s/s"):
        with pytest.raises(ConfigError):
            parse_rate(text)


def test_percentages() -> None:
    assert parse_percent("30%") == 0.3
    assert parse_percent("0%") == 0
    assert parse_percent("100 %") == 1
    assert parse_percent("0.5%") == 0.005
    for text in ("30", "0.3", "101%", "-1%", "%", "1e1%", "9" * 5000 + "%"):
        with pytest.raises(ConfigError):
            parse_percent(text)


def test_bytes_for_people() -> None:
    shown = {
        0: "0 bytes",
        1: "1 byte",
        1023: "1023 bytes",
        1024: "1 KiB",
        1536: "1.5 KiB",
        2**20 - 1: "1 MiB",
        64 * 2**20: "64 MiB",
        -1536: "-1.5 KiB",
        2**70: "1048576 PiB",
    }
    assert {count: format_bytes(count) for count in shown} == shown


def test_durations_for_people() -> None:
    shown = {
        0: "0s",
        0.35: "350ms",
        1.5: "1s 500ms",
        45: "45s",
        59.9999: "1m",
        5400: "1h 30m",
        3605: "1h",
        86400 * 2 + 3 * 3600 + 59: "2d 3h",
        -90: "-1m 30s",
        -0.0001: "0s",
    }
    assert {seconds: format_duration(seconds) for seconds in shown} == shown


@given(st.integers(0, 2**63 - 1))
def test_sizes_round_trip(count: int) -> None:
    assert parse_size(format_size(count)) == count


@given(st.integers(1, 999), st.sampled_from(["kB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"]))
def test_round_sizes_stay_short(number: int, unit: str) -> None:
    assert len(format_size(parse_size(f"{number}{unit}"))) <= len("999MiB")


@given(st.integers(0, 2**62))
def test_bytes_for_people_are_near(count: int) -> None:
    assert abs(parse_size(format_bytes(count)) - count) <= count / 20 + 1


@given(st.integers(0, 3 * 10**12))
def test_durations_round_trip(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(format_duration(seconds, exact=True)) == seconds


@given(st.floats(0, 3e9))
def test_short_durations_parse_and_round_down(seconds: float) -> None:
    short = parse_duration(format_duration(seconds))
    assert short <= seconds + 0.001
    assert short >= seconds * 0.95 - 0.001


@given(st.text(max_size=60))
def test_nothing_but_config_errors(text: str) -> None:
    for parse in (parse_size, parse_rate, parse_duration, parse_percent):
        try:
            assert parse(text) >= 0
        except ConfigError as error:
            assert error.what
            assert error.remedy
