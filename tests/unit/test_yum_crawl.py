"""A crawl over HTTP ends with a complete copy, or with less if the spec asks for less."""

from __future__ import annotations

import gzip
import hashlib
import json

import pytest

from manifests.errors import BadPath, ConfigError, FormatError, MalformedIndex
from manifests.formats import format_named
from manifests.formats.base import Severity, Spec
from tests.support.formats import MemoryView, Run, drive
from tests.support.yumrepos import Repo, Rpm

YUM = format_named("yum")


def crawl(files: dict[str, bytes], spec: Spec = Spec("r")) -> Run:  # noqa: B008
    return drive(YUM.crawl(spec, None), files)


def required(files: dict[str, bytes]) -> list[str]:
    found = YUM.check(Spec("r"), MemoryView(files))
    return [p.path for p in found if p.severity is Severity.REQUIRED]


def test_an_unfiltered_crawl_copies_everything_verbatim() -> None:
    repo = Repo(
        [Rpm("a+b", "1~rc^2"), Rpm("c", href="Packages/c/c 1.rpm")],
        extra={"updateinfo": ("u.xml.gz", b"u"), "strange": ("s", b"s")},
        deltas=[Rpm("d", href="drpms/d.drpm")],
    )
    upstream = repo.files()
    upstream["repodata/repomd.xml.asc"] = b"signature"
    upstream["Packages/c/c%201.rpm"] = upstream.pop("Packages/c/c 1.rpm")
    run = crawl(upstream)
    upstream["Packages/c/c 1.rpm"] = upstream.pop("Packages/c/c%201.rpm")
    assert run.files == upstream
    assert required(run.files) == []
    assert run.confirmed == ["repodata/repomd.xml", "repodata/repomd.xml.asc"]
    promised = {w.path for w in run.wanted if w.digests}
    assert promised == set(upstream) - {"repodata/repomd.xml", "repodata/repomd.xml.asc"}


def test_an_escaped_location_is_asked_as_it_is_and_stored_decoded() -> None:
    run = crawl(Repo([Rpm("a", href="a%2bb.rpm")]).files())
    assert "a%2bb.rpm" in run.asked
    assert "a+b.rpm" in run.files
    assert required(run.files) == []
    with pytest.raises(BadPath):
        crawl(Repo([Rpm("a", href="%2e%2e/x.rpm")]).files())


def test_hostile_locations_end_the_crawl() -> None:
    for href in ("../x.rpm", "/x.rpm", ".sluice/facts.json", "a/./b"):
        with pytest.raises(BadPath):
            crawl(Repo([Rpm("a", href=href)]).files())
    with pytest.raises(BadPath):
        crawl(Repo(extra={"group": ("../../x", b"")}).files())


def test_packages_on_other_hosts_are_never_asked_for() -> None:
    upstream = Repo([Rpm("a", base="http://127.0.0.1/latest/")]).files()
    run = crawl(upstream)
    assert not [url for url in run.asked if "127.0.0.1" in url]
    run = crawl(upstream, Spec("r", include=("a",)))
    assert not [url for url in run.asked if "127.0.0.1" in url]
    assert "Packages/a-1.0-1.noarch.rpm" in run.files
    with pytest.raises(MalformedIndex):
        crawl(Repo([Rpm("a", href="http://127.0.0.1/a.rpm")]).files(), Spec("r", include=("a",)))


def test_an_installer_tree_comes_with_its_images_and_listed_folders() -> None:
    upstream = Repo([Rpm("a")]).files()
    iso = hashlib.sha256(b"iso").hexdigest()
    upstream[".treeinfo"] = (
        f"[checksums]\nimages/boot.iso = sha256:{iso}\nrepodata/repomd.xml = sha256:{'0' * 64}\n"
        "[images-x86_64]\nkernel = images/pxeboot/vmlinuz\n"
        "[stage2]\nmainimage = images/install.img\n"
        "[variant-A]\nrepository = A\n[variant-B]\nrepository = ../../B\n"
    ).encode()
    upstream.update(
        {
            "images/boot.iso": b"iso",
            "images/pxeboot/vmlinuz": b"linux",
            "images/install.img": b"squash",
            "EFI/": b'<a href="../">..</a><a href="?C=M">m</a><a href="BOOT/">B</a>',
            "EFI/BOOT/": b"<a href='grub.cfg'>g</a><a href=\"http://other/x\">x</a>",
            "EFI/BOOT/grub.cfg": b"menu",
            "media.repo": b"[x]",
            "extra_files.json": json.dumps(
                {
                    "data": [
                        {
                            "file": "RPM-GPG-KEY-x",
                            "checksums": {"md5": hashlib.md5(b"k").hexdigest()},
                            "size": 1,
                        }
                    ]
                }
            ).encode(),
            "RPM-GPG-KEY-x": b"k",
        }
    )
    upstream.update(Repo([Rpm("n")], prefix="A/").files())
    run = crawl(upstream)
    assert set(run.files) == {path for path in upstream if not path.endswith("/")}
    assert required(run.files) == []


def names(run: Run) -> list[str]:
    return sorted(path for path in run.files if path.endswith(".rpm"))


def test_filters_choose_by_glob_architecture_and_age() -> None:
    rpms = [
        Rpm("a", "1.0", arch="x86_64"),
        Rpm("a", "1.10", arch="x86_64"),
        Rpm("a", "1.9", arch="x86_64"),
        Rpm("a", "0.1", arch="x86_64", epoch="1"),
        Rpm("a", "1.10", arch="i686"),
        Rpm("docs", "1.0~rc1"),
        Rpm("docs", "1.0"),
        Rpm("kernel", arch="x86_64"),
    ]
    upstream = Repo(rpms).files()

    def chosen(**filters: object) -> list[str]:
        run = crawl(upstream, Spec("r", **filters))  # type: ignore[arg-type]
        assert run.files[".sluice/facts.json"] == b'{"metadata": "derived"}\n'
        assert not [path for path in run.files if path.startswith("repodata/")]
        return [name.removeprefix("Packages/").removesuffix(".rpm") for name in names(run)]

    assert chosen(arches=("x86_64",), exclude=("a*",)) == [
        "docs-1.0-1.noarch",
        "docs-1.0~rc1-1.noarch",
        "kernel-1.0-1.x86_64",
    ]
    assert chosen(newest=1) == [
        "a-0.1-1.x86_64",
        "a-1.10-1.i686",
        "docs-1.0-1.noarch",
        "kernel-1.0-1.x86_64",
    ]
    assert chosen(newest=2, include=("a",)) == [
        "a-0.1-1.x86_64",
        "a-1.10-1.i686",
        "a-1.10-1.x86_64",
    ]
    assert chosen(include=("a-1:*",)) == ["a-0.1-1.x86_64"]
    assert chosen(include=("a-1.9-1.x86_64", "k*")) == ["a-1.9-1.x86_64", "kernel-1.0-1.x86_64"]


def test_newest_keeps_every_stream_of_a_module() -> None:
    rpms = [Rpm("m", "1"), Rpm("m", "2"), Rpm("p", "1"), Rpm("p", "2")]
    modules = gzip.compress(
        b"document: modulemd\ndata:\n  artifacts:\n    rpms:\n    - m-0:1-1.noarch\n"
    )
    upstream = Repo(rpms, extra={"modules": ("x-modules.yaml.gz", modules)}).files()
    run = crawl(upstream, Spec("r", newest=1))
    assert names(run) == [f"Packages/{n}-1.noarch.rpm" for n in ("m-1", "m-2", "p-2")]
    assert run.files[".sluice/yum/modules/x-modules.yaml.gz"] == modules


def test_a_filtered_crawl_keeps_raw_indexes_and_the_signed_repomd() -> None:
    upstream = Repo(
        [Rpm("a"), Rpm("b")],
        extra={"updateinfo": ("u.xml.gz", b"u"), "group": ("c.xml", b"c"), "group_zck": ("z", b"")},
    ).files()
    upstream["repodata/repomd.xml.asc"] = b"signature"
    run = crawl(upstream, Spec("r", include=("a",)))
    assert set(run.files) == {
        ".sluice/facts.json",
        ".sluice/yum/group/c.xml",
        ".sluice/yum/updateinfo/u.xml.gz",
        ".sluice/yum/upstream/repomd.xml",
        ".sluice/yum/upstream/repomd.xml.asc",
        "Packages/a-1.0-1.noarch.rpm",
    }
    signed = {(s.path, s.kind) for s in YUM.signed(Spec("r"), run.view, packages=False)}
    assert signed == {
        (".sluice/yum/upstream/repomd.xml", "openpgp-detached"),
        ("Packages/a-1.0-1.noarch.rpm", "rpm"),
    }


def test_options_and_contradictions() -> None:
    upstream = Repo([Rpm("a")]).files()
    upstream["RPM-GPG-KEY-x"] = b"key"
    run = crawl(upstream, Spec("r", options={"extra": ["RPM-GPG-KEY-x"]}))
    assert run.files["RPM-GPG-KEY-x"] == b"key"
    with pytest.raises(ConfigError):
        crawl(upstream, Spec("r", options={"extra": "RPM"}))
    with pytest.raises(ConfigError):
        crawl(upstream, Spec("r", newest=1, metadata="verbatim"))
    with pytest.raises(FormatError):
        crawl({"repodata/repomd.xml": b"<repomd/>"})


def test_a_page_in_place_of_a_file_that_was_only_guessed_does_no_harm() -> None:
    upstream = Repo([Rpm("a")]).files()
    page = b"<html>Welcome to our mirror</html>"
    guessed = ("extra_files.json", ".treeinfo", "treeinfo", "media.repo", ".discinfo")
    upstream.update(dict.fromkeys(guessed, page))
    assert required(crawl(upstream).files) == []
