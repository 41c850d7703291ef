"""Text for Prometheus: whatever a label holds, one sample stays one line and can be read back."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from manifests.exposition import Family, render

_SAMPLE = re.compile(r'sluice_x\{name="((?:[^"\\\n]|\\["\\n])*)"\} (-?\d+)')
_PLAIN = {'\\"': '"', "\\\\": "\\", "\\n": "\n"}


@given(st.lists(st.tuples(st.text(), st.integers()), min_size=1))
def test_what_is_written_is_read_back(samples: list[tuple[str, int]]) -> None:
    family = Family("sluice_x", "gauge", "Any \\ text\nat all.")
    for text, value in samples:
        family.add(value, name=text)
    family.add(None, name="unknown")
    helped, kind, *lines, end = render([family, Family("sluice_y", "gauge", "none")]).split("\n")
    assert helped == "# HELP sluice_x Any \\\\ text\\nat all."
    assert (kind, end) == ("# TYPE sluice_x gauge", "")
    found = []
    for line in lines:
        match = _SAMPLE.fullmatch(line)
        assert match is not None, line
        text = re.sub(r"\\.", lambda each: _PLAIN[each[0]], match[1])
        found.append((text, int(match[2])))
    assert found == samples
