"""Whatever bytes an upstream sends, only our own errors come out; versions order as RPM's."""

from __future__ import annotations

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests.errors import FormatError, TreeError
from manifests.formats import format_named
from manifests.formats.base import Spec
from manifests.formats.bounded import inflate
from manifests.formats.yum import primary, repomd, treeinfo, updateinfo
from manifests.formats.yum.version import Evr, compare
from tests.support.formats import Broken, MemoryBody, MemoryView, drive
from tests.support.soaking import examples
from tests.support.yumrepos import COMPRESS, Repo, Rpm

WHOLE = Repo(
    [Rpm("a", "1.0~rc1"), Rpm("b")],
    extra={"updateinfo": ("u.xml", b"<updates/>"), "modules": ("m.yaml", b"- a-0:1-1.noarch")},
    deltas=[Rpm("d", href="drpms/d.drpm")],
)
INDEXES = [WHOLE.files()["repodata/repomd.xml"], WHOLE.primary_xml(), WHOLE.deltas_xml()]


def exhaust(found: Iterable[object]) -> None:
    for _ in found:
        pass


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An index with some bytes cut, doubled or replaced."""
    data = draw(st.sampled_from(INDEXES))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 40)))
        middle = draw(st.one_of(st.binary(max_size=20), st.just(data[start:end] * 2), _WORDS))
        data = data[:start] + middle + data[end:]
    return data


_WORDS = st.sampled_from(
    [b"../", b"http://x/", b"<!DOCTYPE a>", b"&a;", b"\0", b"<data>", b"</data>", b"-1", b"sha9"]
)


@settings(max_examples=examples(300))
@given(st.one_of(st.binary(max_size=300), damaged()))
def test_readers_raise_only_our_errors(data: bytes) -> None:
    for reader in (
        lambda: repomd.parse([data], "x"),
        lambda: exhaust(primary.packages([data], "x")),
        lambda: exhaust(primary.deltas([data], "x")),
        lambda: treeinfo.parse(data, "x"),
        lambda: exhaust(updateinfo.limited([data], {"a"}, "x")),
    ):
        with contextlib.suppress(FormatError, TreeError):
            reader()


@settings(max_examples=examples(300))
@given(
    st.sampled_from(sorted(COMPRESS)),
    st.binary(max_size=200),
    st.integers(0, 1 << 16),
    st.binary(max_size=20),
)
def test_decompression_raises_only_our_errors(
    suffix: str, data: bytes, at: int, noise: bytes
) -> None:
    packed = COMPRESS[suffix](data * 5)
    at %= len(packed) + 1
    with contextlib.suppress(FormatError):
        exhaust(inflate(MemoryBody(packed[:at] + noise + packed[at:]).open(), where="x"))


@settings(max_examples=examples(200), suppress_health_check=[HealthCheck.too_slow])
@given(damaged(), damaged(), st.binary(max_size=60))
def test_whole_trees_raise_only_our_errors(one: bytes, two: bytes, info: bytes) -> None:
    yum = format_named("yum")
    hostile = Repo(WHOLE.rpms, primary=two, extra={"group": ("c", one)}).files()
    for files in ({**WHOLE.files(), "repodata/repomd.xml": one}, hostile):
        files[".treeinfo"] = b"[checksums]\n" + info
        with contextlib.suppress(FormatError, TreeError):
            exhaust(yum.check(Spec("r"), MemoryView(files)))
        for spec in (Spec("r"), Spec("r", newest=1)):
            with contextlib.suppress(FormatError, TreeError, Broken):
                drive(yum.crawl(spec, None), files)


@given(
    st.lists(st.from_regex(r"[a-z0-9]{1,6}", fullmatch=True), unique=True, max_size=6), st.data()
)
def test_check_finds_exactly_what_is_missing(names: list[str], data: st.DataObject) -> None:
    files = Repo([Rpm(name) for name in names]).files()
    packages = sorted(path for path in files if path.endswith(".rpm"))
    gone = set(data.draw(st.lists(st.sampled_from(packages), unique=True))) if packages else set()
    left = {path: content for path, content in files.items() if path not in gone}
    found = format_named("yum").check(Spec("r"), MemoryView(left))
    assert {problem.path for problem in found} == gone


VERSION = st.text(alphabet="0019aAbz.~^_+", min_size=1, max_size=9)


def rpm_says(pairs: list[tuple[str, str]]) -> list[int]:
    """What the real rpm answers, all pairs in one run."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.writelines(f"{a}\t{b}\n" for a, b in pairs)
        file.flush()
        loop = 'local a, b = line:match("^(.-)\t(.*)$"); print(rpm.vercmp(a, b) .. " ")'
        lua = f'for line in io.lines("{file.name}") do {loop} end'
        done = subprocess.run(
            ["rpm", "--eval", f"%{{lua:{lua}}}"], capture_output=True, text=True, check=True
        )
    return [int(word) for word in done.stdout.split()]


@settings(max_examples=examples(40), deadline=None)
@given(st.lists(st.tuples(VERSION, VERSION), min_size=50, max_size=100))
def test_versions_order_as_in_rpm(pairs: list[tuple[str, str]]) -> None:
    pairs += [(a, a + suffix) for a, _ in pairs for suffix in ("~", "^", ".0", "a", "0")]
    said = rpm_says(pairs)
    wrong = [(a, b, s) for (a, b), s in zip(pairs, said, strict=True) if compare(a, b) != s]
    assert wrong == []


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        (("0", "9", "1"), ("1", "1", "1")),
        (("", "1.0~rc1", "1"), ("0", "1.0", "1")),
        (("0", "1.0", "1"), ("0", "1.0^git1", "1")),
        (("0", "1.0^git1", "1"), ("0", "1.0.1", "1")),
        (("0", "1.9", "1"), ("0", "1.10", "1")),
        (("0", "1", "9"), ("0", "1", "10")),
    ],
)
def test_epoch_version_release(older: tuple[str, ...], newer: tuple[str, ...]) -> None:
    assert Evr(*older).key() < Evr(*newer).key()


@given(
    st.recursive(
        st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_any_json_among_our_facts_raises_only_our_errors(value: object) -> None:
    for name in ("facts", "exceptions"):
        view = MemoryView({f".sluice/{name}.json": json.dumps(value).encode()})
        with contextlib.suppress(FormatError):
            exhaust(format_named("yum").check(Spec("r"), view))
