"""Our order of versions is that of the real ``ComparableVersion``."""

from __future__ import annotations

import random
import subprocess
from itertools import pairwise

import pytest

from manifests.formats.maven.version import compare, in_order
from tests.support import maven, tools

TOKENS = (
    "0", "1", "2", "9", "10", "00", "01", "0000000000", "1234567890", "12345678901234567890",
    "a", "b", "m", "x", "v", "alpha", "Beta", "milestone", "rc", "CR", "ga", "final", "RELEASE",
    "snapshot", "SNAPSHOT", "sp", "jre", "xyz", "é", "ß", "٣", "_", "+", "~",
)  # fmt: skip


def versions(seed: int, count: int) -> list[str]:
    """Random versions, each second one close to the one before."""
    chance = random.Random(seed)
    found: list[str] = []
    while len(found) < count:
        if found and chance.random() < 0.6:
            pieces = list(found[-1])
            at = chance.randrange(len(pieces) + 1)
            pieces[at : at + chance.randrange(3)] = chance.choice((".", "-", *TOKENS))
        else:
            pieces = [
                chance.choice(TOKENS) + chance.choice((".", "-", ".", "-", ""))
                for _ in range(chance.randint(1, 6))
            ]
        if text := "".join(pieces)[:60]:
            found.append(text)
    return found


def answers_of_java(listed: list[str]) -> list[int]:
    """How each version compares with the next, by Maven's own class."""
    jar = next(iter(sorted(maven.LIBRARIES.glob("maven-artifact-3*.jar"))))
    result = subprocess.run(
        [tools.need("java"), "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-Dfile.encoding=UTF-8",
         "-Dstdout.encoding=UTF-8", "-cp", f"{jar}:{maven.LIBRARIES}/*",
         "org.apache.maven.artifact.versioning.ComparableVersion", *listed],
        check=True, capture_output=True, env={"LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    lines = [line for line in result.stdout.decode().splitlines() if line.startswith("   ")]
    signs = {"<": -1, "==": 0, ">": 1}
    found = []
    for (left, right), line in zip(pairwise(listed), lines, strict=True):
        middle = line.removeprefix(f"   {left} ").removesuffix(f" {right}")
        found.append(signs[middle])
    return found


@pytest.mark.parametrize("seed", range(4))
def test_versions_compare_as_in_maven(seed: int) -> None:
    listed = versions(seed, 2000)
    ours = [compare(left, right) for left, right in pairwise(listed)]
    wrong = [
        (*pair, java)
        for pair, mine, java in zip(pairwise(listed), ours, answers_of_java(listed), strict=True)
        if mine != java
    ]
    assert wrong == []


def test_comparing_is_symmetric() -> None:
    listed = versions(9, 2000)
    for left, right in pairwise(listed):
        assert compare(left, right) == -compare(right, left)
        assert compare(left, left) == 0


def test_an_order_that_people_know() -> None:
    known = ["1.0-alpha-1", "1.0-beta-2", "1.0-rc1", "1.0-SNAPSHOT", "1.0", "1.0-sp1", "1.0.1",
             "1.2", "1.10", "2.0-M1", "2.0"]  # fmt: skip
    assert in_order(reversed(known)) == known


def test_a_version_of_many_parts_is_no_trouble() -> None:
    assert compare("1-a" * 3000, "1-a" * 3000 + ".1") == -1
