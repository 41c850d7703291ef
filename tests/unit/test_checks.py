"""Formats run in a confined child: results come back, and a hostile index stays there."""

import hashlib
import resource
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from manifests import errors
from manifests.digest import Digest
from manifests.formats import FORMATS
from manifests.formats.base import Problem, Severity, Signed, Spec
from manifests.tree import Entry
from store.checks import Limits, check_tree, derive_overlay, private_files, signatures
from store.store import Store
from tests.support import odd_child

ODD = Limits(cpu=20, program=odd_child.__name__)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parent asks a format what it does before it starts a child."""
    monkeypatch.setitem(FORMATS, "odd", odd_child.OddFormat)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


def tree(store: Store, *paths: str) -> Digest:
    with store.blobs.batch() as batch:
        entries = [Entry(path, *batch.put_bytes(path.encode())) for path in sorted(paths)]
    return store.keep_tree(entries).digest


def odd(do: str, **options: object) -> Spec:
    return Spec("baseos", options={"do": do, **options})


def test_a_real_format_runs_in_the_child(store: Store) -> None:
    with store.blobs.batch() as batch:
        body = batch.put_bytes(b"body")
        sums = hashlib.sha256(b"other").hexdigest() + "  a\n"
        listed = batch.put_bytes(sums.encode())
    good = store.keep_tree([Entry("a", *body)]).digest
    bad = store.keep_tree([Entry("SHA256SUMS", *listed), Entry("a", *body)]).digest
    assert check_tree(store, "files", Spec("docs"), good).complete
    found = check_tree(store, "files", Spec("docs"), bad)
    assert [problem.path for problem in found.problems] == ["a"]


def test_problems_are_counted_beyond_what_is_listed(store: Store) -> None:
    found = check_tree(store, "odd", odd("problems"), tree(store), limits=ODD)
    assert (found.required, found.advice, found.complete) == (3000, 1, False)
    assert len(found.problems) == 1001
    assert found.problems[0] == Problem("p0", "is missing")
    assert found.problems[-1] == Problem("q", "is old", Severity.ADVICE)


@pytest.mark.parametrize("do", ["memory", "c-memory", "spin", "deep"])
def test_what_takes_too_much_is_refused(store: Store, do: str) -> None:
    limits = replace(ODD, cpu=1 if do == "spin" else 20, memory=512 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(errors.OversizedIndex) as caught:
        check_tree(store, "odd", odd(do), tree(store), limits=limits)
    assert "baseos" in str(caught.value)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 100 << 10  # KiB, of the parent, whatever other tests took before


@pytest.mark.parametrize(
    ("do", "complaint"),
    [
        ("segfault", "signal 11"),
        ("raise", r"KeyError: 'surprise\x1b"),
        ("exit", "ended with status 0"),
        ("other-error", "a lie"),
    ],
)
def test_a_crash_is_a_malformed_index(store: Store, do: str, complaint: str) -> None:
    with pytest.raises(errors.MalformedIndex) as caught:
        check_tree(store, "odd", odd(do), tree(store), limits=ODD)
    assert complaint in str(caught.value)
    assert "baseos" in str(caught.value)


def test_a_format_error_keeps_its_class(store: Store) -> None:
    with pytest.raises(errors.ForbiddenXml) as caught:
        check_tree(store, "odd", odd("format-error"), tree(store), limits=ODD)
    assert str(caught.value) == "baseos: repodata/x.xml: an entity"
    with pytest.raises(errors.ConfigError, match="unknown format"):
        check_tree(store, "nope", odd("x"), tree(store))
    with pytest.raises(errors.BlobMissing):
        check_tree(store, "odd", odd("x"), Digest("0" * 64), limits=ODD)


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"{}\n", b"[]\n", b"no json\n", b'{"problem": 1}\n', b'{"problem": ["a", "b"]}\n',
        b'{"problem": ["a", "b", "fatal"]}\n', b'{"checksums": ["sha1", "x"]}\n',
        b'{"checksums": ["crc", "' + b"0" * 64 + b'"]}\n', b'{"checksums": []}\n', b'{"sign": 1}\n',
        b'{"rest": [""]}\n', b'{"gone": ["a"]}\n', b'{"rest": 1}\n',
        b'{"file": ["a", "b"]}\n', b'{"file": ["a", -1]}\n', b'{"error": ["os", "a", "b", "c"]}\n',
        b'{"error": ["x"]}\n',
        b'{"done": {"required": "x"}}\n', b'{"done": {}}\n{"done": {}}\n', b"x" * 400_000,
        b'{"a": ' + b"[" * 100_000, b'{"inline": ["a", "!"]}\n', b'{"problem": ["a", "b", "req',
    ],
)  # fmt: skip
def test_answers_without_sense_are_refused(store: Store, line: bytes) -> None:
    with pytest.raises(errors.MalformedIndex):
        check_tree(store, "odd", odd("raw", line=line.hex()), tree(store), limits=ODD)


def test_the_child_has_no_network(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(errors.MalformedIndex, match="unreachable"):
            check_tree(store, "odd", odd("network", port=port), tree(store), limits=ODD)


def test_the_child_knows_no_secrets(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLUICE_SECRET", "x")
    assert check_tree(store, "odd", odd("environment"), tree(store), limits=ODD).complete


def test_noise_does_no_harm(store: Store) -> None:
    assert check_tree(store, "odd", odd("noise"), tree(store), limits=ODD).complete


def test_checksums_come_from_the_parent_and_are_remembered(store: Store) -> None:
    found = check_tree(store, "odd", odd("checksums"), tree(store, "a", "b"), limits=ODD)
    sums = [hashlib.sha1(path).hexdigest() for path in (b"a", b"b")]
    assert [problem.what for problem in found.problems] == sums
    with store.ledger.read() as tx:
        assert tx.checksum(Digest(hashlib.sha256(b"a").hexdigest()), "sha1") == sums[0]


def test_signatures_are_named(store: Store) -> None:
    found = signatures(store, "odd", odd("x"), tree(store), packages=True, limits=ODD)
    assert found == [
        Signed("repodata/repomd.xml", "openpgp-detached", "repodata/repomd.xml.asc"),
        Signed("a.rpm", "rpm"),
    ]


class Signer:
    def armored(self, data: bytes) -> bytes:
        return b"signed: " + data


def test_an_overlay_is_derived(store: Store) -> None:
    base = tree(store, "x", "y")
    first = derive_overlay(store, "odd", odd("x"), base, signer=Signer(), limits=ODD)
    assert first is not None
    view = store.view(base, first.digest)
    assert [e.path for e in store.tree(first.digest).entries()] == [
        "a",
        "big",
        "z/list",
        "z/list.asc",
    ]
    assert view.open("a").read() == b"from a file"
    assert view.open("z/list.asc").read() == b"signed: x\ny\n"
    assert view.open("big").read() == b"x\ny\n".ljust(100_000, b".")
    again = derive_overlay(store, "odd", odd("x"), base, signer=Signer(), limits=ODD)
    assert again == first
    next_one = derive_overlay(
        store, "odd", odd("x"), base, previous=(base, first.digest), limits=ODD
    )
    assert next_one is not None
    assert store.view(next_one.digest).open("z/before").read() == b"a big z/list z/list.asc"
    assert derive_overlay(store, "files", Spec("docs"), base) is None
    assert not list((store.folder / "scratch").iterdir())


def test_what_did_not_change_is_taken_over(store: Store) -> None:
    base, later = tree(store, "x", "y"), tree(store, "rest")
    first = derive_overlay(store, "odd", odd("x"), base, limits=ODD)
    assert first is not None
    made = derive_overlay(store, "odd", odd("x"), later, previous=(base, first.digest), limits=ODD)
    assert made is not None
    view = store.view(made.digest)
    assert [entry.path for entry in view.entries()] == ["b", "big", "z/list"]
    assert view.open("b").read() == b"new"
    assert made == store.keep_tree(view.entries())
    with pytest.raises(errors.MalformedIndex):
        derive_overlay(store, "odd", odd("x"), later, limits=ODD)


def test_maven_metadata_is_the_same_made_anew_and_step_by_step(store: Store) -> None:
    files = {f"g/a/{n}/a-{n}.jar": b"PK" for n in range(3)} | {"g/b/1/b-1.jar": b"PK"}
    trees = []
    for gone in ("", "g/b/1/b-1.jar", "g/a/2/a-2.jar"):
        with store.blobs.batch() as batch:
            trees.append(
                store.keep_tree(
                    Entry(path, *batch.put_bytes(data))
                    for path, data in sorted(files.items())
                    if path != gone
                ).digest
            )
    anew = [derive_overlay(store, "maven", Spec("m"), each) for each in trees]
    for old, new in ((0, 1), (2, 0)):
        before = anew[old]
        assert before is not None
        step = derive_overlay(
            store, "maven", Spec("m"), trees[new], previous=(trees[old], before.digest)
        )
        assert step == anew[new] != before


def test_a_hostile_overlay_is_refused(store: Store) -> None:
    with pytest.raises(errors.MalformedIndex, match="derived twice"):
        derive_overlay(store, "odd", odd("x"), tree(store, "twice"), limits=ODD)
    with pytest.raises(errors.BadPath):
        derive_overlay(store, "odd", odd("x"), tree(store, "escape"), limits=ODD)
    assert not list((store.folder / "scratch").iterdir())


def test_private_files(store: Store) -> None:
    with store.blobs.batch() as batch:
        entries = private_files(store, "odd", odd("x"), tree(store), batch, limits=ODD)
    assert [entry.path for entry in entries] == [".sluice/facts.json"]
    assert store.blobs.has(entries[0].digest)
