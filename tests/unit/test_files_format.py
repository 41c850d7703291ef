"""Any tree as it is: what a crawl of folder listings brings, and what checksum lists say."""

from __future__ import annotations

import hashlib
import json

import pytest

from manifests.errors import ConfigError, OversizedIndex
from manifests.formats import FORMATS, autoindex, format_named
from manifests.formats.base import Missing, Request, SendEntry, SendListing, Severity, Spec
from tests.support.formats import MemoryView, drive

FILES = format_named("files")

NGINX = b"""<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre>
<a href="../">../</a>
<a href="docs/">docs/</a>            01-Jan-2024 00:00      -
<a href="a%2Bb%20%26%20c.txt">a+b &amp; c.txt</a>  01-Jan-2024 00:00  5
<a href="tool.iso">tool.iso</a>  01-Jan-2024 00:00  5
</pre></body></html>"""
APACHE = b"""<table><tr><th><a href="?C=N;O=D">Name</a></th></tr>
<tr><td><img src="/icons/back.gif"></td><td><a href="/">Parent Directory</a></td></tr>
<tr><td><a class=x HREF='guide&amp;index.pdf'>guide</a></td></tr>
<tr><td><a href="./plain.txt">plain</a> <a href="plain.txt">again</a></td></tr>
<tr><td><a href="http://other/evil">x</a><a href="//other/evil">x</a>
<a href="javascript:x">x</a></td></tr>
<tr><td><a href="%2e%2e/up">x</a><a href="..%2fup">x</a>
<a href="%00">x</a><a href="%ff">x</a></td></tr>
<tr><td><a href="deeper/still">x</a>
<a href="#top">x</a><a href="mailto:a@b">x</a></td></tr></table>"""


def test_listings_are_followed_downwards_only() -> None:
    upstream = {
        "./": NGINX,
        "docs/": APACHE,
        "a%2Bb%20%26%20c.txt": b"abc",
        "tool.iso": b"iso",
        "docs/guide&index.pdf": b"pdf",
        "docs/plain.txt": b"txt",
    }
    run = drive(FILES.crawl(Spec("f"), None), upstream)
    assert run.files == {
        "a+b & c.txt": b"abc",
        "tool.iso": b"iso",
        "docs/guide&index.pdf": b"pdf",
        "docs/plain.txt": b"txt",
    }
    assert all(wanted.volatile for wanted in run.wanted)
    few = Spec("f", include=("*.pdf", "tool*"), exclude=("tool.iso",))
    assert set(drive(FILES.crawl(few, None), upstream).files) == {"docs/guide&index.pdf"}


def test_a_tree_without_end_is_oversized() -> None:
    class Endless(dict[str, bytes]):
        def get(self, key: str, default: object = None) -> bytes:  # type: ignore[override]
            return b'<a href="again/">again</a>'

    with pytest.raises(OversizedIndex):
        drive(FILES.crawl(Spec("f"), None), Endless())


def test_our_own_folder_is_never_taken_from_an_upstream() -> None:
    upstream = {"./": b'<a href=".sluice/">x</a><a href="a">a</a>', "a": b"a"}
    assert set(drive(FILES.crawl(Spec("f"), None), upstream).files) == {"a"}


def test_hostile_pages_end_in_linear_time() -> None:
    for page in (b"<a " * 300_000, b'<a href="' * 200_000, b"<a\t" + b" " * 2_000_000):
        assert list(autoindex.names(page)) == []


def test_checksum_lists_are_advice() -> None:
    good, bad = hashlib.sha256(b"good").hexdigest(), "0" * 64
    files = {
        "iso/SHA256SUMS": f"{good} *a.iso\n{bad}  b.iso\n{bad}  gone.iso\n{bad}  ../x\n".encode(),
        "iso/a.iso": b"good",
        "iso/b.iso": b"bad",
    }
    found = list(FILES.check(Spec("f"), MemoryView(files)))
    assert {p.path for p in found} == {"iso/b.iso", "iso/gone.iso"}
    assert {p.severity for p in found} == {Severity.ADVICE}
    assert list(FILES.check(Spec("f"), MemoryView({"a": b""}))) == []


def test_answers_are_static_and_private_files_are_not_served() -> None:
    view = MemoryView({"a/b+c~d^e%f.txt": b"x", ".sluice/facts.json": b"{}"})
    found = FILES.answer(Request("a/b+c~d^e%f.txt"), view)
    assert isinstance(found, SendEntry) and not found.immutable
    assert isinstance(FILES.answer(Request("a/"), view), SendListing)
    assert FILES.answer(Request(".sluice/facts.json"), view) == Missing()
    assert FILES.answer(Request("no"), view) == Missing(want="no")


def test_yum_names_that_stand_for_content_are_immutable() -> None:
    yum = format_named("yum")
    hashed = f"x/repodata/{'a' * 64}-primary.xml.gz"
    names = [hashed, "Packages/a+b%c.rpm", "drpms/a.drpm", "repodata/repomd.xml", "repodata/c.xml"]
    view = MemoryView({**dict.fromkeys(names, b""), ".sluice/facts.json": b"{}"})
    answers = [yum.answer(Request(name), view) for name in names]
    assert [a.immutable for a in answers if isinstance(a, SendEntry)] == [True] * 3 + [False] * 2
    assert isinstance(yum.answer(Request("Packages/a%2Bb%25c.rpm"), view), SendEntry)
    assert isinstance(yum.answer(Request("%2esluice/facts.json"), view), Missing)


def test_formats_are_known_by_name() -> None:
    assert [(name, format_named(name).name) for name in FORMATS] == [
        (name, name) for name in ("files", "maven", "oci", "yum")
    ]
    with pytest.raises(ConfigError, match="unknown format"):
        format_named("yumm")


def test_accepted_files_need_a_list() -> None:
    view = MemoryView({".sluice/exceptions.json": json.dumps({}).encode()})
    with pytest.raises(Exception, match="not a JSON list"):
        list(FILES.check(Spec("f"), view))
