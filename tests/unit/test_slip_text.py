"""The text of the return slip."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.digest import sha256_of
from manifests.errors import TrustError
from manifests.slip import Slip, format_parts, read, write
from manifests.wants import Want, is_want

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes_raw().hex()
NUMBERS = st.integers(0, 10**6)
PARTS = st.lists(st.integers(1, 300), unique=True, max_size=30).map(lambda p: tuple(sorted(p)))
WANTS = st.text(min_size=1, max_size=40).filter(is_want)


@st.composite
def slips(draw: st.DrawFn) -> Slip:
    missing = draw(st.dictionaries(st.integers(1, 10**6), PARTS, max_size=5))
    wants = draw(st.lists(st.builds(Want, st.sampled_from(["a", "b.c"]), WANTS), max_size=4))
    order = sorted({(w.repository, w.what): w for w in wants}.values())
    return Slip(
        "hq", PUBLIC, datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), draw(NUMBERS), draw(NUMBERS),
        draw(st.sampled_from([None, sha256_of(b"x")])), draw(NUMBERS), None,
        tuple(sorted(missing.items())), tuple(order),
    )  # fmt: skip


@settings(deadline=None)
@given(slips())
def test_what_was_written_is_read(slip: Slip) -> None:
    found = read(write(slip, KEY.sign), "slip")
    assert set(found.wants) == set(slip.wants)
    assert found == Slip(**{**_fields(slip), "wants": found.wants})


def _fields(slip: Slip) -> dict[str, object]:
    return {name: getattr(slip, name) for name in Slip.__slots__}


@settings(deadline=None, max_examples=300)
@given(slips(), st.data())
def test_no_byte_may_change(slip: Slip, data: st.DataObject) -> None:
    text = bytearray(write(slip, KEY.sign))
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(TrustError):
        read(bytes(text), "slip")


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300))
def test_anything_else_is_refused(data: bytes) -> None:
    for noise in (data, b"sluice-slip 1 hq\n" + data, data + b"signature " + b"0" * 128 + b"\n"):
        with pytest.raises(TrustError):
            read(noise, "slip")


def test_parts_are_written_in_runs() -> None:
    assert format_parts([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert format_parts([]) == ""
