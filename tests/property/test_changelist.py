"""Change lists, accounts and provenance: what is written is read, and nothing else."""

from __future__ import annotations

import io
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import provenance
from manifests.changelist import Account, ChangeList, Head, Item, Listed, Sums, encode
from manifests.digest import sha256_of
from manifests.errors import MalformedManifest, SluiceError
from manifests.provenance import AskedFor, Origin

NOW = datetime(2031, 5, 1, 12, tzinfo=UTC)
# What may stand in a path or a header: anything that UTF-8 can hold.
texts = st.text(st.characters(codec="utf-8"), max_size=20)
sizes = st.integers(0, 2**53 - 1)
digests = st.binary(max_size=4).map(sha256_of)
origins = st.builds(
    Origin,
    st.just("base"),
    st.integers(1, 2**53 - 1),
    texts,
    st.none() | st.just(NOW),
    texts,
    st.sampled_from(provenance.SIGNATURES),
    st.booleans(),
    st.lists(texts, max_size=3).map(tuple),
    st.lists(st.builds(AskedFor, texts, texts, texts, st.just(NOW)), max_size=3).map(tuple),
)
heads = st.builds(
    Head, st.just("hq"), st.just("base"), st.just("yum"), st.integers(1, 99), digests,
    st.just(None), st.just(None), st.none() | origins, st.none() | st.booleans(), texts,
)  # fmt: skip
items = st.lists(
    st.builds(
        Item, st.sampled_from(["added", "updated", "removed"]), texts.filter(bool), texts, texts,
        texts, texts, sizes, digests, sizes, digests, texts,
    ),
    max_size=6,
    unique_by=lambda item: item.path,
).map(lambda made: sorted(made, key=lambda item: item.path.encode()))  # fmt: skip


@given(heads, items)
def test_a_list_survives_its_bytes(head: Head, made: list[Item]) -> None:
    sums = Sums()
    data = b"".join(encode(head, made, sums))
    read = ChangeList(io.BytesIO(data))
    assert read.head == head
    assert list(read.items()) == made
    assert read.sums == sums and sums.added + sums.updated + sums.removed == len(made)


@given(heads, items, st.data())
def test_damaged_bytes_are_the_same_list_or_an_error(
    head: Head, made: list[Item], data: st.DataObject
) -> None:
    raw = bytearray(b"".join(encode(head, made, Sums())))
    if data.draw(st.booleans()):
        del raw[data.draw(st.integers(0, len(raw) - 1)) :]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = ChangeList(io.BytesIO(bytes(raw)))
        assert (read.head, list(read.items())) == (head, made)  # only gzip's own header changed
    except MalformedManifest:
        pass


@given(st.lists(st.builds(Listed, st.just("base"), sizes, digests, sizes, sizes, sizes)), texts)
def test_an_account_survives_its_bytes(lists: list[Listed], by: str) -> None:
    account = Account(NOW, by, tuple(lists))
    data = account.encode()
    assert Account.parse(data) == account
    with pytest.raises(SluiceError):
        Account.parse(data[:-1])


@given(st.lists(origins, max_size=3))
def test_provenance_survives_its_bytes(made: list[Origin]) -> None:
    assert list(provenance.read(io.BytesIO(provenance.encode(made)))) == made


@given(st.lists(origins, min_size=1, max_size=2), st.data())
def test_damaged_provenance_fails_cleanly(made: list[Origin], data: st.DataObject) -> None:
    raw = bytearray(provenance.encode(made))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = list(provenance.read(io.BytesIO(bytes(raw))))
    except SluiceError:
        return
    assert b"".join(one.line() for one in again) == raw


def test_provenance_is_cut_to_what_a_line_holds() -> None:
    roots = tuple(AskedFor("x" * 1000, "want", "y" * 999, NOW) for _ in range(500))
    origin = Origin("base", 1, "u" * 5000, NOW, "a" * 999, "good", True, ("k" * 999,) * 999, roots)
    assert len(origin.line()) <= provenance.MAX_LINE
    [read] = provenance.read(io.BytesIO(origin.line()))
    assert 10 < len(read.roots) < 200 and len(read.actor) == 256


def test_provenance_that_never_ends_is_not_read_into_memory() -> None:
    for flood in (b"x" * (provenance.MAX_LINE + 5), Origin("base", 1).line() * 10_001):
        with pytest.raises(SluiceError):
            list(provenance.read(io.BytesIO(flood)))
