"""Cron expressions: the meaning of crontab(5), and refusals that help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.cron import parse_cron
from manifests.errors import ConfigError


def test_the_usual_forms() -> None:
    cron = parse_cron("*/15 6-8,20 1,15 jan,6-7 *")
    assert cron.minutes == (0, 15, 30, 45)
    assert cron.hours == (6, 7, 8, 20)
    assert cron.days == (1, 15)
    assert cron.months == (1, 6, 7)
    assert cron.weekdays is None
    assert parse_cron("5/20 0 * * *").minutes == (5, 25, 45)
    assert parse_cron("0 0-12/6 * * *").hours == (0, 6, 12)


@pytest.mark.parametrize("text", ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "@weekly"])
def test_sunday_has_three_spellings(text: str) -> None:
    assert parse_cron(text).weekdays == (0,)


def test_weekdays_count_from_sunday() -> None:
    assert parse_cron("0 0 * * 1-5").weekdays == (1, 2, 3, 4, 5)
    assert parse_cron("0 0 * * mon-fri").weekdays == (1, 2, 3, 4, 5)
    assert parse_cron("0 0 * * 5-7").weekdays == (0, 5, 6)
    assert parse_cron("0 0 * * */2").weekdays == (0, 2, 4, 6)


@pytest.mark.parametrize(
    "text",
    [
        "", "* * * *", "* * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
        "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "1, * * * *",
        "-1 * * * *", "1--2 * * * *", "* * * * son", "@often", "1_0 * * * *", "٣ * * * *",
        "* * * * *" + " " * 300,
    ],
)  # fmt: skip
def test_mistakes_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_cron(text)
    assert "0 3 * * *" in caught.value.remedy


@pytest.mark.parametrize("text", ["0 0 31 2 *", "0 0 30 feb *", "0 0 31 4,6,9,11 *"])
def test_a_day_that_never_comes_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="no such month"):
        parse_cron(text)
    assert parse_cron("0 0 29 2 *").days == (29,)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        cron = parse_cron(text)
    except ConfigError:
        return
    assert cron.minutes and cron.hours and cron.months
    assert all(0 <= minute < 60 for minute in cron.minutes)
