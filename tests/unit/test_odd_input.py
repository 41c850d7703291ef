"""Bytes of others that once ended in another error than the reader's own, or took too long.

Where a limit of time was missing, the input is so large that the reader of then would take
minutes; there is no clock in these tests.
"""

from __future__ import annotations

import bz2
import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import urllib3

from manifests import canonical
from manifests.durable import publish_file
from manifests.errors import (
    BackupDamaged,
    BadPath,
    FormatError,
    LedgerDamaged,
    MalformedIndex,
    NotCanonical,
    UpstreamRefused,
    UsageError,
)
from manifests.formats.maven import pom, version
from manifests.formats.yum import repomd, updateinfo
from manifests.slip import MAX_NAMED, Slip, read, write
from manifests.state import parse_time
from manifests.tree import MAX_SIZE
from mirror.maven.nexus import _read as read_page
from mirror.maven.proxy import _decoded
from mirror.mirrors import parse_mirrors
from mirror.registry.challenge import challenges
from mirror.registry.files import TarFiles
from mirror.web import Answer, _finish
from repo_server.target import parse_target
from sluice.auditing import export_events
from sluice.cli import main
from sluice.keys import PASSPHRASE, passphrase_from
from sluice.running.journal import Manager
from store.backup import restore
from store.eventlog import archive_events, verify_log
from store.ledger.base import to_json
from store.store import Store
from tests.support.clock import Clock


def answer(status: int, **headers: str) -> Answer:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    response = urllib3.HTTPResponse(
        io.BytesIO(b""), fields, status, preload_content=False, enforce_content_length=False
    )
    _finish(response)
    return Answer(response, "http://h.example.org/x", 60)


@pytest.mark.parametrize("length", ["9" * 5000, "\xb2", "-1", "1_0", "12, 12", ""])
def test_a_length_that_is_none_promises_nothing(length: str) -> None:
    got = answer(301, Content_Length=length)
    assert got.length is None
    assert list(got.blocks(1, 1)) == []


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 99999999999 00:00:00 GMT",
        "Tue, 30 Feb 2024 00:00:00 GMT",
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "\xb2",
        "",
    ],
)
def test_a_date_that_is_none_asks_for_no_wait(value: str) -> None:
    assert answer(503, Retry_After=value).wait() is None


def test_dates_of_long_ago_and_far_ahead_ask_for_a_bounded_wait() -> None:
    assert answer(503, Retry_After="Fri, 01 Jan 1960 00:00:00 -0000").wait() == 0
    assert answer(503, Retry_After="Fri, 31 Dec 9999 23:59:59 GMT").wait() == 300
    assert answer(503, Retry_After="9" * 5000).wait() == 300


@pytest.mark.parametrize("encoding", ["nothing", "idna", "zlib", "utf-16"])
def test_a_mirror_list_in_an_encoding_that_is_none(encoding: str) -> None:
    with pytest.raises(MalformedIndex):
        parse_mirrors(f'<?xml version="1.0" encoding="{encoding}"?><a/>'.encode(), "list")


def test_a_mirror_list_ends_where_enough_are_known() -> None:
    lines = b"".join(b"http://%x/\n" % number for number in range(80_000))
    assert len(parse_mirrors(lines, "list")) == 100


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("zlib", zlib.compress(bytes(100_000))),
        ("zlib", b"x"),
        ("bz2", bz2.compress(bytes(100_000))),
        ("bz2", b"x"),
        ("hex", b"1"),
        ("base64", b"1"),
        ("uu", b"1"),
        ("punycode", b"a-" + b"z" * 100_000),
        ("idna", b"x"),
        ("raw_unicode_escape", rb"<project>\ud800</project>"),
    ],
)
def test_a_pom_in_what_is_no_encoding_of_text(encoding: str, text: bytes) -> None:
    with pytest.raises(MalformedIndex):
        pom.parse(b'<?xml version="1.0" encoding="' + encoding.encode() + b'"?>' + text, "x.pom")


def test_a_declaration_without_end_is_given_up() -> None:
    with pytest.raises(FormatError):
        pom.parse(b"<?xml" + b' encoding="a"' * 100_000, "x.pom")


def test_numbers_of_any_length_order_by_value() -> None:
    rising = ["9" * 999, "1" + "0" * 999, "9" * 4300, "1" * 5000, "2" + "0" * 4999]
    assert version.in_order(reversed(rising)) == rising
    assert version.in_order(["٢" * 6000, "0" * 9000, "1" * 6000])[1:] == ["1" * 6000, "٢" * 6000]
    assert version.in_order(["7", "٠" * 1999 + "٧"])


def test_a_location_may_say_here_as_often_as_it_likes() -> None:
    assert repomd.Location("./" * 400_000 + "a/./b"[:1]).path("x/") == "x/a"


def test_an_element_whose_prefix_was_all_of_its_name() -> None:
    class Everything(frozenset[str]):
        def __contains__(self, item: object) -> bool:
            return True

    package = '<package name="a" x:lang="b" epoch="0" version="1" release="1" arch="n"/>'
    good = f"<updates xmlns:x='y'><update>{package}</update></updates>".encode()
    text = b"".join(updateinfo.limited([good], Everything(), "updateinfo.xml"))
    assert b'name="a"' in text and b"lang" not in text
    with pytest.raises(MalformedIndex):
        list(updateinfo.limited([good.replace(b"package", b"x:5")], Everything(), "updateinfo.xml"))


def test_few_lines_of_a_slip_cannot_name_many_parts() -> None:
    every = tuple(range(1, 99_999))
    rows = tuple((number, every) for number in range(1, 12))
    slip = Slip("hq", "0" * 64, parse_time("2026-01-01T00:00:00Z"), 1, 2, None, 0, None, rows)
    assert sum(len(parts) for _, parts in rows) > MAX_NAMED
    with pytest.raises(UsageError):
        write(slip, lambda _: bytes(64))
    head = "sluice-slip 1 hq\nkey " + "0" * 64 + "\ntime 2026-01-01T00:00:00Z\nmark 1 2\n"
    lines = "".join(f"missing {number} 1-99999\n" for number in range(1, 10_000))
    text = f"{head}state -\nwhole 0 -\n{lines}signature {'0' * 128}\n"
    with pytest.raises(NotCanonical, match="more than 1000000 parts"):
        read(text.encode(), "slip")


@pytest.mark.parametrize("blanks", [" " * 16_000, " ," * 8_000, "\t" * 8_000 + "," + " " * 8_000])
def test_blanks_before_a_challenge_take_no_time(blanks: str) -> None:
    assert challenges(blanks) == []
    (one,) = challenges(f"Bearer{blanks[:99]}realm=x ,{blanks[:99].replace(',', ' ')}service=y")
    assert one.values == {"realm": "x", "service": "y"} or "," in blanks


@pytest.mark.parametrize("kind", ["long names", "size", "negative"])
def test_an_archive_whose_headers_lead_nowhere(tmp_path: Path, kind: str) -> None:
    info = tarfile.TarInfo("x")
    if kind == "long names":
        info.type = tarfile.GNUTYPE_LONGNAME
        data = info.tobuf(tarfile.GNU_FORMAT) * 2_000
    else:
        info.pax_headers = {"size": "9" * 30 if kind == "size" else "-5"}
        data = info.tobuf(tarfile.PAX_FORMAT) + bytes(1024)
    (tmp_path / "images.tar").write_bytes(data)
    with pytest.raises(UpstreamRefused):
        TarFiles(tmp_path / "images.tar", "file:///images.tar")


def test_bytes_of_a_request_that_are_no_text() -> None:
    with pytest.raises(BadPath):
        _decoded("org/\udcff.jar")
    assert parse_target("/v2/_catalog?n=1&last=\udcff") is None


def test_a_size_of_an_asset_that_no_file_has_is_no_promise() -> None:
    page = b'{"items": [{"path": "/a", "fileSize": %d}, {"path": "/b", "fileSize": %d}]}'
    rows, _ = read_page(page % (MAX_SIZE, 10**400), "listing")
    assert rows == [{"path": "a", "size": MAX_SIZE}, {"path": "b"}]


@pytest.mark.parametrize(
    "files", [{"../x": "0" * 64}, {"zone.yaml": 5}, ["zone.yaml"], {"\x7f": "0" * 64}]
)
def test_a_marker_of_a_backup_that_names_what_none_has(
    tmp_path: Path, store: Store, files: object
) -> None:
    marker = {"version": 1, "time": "2026-01-01T00:00:00Z", "ledger": None, "files": files}
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "BACKUP").write_bytes(canonical.dumps(marker))
    with pytest.raises(BackupDamaged):
        restore(tmp_path / "old", tmp_path / "new", store.files, progress=lambda *_: None)
    assert not (tmp_path / "new").exists()


_EVENTS: list[Callable[[bytes], bytes]] = [
    lambda _: b"[]\n",
    lambda _: b"{}\n",
    lambda _: b"5\n",
    lambda line: line.replace(b'"time":"', b'"time":"x'),
    lambda line: line.replace(b'"actor":', b'"author":'),
    lambda _: b"[" * 100_000,
]


@pytest.mark.parametrize("change", _EVENTS)
def test_lines_of_an_archive_of_events_that_are_none(
    store: Store, clock: Clock, change: Callable[[bytes], bytes]
) -> None:
    with store.ledger.write() as tx:
        tx.event("tried", "hq", number=1)
    clock.time += timedelta(days=1)
    archive_events(store, clock.time, block=1)
    with store.ledger.read() as tx:
        (good,) = tx.event_archives()
    lines = gzip.decompress(store.blobs.path(good.blob).read_bytes())
    with store.blobs.batch() as batch:
        blob, _ = batch.put_bytes(gzip.compress(change(lines)))
    with store.ledger.write() as tx:
        tx.set_meta("event_archives", to_json([[good.last, good.head, blob]]))
    with store.ledger.read() as tx, pytest.raises(LedgerDamaged, match="archived events 1"):
        verify_log(store, tx)
    with store.ledger.write() as tx:
        tx.set_meta("event_archives", "[5]")
    with store.ledger.read() as tx, pytest.raises(LedgerDamaged, match="list of archived"):
        verify_log(store, tx)


@pytest.mark.parametrize("words", [["snapshots", "x\udcff"], ["wants", "forget", "\ud800", "x"]])
def test_an_argument_that_no_text_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    assert main(["-z", str(tmp_path), *words]) == 2
    assert "not UTF-8" in capsys.readouterr().err


def test_a_passphrase_may_be_any_bytes() -> None:
    assert passphrase_from({PASSPHRASE: "g\udcffd"}) == b"g\xffd"


@pytest.mark.parametrize("microseconds", ["\xb2", "9" * 5000, "-1"])
def test_a_watchdog_of_no_time_is_none(microseconds: str) -> None:
    assert Manager({"WATCHDOG_USEC": microseconds}).watchdog is None


def test_what_is_written_takes_no_place_of_a_device(tmp_path: Path, store: Store) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    (tmp_path / "link").symlink_to(pipe)
    for target in (pipe, tmp_path / "link"):
        with pytest.raises(UsageError, match="no file"):
            publish_file(store.files, target, b"x")
        with store.ledger.read() as tx, pytest.raises(UsageError, match="no file"):
            export_events(store, tx, store.files, target)
    assert pipe.is_fifo() and not [*tmp_path.glob(".*.tmp")]
