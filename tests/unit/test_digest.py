"""Digests: one form, and hashes known from elsewhere."""

from __future__ import annotations

import pytest

from manifests.digest import EMPTY, Hasher, is_digest, parse_digest, sha256_of
from manifests.errors import MalformedManifest

# FIPS 180-4 examples, as published by NIST.
ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_known_answers() -> None:
    assert EMPTY == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert sha256_of(b"abc") == sha256_of(memoryview(b"abc")) == sha256_of(bytearray(b"abc")) == ABC


def test_a_hasher_counts_and_hashes_what_came_in_pieces() -> None:
    hasher = Hasher()
    assert (hasher.digest, hasher.size) == (EMPTY, 0)
    for piece in (b"a", b"", memoryview(b"bc")):
        hasher.update(piece)
    assert (hasher.digest, hasher.size) == (ABC, 3)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ABC[1:],
        ABC + "0",
        ABC.upper(),
        ABC + "\n",
        " " + ABC[1:],
        "g" + ABC[1:],
        "sha256:" + ABC,
        "0x" + ABC[2:],
        "\u0661" * 64,
        "../" + ABC[3:],
        ABC[:-1] + "\0",
    ],
)
def test_any_other_form_is_refused(text: str) -> None:
    assert not is_digest(text)
    with pytest.raises(MalformedManifest):
        parse_digest(text)


def test_the_right_form_is_taken() -> None:
    assert is_digest(ABC)
    assert parse_digest(ABC) == ABC
