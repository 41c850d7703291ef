"""The pure parts of mirroring: output of rsync, mirror lists, the bandwidth limit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import ConfigError, ForbiddenXml, MalformedIndex, UpstreamUnreachable
from manifests.zone.model import Connection
from mirror.attempts import FEW_REMOVALS, too_many
from mirror.mirrors import parse_mirrors
from mirror.report import Quiet, is_index, printable
from mirror.rsync import Changes, Rsync, decode_name, read_secret
from mirror.throttle import Throttle
from mirror.web import Web
from tests.support import tools


def escape(name: bytes) -> bytes:
    r"""What rsync prints under -8: control characters, and backslashes that look like an escape."""
    out = b""
    for place, byte in enumerate(name):
        looks = name[place : place + 2] == b"\\#" and name[place + 2 : place + 5].isdigit()
        plain = (byte >= 32 and byte != 127) and not looks
        out += bytes([byte]) if plain else b"\\#%03o" % byte
    return out


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_names_that_rsync_escapes_come_back(name: bytes) -> None:
    assert decode_name(escape(name)).encode("utf-8", "surrogateescape") == name


def test_changes_are_counted_by_what_they_mean() -> None:
    changes = Changes()
    for flags, size, name in [
        (b">f+++++++++", 10, b"new.rpm"),
        (b">f.st......", 20, b"repodata/repomd.xml"),
        (b"*deleting", 0, b"old.rpm"),
        (b"*deleting", 0, b"repodata/old-primary.xml.gz"),
        (b"cL+++++++++", 3, b"link"),
        (b".f..t......", 7, b"touched.rpm"),
    ]:
        changes.note("yum", flags, size, name)
    assert (changes.transfers, changes.created, changes.size, changes.payload) == (2, 1, 30, 1)
    assert (changes.deleted, changes.first_deleted, changes.other) == (1, ["old.rpm"], 3)


@pytest.mark.parametrize(
    ("path", "index"),
    [("repodata/x", True), ("a/repodata/x", True), ("myrepodata/x", False), ("a.rpm", False)],
)
def test_what_is_an_index(path: str, index: bool) -> None:
    assert is_index("yum", path) is index
    assert not is_index("files", path)


def test_the_command_line_of_rsync(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    connection = Connection(username="sam", password_file=secret, bandwidth=512 << 10, timeout=7)
    rsync = Rsync("rsync://host/mod/", connection, "yum", lock=0, progress=Quiet())
    words = rsync.command(["--delete-after"], tmp_path)
    assert "--bwlimit=512" in words and "--timeout=7" in words
    assert "--inplace" not in words and "--munge-links" in words
    assert words[-3:] == ["--", "rsync://sam@host/mod/", f"{tmp_path}/"]
    assert "s3cret" not in " ".join(words)


def test_a_password_file_without_a_password_is_told(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    odd = tmp_path / "odd"
    odd.write_text("s3\0cret\n")
    for path in (empty, tmp_path / "none", odd):
        with pytest.raises(ConfigError):
            read_secret(path)
    assert read_secret(None) == ""


def test_mirrors_as_text_and_metalink_in_their_order() -> None:
    text = b"# comment\n\nhttp://b.example.org/os\nftp://x/\nhttps://a.example.org/os/\n"
    assert parse_mirrors(text, "list") == ["http://b.example.org/os/", "https://a.example.org/os/"]
    link = (
        b'<metalink xmlns="urn:ietf:params:xml:ns:metalink"><file name="repomd.xml">'
        b'<url priority="2">http://b.example.org/repodata/repomd.xml</url>'
        b'<url priority="1">http://a.example.org/repodata/repomd.xml</url></file></metalink>'
    )
    assert parse_mirrors(link, "list") == ["http://a.example.org/", "http://b.example.org/"]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", MalformedIndex),
        (b"file:///etc/\nhttp://user:pw@host/\nhttp://h/?q=1\n", MalformedIndex),
        (b"<html><p>not found</html>", MalformedIndex),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><metalink>&a;</metalink>', ForbiddenXml),
    ],
)
def test_bad_mirror_lists(data: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        parse_mirrors(data, "list")


@given(st.binary(max_size=300))
def test_any_mirror_list_gives_mirrors_or_an_error(data: bytes) -> None:
    try:
        found = parse_mirrors(data, "list")
    except (MalformedIndex, ForbiddenXml):
        return
    assert all(url.startswith(("http://", "https://")) and url.endswith("/") for url in found)


def test_the_throttle_keeps_to_its_rate() -> None:
    now = 0.0

    def pause(seconds: float) -> None:
        nonlocal now
        now += seconds

    throttle = Throttle(1000, clock=lambda: now, pause=pause)
    for _ in range(50):
        throttle.spend(200)
    assert 8.5 <= now <= 10.1


@given(st.text())
def test_printable_is_one_harmless_line(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable() and len(shown) <= 303


def test_why_nobody_answered_is_said_in_few_words() -> None:
    url = f"http://127.0.0.1:{tools.free_port()}/"
    web = Web(Connection(), [url])
    with pytest.raises(UpstreamUnreachable) as caught, web.get(url, {}):
        pass
    web.close()
    assert caught.value.what == "no answer: connection refused"


@pytest.mark.parametrize(
    ("gone", "before", "left", "share", "held"),
    [
        (FEW_REMOVALS, 21, 1, 0.3, False),
        (FEW_REMOVALS + 1, 22, 1, 0.3, True),
        (FEW_REMOVALS + 1, 70, 49, 0.3, False),
        (3, 3, 3, 0.3, False),  # every file has another name now
        (1, 1, 0, 0.3, True),
        (2, 10, 0, 0.3, True),  # the other eight went because they are not asked for any more
        (0, 0, 0, 0.0, False),
        (1, 1000, 999, 0.0, True),
        (1000, 1000, 0, 1.0, False),
    ],
)
def test_removals_wait_for_a_person(
    gone: int, before: int, left: int, share: float, held: bool
) -> None:
    assert too_many(gone, before, left, share) is held
