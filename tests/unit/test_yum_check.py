"""A yum tree is complete when, and only when, its own indexes prove it."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Iterator

import pytest

from manifests.errors import ForbiddenXml, MalformedIndex, OversizedIndex
from manifests.formats import format_named
from manifests.formats.base import Severity, Spec
from manifests.formats.yum.primary import packages
from tests.support.formats import MemoryView
from tests.support.yumrepos import COMPRESS, Repo, Rpm

YUM = format_named("yum")
SPEC = Spec("r")


def problems(files: dict[str, bytes]) -> list[tuple[str, str]]:
    found = YUM.check(SPEC, MemoryView(files))
    return [(p.path, p.what) for p in found if p.severity is Severity.REQUIRED]


def repo(**options: object) -> Repo:
    rpms = [Rpm("a", "1.0~rc1^x+y", href="Packages/a/a-1.0~rc1^x+y.rpm"), Rpm("b"), Rpm("c")]
    return Repo(rpms, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize(
    "algorithm", ["md5", "sha", "sha1", "sha224", "sha256", "sha384", "sha512"]
)
def test_a_complete_repository_has_no_problem(suffix: str, algorithm: str) -> None:
    extra = {"updateinfo": ("u.xml", b"<u/>"), "group": ("c.xml", b"<c/>"), "strange": ("z", b"z")}
    whole = repo(suffix=suffix, algorithm=algorithm, extra=extra, deltas=[Rpm("d", href="drpms/d")])
    assert problems(whole.files()) == []


def test_every_missing_or_changed_file_is_named() -> None:
    whole = repo(extra={"strange": ("z", b"z")}, deltas=[Rpm("d", href="drpms/d.drpm")]).files()
    for path in whole:
        if path.endswith("repomd.xml"):
            continue
        gone = {key: data for key, data in whole.items() if key != path}
        assert [p for p, _ in problems(gone)] == [path]
        flipped = {**whole, path: bytes([whole[path][0] ^ 1]) + whole[path][1:]}
        assert [p for p, _ in problems(flipped)] == [path]
        longer = {**whole, path: whole[path] + b"\0"}
        assert [p for p, _ in problems(longer)] == [path]


def test_no_index_at_all_is_a_problem() -> None:
    assert problems({"a.rpm": b"x"}) == [
        ("repodata/repomd.xml", "missing: nothing says what this repository holds")
    ]


def test_repositories_in_sub_folders_are_checked_too() -> None:
    whole = {**repo(prefix="BaseOS/").files(), **repo(prefix="AppStream/").files()}
    assert problems(whole) == []
    del whole["AppStream/Packages/b-1.0-1.noarch.rpm"]
    assert [p for p, _ in problems(whole)] == ["AppStream/Packages/b-1.0-1.noarch.rpm"]


def test_a_relative_base_is_a_folder_and_a_foreign_one_a_problem() -> None:
    inside = Repo([Rpm("a", base="sub", href="a.rpm")])
    files = inside.files()
    files["sub/a.rpm"] = files.pop("a.rpm")
    assert problems(files) == []
    for base in ("http://other/", "https://other/x", "//other/", "file:///etc/"):
        (found,) = problems(Repo([Rpm("a", base=base)]).files())
        assert "lies elsewhere" in found[1]


@pytest.mark.parametrize(
    "href",
    ["../x.rpm", "/etc/x.rpm", "http://other/x.rpm", "a/../../x", ".sluice/facts.json", "a//b"],
)
def test_hostile_locations_are_problems_and_never_looked_up(href: str) -> None:
    files = Repo([Rpm("a", href="x.rpm")]).files()
    evil = Repo([Rpm("a", href=href)])
    found = problems(
        {
            **{k: v for k, v in evil.files().items() if k.startswith("repodata/")},
            "x.rpm": files["x.rpm"],
        }
    )
    assert len(found) == 1
    assert "repodata/" in found[0][0]


def test_an_escaped_location_stands_for_the_decoded_name() -> None:
    files = Repo([Rpm("a", href="Packages/a%2bb.rpm")]).files()
    assert problems(files) == []
    files["Packages/a+b.rpm"] = files.pop("Packages/a%2bb.rpm")
    assert problems(files) == []


def test_accepted_paths_become_advice() -> None:
    files = repo().files()
    del files["Packages/b-1.0-1.noarch.rpm"]
    row = {"path": "Packages/b-1.0-1.noarch.rpm", "reason": "404 upstream", "by": "x", "at": "y"}
    files[".sluice/exceptions.json"] = json.dumps([row]).encode()
    found = list(YUM.check(SPEC, MemoryView(files)))
    assert [p.severity for p in found] == [Severity.ADVICE]
    assert "404 upstream" in found[0].what
    files[".sluice/exceptions.json"] = b'{"path": 1}'
    with pytest.raises(MalformedIndex):
        list(YUM.check(SPEC, MemoryView(files)))


@pytest.mark.parametrize(
    "primary",
    [
        b'<!DOCTYPE m [<!ENTITY a "b">]><metadata>&a;</metadata>',
        b'<!DOCTYPE m SYSTEM "http://other/x.dtd"><metadata/>',
        b"<!DOCTYPE metadata><metadata/>",
    ],
)
def test_entities_and_document_types_are_refused(primary: bytes) -> None:
    with pytest.raises(ForbiddenXml):
        problems(Repo(primary=primary).files())


@pytest.mark.parametrize(
    "primary",
    [
        b"<metadata><package>",
        b"<html/>",
        b"",
        b"\0\0",
        b"<metadata><package><name>x</name></package></metadata>",
        b"<metadata>&undefined;</metadata>",
        b'<?xml version="1.0" encoding="nonsense"?><metadata/>',
    ],
)
def test_broken_indexes_are_malformed(primary: bytes) -> None:
    with pytest.raises(MalformedIndex):
        problems(Repo(primary=primary).files())


def test_an_endless_token_and_endless_depth_are_oversized() -> None:
    for primary in (
        b'<metadata a="' + b"x" * (4 << 20) + b'"/>',
        b"<metadata>" + b"x" * (4 << 20) + b"</metadata>",
        b"<metadata><!--" + b"x" * (4 << 20) + b"--></metadata>",
        b"<metadata>" + b"<a>" * 100 + b"</a>" * 100 + b"</metadata>",
    ):
        with pytest.raises(OversizedIndex):
            problems(Repo(primary=primary, suffix="").files())


def test_an_index_larger_than_promised_is_oversized_and_a_smaller_one_a_problem() -> None:
    lying = repo()
    files = lying.files()
    text = files["repodata/repomd.xml"]
    size = len(lying.primary_xml())
    files["repodata/repomd.xml"] = text.replace(
        b"<open-size>%d<" % size, b"<open-size>%d<" % (size - 1)
    )
    with pytest.raises(OversizedIndex):
        problems(files)
    files["repodata/repomd.xml"] = text.replace(
        b"<open-size>%d<" % size, b"<open-size>%d<" % (size + 1)
    )
    assert ["inflates to" in what for _, what in problems(files)] == [True]


def test_treeinfo_checksums_are_held_and_repomd_in_it_is_advice() -> None:
    files = repo().files()
    files["images/boot.iso"] = b"iso"
    files["images/pxeboot/vmlinuz"] = b"linux"
    import hashlib

    iso = hashlib.sha256(b"iso").hexdigest()
    files[".treeinfo"] = (
        f"[general]\nname = X\n[checksums]\nimages/boot.iso = sha256:{iso}\n"
        f"repodata/repomd.xml = sha256:{'0' * 64}\n"
        "[images-x86_64]\nkernel = images/pxeboot/vmlinuz\ninitrd = images/pxeboot/initrd.img\n"
    ).encode()
    found = {p.path: p.severity for p in YUM.check(SPEC, MemoryView(files))}
    assert found == {
        "repodata/repomd.xml": Severity.ADVICE,
        "images/pxeboot/initrd.img": Severity.ADVICE,
    }
    files["images/boot.iso"] = b"ISO"
    assert [p for p, _ in problems(files)] == ["images/boot.iso"]
    files[".treeinfo"] = b"[checksums]\n../../etc/passwd = sha256:" + b"0" * 64 + b"\n"
    assert [p for p, _ in problems(files)] == [".treeinfo"]


def test_derived_trees_need_real_packages_only() -> None:
    facts = {".sluice/facts.json": b'{"metadata": "derived"}'}
    assert [p for p, _ in problems({**facts, "a.rpm": b"not an rpm"})] == ["a.rpm"]
    assert problems({**facts, "readme.txt": b"x"}) == []
    with pytest.raises(MalformedIndex):
        problems({".sluice/facts.json": b"[]"})


def test_a_gzip_of_two_members_is_read_whole() -> None:
    whole = repo()
    plain = whole.primary_xml()
    packed = gzip.compress(plain[:100]) + gzip.compress(plain[100:]) + b"\0" * 512
    COMPRESS[".two"] = lambda data: packed if data == plain else gzip.compress(data)
    try:
        whole.suffix = ".two"
        files = whole.files()
    finally:
        del COMPRESS[".two"]
    assert problems(files) == []
    del files["Packages/c-1.0-1.noarch.rpm"]
    assert [p for p, _ in problems(files)] == ["Packages/c-1.0-1.noarch.rpm"]


def test_an_epoch_that_is_no_sane_number_is_malformed() -> None:
    for epoch in ("9" * 5000, "-1", "x"):
        with pytest.raises(MalformedIndex):
            problems(Repo([Rpm("a", epoch=epoch)]).files())


def test_what_an_outsider_wrote_stays_on_one_line() -> None:
    files = Repo([Rpm("a", href="x&#10;held: nothing&#133;.rpm")]).files()
    row = {"path": "y", "reason": "two\nlines", "by": "x", "at": "y"}
    files[".sluice/exceptions.json"] = json.dumps([row]).encode()
    files[".treeinfo"] = b"[checksums]\ny = sha256:" + b"0" * 64
    found = list(YUM.check(SPEC, MemoryView(files)))
    assert len(found) == 2
    assert all(problem.what.isprintable() and problem.path.isprintable() for problem in found)


def test_memory_does_not_grow_with_the_number_of_packages() -> None:
    def peak(count: int) -> int:
        def chunks() -> Iterator[bytes]:
            yield b'<metadata xmlns="c">'
            for number in range(count):
                yield Rpm(f"p{number}").xml("sha256").encode()
            yield b"</metadata>"

        tracemalloc.start()
        try:
            assert sum(1 for _ in packages(chunks(), "x")) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(8000) < peak(1000) * 1.5
