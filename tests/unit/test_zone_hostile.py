"""zone.yaml: whatever the text, a ConfigError soon and nothing else."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import ConfigError
from manifests.zone import ZoneKind, commented_example, parse

FOLDER = Path("/srv/zone")
FORMATS = frozenset({"yum", "files", "maven", "oci"})


def refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse(text, FOLDER, FORMATS)


def test_bombs_end_soon() -> None:
    started = time.monotonic()
    refused("zone: inside\n" + "#" * (1 << 20))
    refused("zone: " + "[" * 500_000)
    refused("zone: " + "{a: " * 200_000)
    refused("? " * 200_000)
    refused("- " * 200_000)
    lines = ["a0: &a0 [x, x]"] + [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60)]
    refused("\n".join(lines))
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    "text",
    ['zone: "\\UFFFFFFFF"', "%YAML " + "9" * 5000 + ".1\n---\na: b", "%TAG ! !%FF\n--- !a b"],
)
def test_numbers_that_the_scanner_chokes_on(text: str) -> None:
    refused(text)


def only_config_errors(text: str) -> None:
    try:
        parse(text, FOLDER, FORMATS)
    except ConfigError as error:
        assert error.where.startswith("zone.yaml")
        assert error.what
        assert error.remedy


@given(st.text(max_size=300))
@settings(deadline=None)
def test_any_text(text: str) -> None:
    only_config_errors(text)


_TOKENS = st.sampled_from(
    [
        "zone",
        "inside",
        "outside",
        "streams",
        "hq",
        ":",
        ": ",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "#",
        "&a",
        "*a",
        "!x",
        "|",
        ">",
        "?",
        "%",
        "\\",
        "\t",
        "upstream",
        "repositories",
        "format",
        "yum",
        "https://",
        "rsync://h/m",
        "@",
        "5",
        "64MiB",
        "~",
        "null",
        "carrier",
        "file",
        "inbox",
        "root",
        "serve",
        "listen",
        "\x00",
        chr(55296),
        chr(8232),
        "---",
    ]
)


@given(st.lists(_TOKENS, max_size=60).map("".join))
@settings(deadline=None, max_examples=300)
def test_text_that_looks_like_a_zone(text: str) -> None:
    only_config_errors(text)


_SCALARS = st.sampled_from(
    [
        "",
        "~",
        "5",
        "-1",
        "1.5",
        "true",
        "yes",
        "x",
        "'x'",
        "[]",
        "{}",
        "[x]",
        "[[x]]",
        "{x: y}",
        "2024-01-01",
        "1:30",
        "0x10",
        "64MiB",
        "6h",
        "30%",
        "https://h/",
        "'http://[::1'",
        "|",
        "@",
        "file",
        "move",
        "none",
        ".tar",
        f"https://{chr(8448)}/",
        "'https://h:x/'",
        "rsync://h/m",
    ]
)


@given(st.sampled_from(list(ZoneKind)), st.data())
@settings(deadline=None, max_examples=300)
def test_the_example_with_one_value_replaced(kind: ZoneKind, data: st.DataObject) -> None:
    """No setting crashes on a value of another type."""
    lines = commented_example(kind, "hq").splitlines()
    settable = [number for number, line in enumerate(lines) if ": " in line and line[:2] != "# "]
    for number in data.draw(st.lists(st.sampled_from(settable), min_size=1, max_size=4)):
        key = lines[number].split(":")[0].replace("#", "")
        lines[number] = f"{key}: {data.draw(_SCALARS)}"
    text = re.sub(r"(?m)^( *)#(?=[a-z])", r"\1", "\n".join(lines))
    only_config_errors(text)
