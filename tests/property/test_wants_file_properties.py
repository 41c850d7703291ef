"""Any want survives the way outside; no bytes but ours are read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import UsageError
from manifests.wants import Want, escaped, is_want, read, write

NAMES = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
WANTS = st.builds(Want, NAMES, st.text(max_size=60).filter(is_want))
VALID = st.builds(write, NAMES, st.lists(WANTS, max_size=5))


@given(NAMES, st.lists(WANTS, max_size=20))
def test_what_is_written_is_read(stream: str, wants: list[Want]) -> None:
    file = read(write(stream, wants), "x")
    assert file.stream == stream
    assert set(file.wants) == set(wants) and len(file.wants) == len(set(wants))


@given(WANTS)
def test_a_want_is_one_word_of_plain_characters(want: Want) -> None:
    assert all("!" <= char <= "~" for char in escaped(want.what))
    data = write("hq", [want])
    assert data.count(b"\n") == 2 and data.count(b" ") == 3


@given(VALID, st.integers(0, 200), st.sampled_from([b"", b"\n", b" ", b"%", b"\0", b"\xff", b"a"]))
def test_whatever_is_read_is_written_the_same(data: bytes, at: int, put: bytes) -> None:
    """There is one way to write each file, so that nothing can be hidden in how it is written."""
    for changed in (data[:at] + put + data[at:], data[:at] + put + data[at + 1 :], data[at:]):
        try:
            file = read(changed, "x")
        except UsageError:
            continue
        assert write(file.stream, file.wants) == changed


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for candidate in (data, b"sluice-wants 1 hq\n" + data):
        try:
            file = read(candidate, "x")
        except UsageError:
            continue
        assert write(file.stream, file.wants) == candidate
