"""Canonical JSON: one value has one text, and every other text is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import canonical
from manifests.errors import MalformedManifest, NotCanonical

CAP = 1 << 16

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), inner)
    ),
    max_leaves=20,
)


@given(plain)
def test_what_is_written_reads_back_and_writes_the_same(value: object) -> None:
    data = canonical.dumps(value)
    assert data.isascii()
    assert canonical.loads(data, cap=CAP) == value
    assert canonical.dumps(canonical.loads(data, cap=CAP)) == data


@given(st.binary(max_size=60) | st.text(alphabet='{}[]":,0123456789tfn eE+-.\\u', max_size=40))
def test_whatever_is_read_is_the_one_text_of_its_value(data: bytes | str) -> None:
    raw = data.encode() if isinstance(data, str) else data
    try:
        value = canonical.loads(raw, cap=CAP)
    except (MalformedManifest, NotCanonical):
        return
    assert canonical.dumps(value) == raw


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1}',
        ' {"a":1}',
        '{"a":1}\n',
        '{"b":1,"a":2}',
        '{"a":1,"a":1}',
        '{"a":{"b":1,"b":2}}',
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-0}',
        '{"a":9007199254740992}',
        '{"a":' + "9" * 5000 + "}",
        '{"a":"\\u0041"}',
        '{"a":"\\u00E9"}',
        '{"a":"\\/"}',
        '{"a":"\\ud800"}',
    ],
)
def test_another_text_of_a_value_is_not_canonical(text: str) -> None:
    with pytest.raises(NotCanonical):
        canonical.loads(text.encode(), cap=CAP)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1}x',
        b'{"a":1}{}',
        b'{"a":01}',
        b"\xef\xbb\xbf{}",
        '{"a":"é"}'.encode(),
        b'{"a":"\xff"}',
        b"[" * 60000,
        b'{"a":"\n"}',
        b"{}" + b" " * CAP,
    ],
)
def test_what_is_no_json_or_too_large_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedManifest):
        canonical.loads(data, cap=CAP)


def test_the_cap_is_inclusive() -> None:
    assert canonical.loads(b'{"a":1}', cap=7) == {"a": 1}
    with pytest.raises(MalformedManifest, match="7 bytes, but at most 6"):
        canonical.loads(b'{"a":1}', cap=6)


@pytest.mark.parametrize("value", [1.0, {1: 2}, {"a": {3}}, b"x", 2**53, "\ud800"])
def test_values_that_have_no_canonical_text_are_not_written(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        canonical.dumps(value)


def test_a_record_names_the_field_that_is_wrong() -> None:
    value = json.loads('{"name":"x","count":true,"when":"2030-02-30T00:00:00Z"}')
    fields = canonical.Record(value, where="m", required=["name", "count", "when"])
    assert fields.text("name") == "x"
    with pytest.raises(MalformedManifest, match="count must be an integer"):
        fields.number("count")
    with pytest.raises(MalformedManifest, match="when"):
        fields.time("when")
    with pytest.raises(MalformedManifest, match="unknown field 'when'"):
        canonical.Record(value, where="m", required=["name"], optional=["count"])
    with pytest.raises(MalformedManifest, match="other is missing"):
        canonical.Record(value, where="m", required=["other"], optional=value)
    with pytest.raises(MalformedManifest, match="must be an object"):
        canonical.Record([], where="m", required=[])
