"""What a tired operator is told: what is wrong, where, and what to do about it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sluice.cli import _told
from tests.support.drive import Upstream, pair, sluice


def test_a_word_that_is_nearly_a_command_and_a_zone_in_the_wrong_place() -> None:
    said = sluice("syncc", expect=2).err.splitlines()
    assert said == [
        "sluice: there is no command 'syncc'",
        "  -> did you mean `sync`? all are in: sluice --help",
    ]
    assert "sluice -z DIR COMMAND" in sluice("status", "-z", "OUT", expect=2).err


def test_a_bracket_that_is_never_closed_is_told_where_it_begins(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, _ = pair(tmp_path, {"tools": upstream})
    settings = out.folder / "zone.yaml"
    settings.write_text("zone: outside\nrepositories:\n  x: {format: files,\nstreams:\n  hq: x\n")
    said = out.sluice("status", expect=2).err
    assert "that begins in line 3" in said


def test_an_inside_without_its_root_of_trust_says_so_before_anything_arrives(
    tmp_path: Path,
) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    root = inside.folder / "trust" / "root.json"
    good = root.read_bytes()
    other = tmp_path / "OTHER"
    sluice("init", "outside", other, "--stream", "other")
    sluice("-z", other, "trust", "export", tmp_path / "other.json")
    for bad, word in (
        (None, "cannot be read"),
        (b"not a root", "not JSON"),
        ((tmp_path / "other.json").read_bytes(), "speaks for the stream other"),
    ):
        root.unlink(missing_ok=True)
        if bad is not None:
            root.write_bytes(bad)
        done = inside.sluice("receive", "--once", expect=2)
        first, second = done.err.splitlines()
        assert str(root) in first and word in first and second.startswith("  -> ")
        status = inside.status()
        assert any(str(root) in line and word in line for line in status["warnings"])
        assert status["streams"]["hq"]["root"] is not None, "the ledger knows one"
        said = inside.sluice("check", "--offline", expect=3).out
        assert f"problem keys: {root}: " in said and word in said
    root.write_bytes(good)
    assert inside.status()["warnings"] == []
    done = sluice("init", "inside", tmp_path / "N", "--root", upstream.folder / "a", expect=2)
    assert str(upstream.folder / "a") in done.err and "trust export" in done.err


def test_what_is_lost_of_the_store_is_told_beside_what_the_ledger_knows_and_comes_back(
    tmp_path: Path,
) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    jar = {f"org/x/one/1/one-1.{end}": end.encode() for end in ("jar", "module")}
    out, inside = pair(tmp_path, {"tools": upstream, "jars": Upstream(tmp_path / "jars", jar)})
    out.repositories["jars"]["format"] = "maven"
    out.configure()
    inside.receive(*out.cycle())
    for zone, remedy in ((out, "`sluice sync` and"), (inside, "outside `sluice pack --full`")):
        blobs = zone.folder / "blobs"
        tree = zone.status()["repositories"]["tools"]["snapshot"]["tree"]
        (blobs / tree[:2] / tree).unlink()
        said = zone.sluice("status", expect=1).out
        assert f"DAMAGED {blobs}: " in said and "snapshot 1, is lost" in said
        shutil.rmtree(blobs)
        if zone is inside:
            blobs.touch()  # nobody can read that folder
        said = zone.sluice("status", expect=1).out
        assert "1 file, 1" in said and f"DAMAGED {blobs}: nothing in it can be read" in said
        assert remedy in said
        said = zone.sluice("check", "--offline", expect=3).out
        assert f"problem ledger: {blobs}: nothing in it can be read" in said
        assert str(blobs) in zone.sluice("metrics", expect=1).err
        blobs.unlink(missing_ok=True)
    out.sluice("sync")
    out.sluice("pack", "--full")
    out.sluice("send")
    inside.receive(*out.take())
    for zone in (out, inside):
        assert zone.status()["store"]["damage"] == []
        zone.sluice("verify")
    assert inside.content("tools") == upstream.files()
    # What is derived inside comes in no bundle, but from what did.
    with inside.store() as store, store.ledger.read() as tx:
        overlay = next(live.overlay for live in tx.publications() if live.overlay)
    (inside.folder / "blobs" / overlay[:2] / overlay).unlink()
    assert "derived metadata of jars is lost" in inside.sluice("status", expect=1).out
    inside.receive()
    inside.sluice("verify")
    assert "org/x/one/maven-metadata.xml" in (inside.content("jars") or {})


def test_a_lost_ledger_is_told_and_no_empty_one_is_put_in_its_place(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    for zone in (out, inside):
        ledger = zone.folder / "ledger.sqlite"
        kept = ledger.rename(tmp_path / "kept")
        for words in (["status"], ["verify"], ["sync"] if zone is out else ["receive", "--once"]):
            said = zone.sluice(*words, expect=1).err
            assert f"{ledger}: the ledger of this store is not there" in said
            assert "restore it from a backup" in said
        assert not ledger.exists()
        kept.rename(ledger)
        zone.sluice("status")


def test_a_bundle_of_another_stream_is_called_that_and_where_it_lies(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    _, inside = pair(tmp_path, {"tools": upstream})
    other = tmp_path / "OTHER"
    sluice("init", "outside", other, "--stream", "other")
    settings = other / "zone.yaml"
    line = f"  tools: {{format: files, upstream: 'file://{upstream.folder}'}}"
    settings.write_text(settings.read_text().replace("repositories:", f"repositories:\n{line}", 1))
    for word in ("sync", "pack", "send"):
        sluice("-z", other, word)
    for path in (other / "outbox").iterdir():
        shutil.copy(path, inside.folder / "inbox" / path.name)
    first, second, third = inside.sluice("receive", "--once", expect=3).err.splitlines()
    assert "it is of the stream other; this inbox is for hq" in first
    assert second.startswith("  -> ") and "inbox of its own" in second
    assert "`sluice quarantine`" in third


def test_a_missing_folder_and_a_file_of_somebody_else_are_told_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    _, inside = pair(tmp_path, {"tools": upstream})
    gone = tmp_path / "gone"
    said = inside.sluice("metrics", gone / "hq.prom", expect=1).err.splitlines()
    assert said[0] == f"sluice: {gone}: there is no such folder"
    # Of two accounts in the right: who calls in another's zone, and whose zone root was busy in.
    ours = tmp_path / "zone"
    ours.mkdir()
    theirs = ours / "blob"
    theirs.touch()
    refused = PermissionError(13, "Permission denied", str(theirs / ".tmp"))
    assert "let it in, or call this as that account" in _told(refused, gone).remedy
    os.chown(theirs, 65534, 65534)
    assert "as root: chown -R root" in _told(refused, ours).remedy
