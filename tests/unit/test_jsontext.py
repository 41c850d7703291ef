"""JSON of others: any form, but nothing that cannot be written down again."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import jsontext
from manifests.changelist import ChangeList, Head, Item, Sums, encode
from manifests.digest import sha256_of
from manifests.errors import MalformedIndex, MalformedManifest
from manifests.formats.oci.document import load

texts = st.text(st.characters(codec="utf-8"))
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(values, st.booleans())
def test_what_utf8_can_hold_is_read(value: object, in_ascii: bool) -> None:
    assert jsontext.loads(json.dumps(value, ensure_ascii=in_ascii).encode()) == value


@pytest.mark.parametrize(
    "data",
    [
        rb'"\ud800"', rb'{"\udfff": 1}', rb'["a", {"b": "x\uDbFFx"}]', rb'"\udc00\ud800"',
        b'"\xed\xa0\x80"', '"utf-16"'.encode("utf-16"), b"NaN", b"[-Infinity]", b"[" * 100_000,
        b"9" * 5_000, b"", b"{'a': 1}", b"[1e999]", b"-1E400",
    ],
)  # fmt: skip
def test_what_it_cannot_hold_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError):
        jsontext.loads(data)


def test_a_pair_of_surrogates_and_an_escaped_backslash_are_text() -> None:
    assert jsontext.loads(rb'["\ud83d\ude00", "\\ud800"]') == ["\U0001f600", r"\ud800"]


def test_half_a_character_in_a_change_list_or_a_manifest_has_its_error() -> None:
    item = Item("added", "a\ud873", "", "", "", "", 1, sha256_of(b""), 0, "", "")
    head = Head("hq", "base", "yum", 1, sha256_of(b""), None, None, None, None, "")
    data = b"".join(encode(head, [item], Sums()))
    with pytest.raises(MalformedManifest, match="not JSON"):
        list(ChangeList(io.BytesIO(data)).items())
    with pytest.raises(MalformedIndex, match="not JSON"):
        load(rb'{"annotations": {"a": "\ud873"}}', "a manifest")
