"""The command line itself: help, exit codes, errors in one line, and the status document."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from sluice.cli import parser
from sluice.examples import EXAMPLES
from tests.support.drive import Done, Outside, Upstream, pair, program, sluice


def commands(top: argparse.ArgumentParser, words: tuple[str, ...] = ()) -> Iterator[list[str]]:
    """The words of every command and sub-command."""
    for action in top._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, below in action.choices.items():
                yield [*words, name]
                yield from commands(below, (*words, name))


@pytest.mark.parametrize("words", list(commands(parser())), ids=" ".join)
def test_every_command_explains_itself(words: list[str]) -> None:
    done = sluice(*words, "--help")
    assert done.out.startswith(f"usage: sluice {words[0]}") or "usage: sluice" in done.out
    assert len(done.out.splitlines()) >= 3
    assert done.err == ""


def test_every_example_is_one_that_the_program_takes() -> None:
    top = parser()
    known = {" ".join(words) for words in commands(top)}
    assert set(EXAMPLES) <= known
    for lines in EXAMPLES.values():
        for line in lines:
            call = line.split("  ")[0]
            assert callable(top.parse_args(shlex.split(call)[1:]).command)
            assert len(line) <= 90


def test_help_says_what_a_command_does_and_shows_a_call() -> None:
    assert "Mirror upstreams into new snapshots." in sluice("sync", "--help").out
    text = sluice("trust", "renew", "--help").out
    assert "A new root version with a later expiry." in text
    assert "example:\n  sluice trust renew --root-key-to" in text


@pytest.mark.parametrize(
    "words",
    [
        ("trust", "export", "gone/root.json"),
        ("trust", "renew", "--root-key-to", "zone.yaml/x"),
        ("metrics", "gone/metrics.prom"),
    ],
    ids=" ".join,
)
def test_a_folder_that_is_not_mounted_is_told_in_words(
    tmp_path: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Outside.make(tmp_path / "OUT")
    monkeypatch.chdir(out.folder)
    refused(out.sluice(*words, expect=None))


def test_a_root_key_that_cannot_be_written_leaves_room_for_another_try(tmp_path: Path) -> None:
    (tmp_path / "medium").write_text("not a folder")
    words = ("init", "outside", tmp_path / "OUT", "--root-key-to")
    refused(sluice(*words, tmp_path / "medium", expect=1))
    sluice(*words, tmp_path / "rootkey")


def test_help_names_the_exit_codes_and_the_path() -> None:
    text = program("--help").out
    for word in ("exit codes", "init outside", "init inside", "receive", "serve"):
        assert word in text
    assert program("--version").out.startswith("sluice ")


def refused(done: Done) -> None:
    """What is wrong in one line, what to do in a second."""
    lines = done.err.splitlines()
    assert 1 <= len(lines) <= 2, done
    assert lines[0].startswith("sluice: ")
    assert lines[-1].startswith(("sluice: ", "  -> "))
    assert done.out == ""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("frobnicate",),
        ("sync", "--frobnicate"),
        ("init",),
        ("init", "sideways", "x"),
        ("rollback", "tools"),
        ("rollback", "tools", "one"),
        ("diff", "tools", "1"),
        ("trust", "rotate", "everything"),
        ("events", "--last", "many"),
    ],
    ids=" ".join,
)
def test_wrong_words_end_with_2(words: tuple[str, ...]) -> None:
    refused(sluice(*words, expect=2))


def test_a_wrong_zone_ends_with_2(tmp_path: Path) -> None:
    refused(sluice("-z", tmp_path / "nowhere", "status", expect=2))
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    for words in (
        ("sync", "unknown"),
        ("pack", "--stream", "unknown"),
        ("receive", "--once"),
        ("serve",),
        ("release", "draft-unknown"),
        ("snapshots", "unknown"),
        ("trust", "export", tmp_path / "x.json", "--stream", "unknown"),
    ):
        refused(out.sluice(*words, expect=2))
    for words in (
        ("sync",),
        ("pack",),
        ("send",),
        ("rollback", "tools", "1"),
        ("keys", "approve", "ABC"),
        ("serve", "--listen", "here"),
        ("serve", "--workers", "0"),
    ):
        refused(inside.sluice(*words, expect=2))
    for zone in (out, inside):
        zone.common["reserve_fre"] = "1GiB"
        zone.configure()
        done = zone.sluice("status", expect=2)
        assert "reserve_free" in done.err
        assert "line" in done.err
    refused(sluice("init", "outside", out.folder, expect=2))
    refused(sluice("init", "inside", tmp_path / "NEW", "--root", tmp_path / "no.json", expect=2))
    assert not (tmp_path / "NEW").exists()


def test_what_fails_ends_with_1_and_what_is_held_with_3(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {str(n): b"x" for n in range(10)})
    out, _ = pair(tmp_path, {"tools": upstream})
    out.sluice("sync")
    upstream.remove(*(str(n) for n in range(10)))
    refused(out.sluice("sync", expect=3))
    upstream.folder.rename(tmp_path / "away")
    refused(out.sluice("sync", expect=1))
    assert out.holds()["tools"]["remedy"]


def is_time(text: str) -> bool:
    return bool(datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ"))


def test_the_status_document_has_what_others_build_on(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"aa", "b": b"bbb"})
    out, inside = pair(tmp_path, {"tools": upstream})
    for zone, kind in ((out, "outside"), (inside, "inside")):
        status = zone.status()
        assert status["version"] == 1
        assert status["zone"] == kind
        assert status["streams"]["hq"]["sequence"] == 0
    parts = out.cycle()
    outside = out.status()
    stream = outside["streams"]["hq"]
    for mark in ("packed", "sent"):
        assert stream[mark]["sequence"] == 1
        assert is_time(stream[mark]["time"])
    assert stream["watermarks"] == {"packed": 1, "sent": 1, "confirmed": None}
    assert outside["repositories"]["tools"]["snapshot"]["files"] == 2
    inside.receive(*parts)
    status = inside.status()
    stream = status["streams"]["hq"]
    for mark in ("received", "imported"):
        assert stream[mark]["sequence"] == 1
        assert is_time(stream[mark]["time"])
    assert stream["state_digest"] == outside["streams"]["hq"]["state_digest"]
    live = status["repositories"]["tools"]["publication"]
    assert (live["serial"], live["files"], live["bytes"]) == (1, 2, 5)
    assert is_time(live["time"])
    assert status["holds"] == []
    # A bundle of which a part is missing: received, and not imported.
    out.options["part_size"] = "64KiB"
    out.configure()
    upstream.write({"big": bytes(range(256)) * 600})
    inside.receive(*out.cycle()[:-1], expect=3)
    status = inside.status()
    stream = status["streams"]["hq"]
    assert (stream["received"]["sequence"], stream["imported"]["sequence"]) == (2, 1)
    [held] = status["holds"]
    assert held["repository"] == "tools"
    assert held["reason"]
    assert held["remedy"]
    assert is_time(held["since"])
    assert held["detail"]["items"] == ["big"]
    assert status["repositories"]["tools"]["holds"] == [held["key"]]
    shown = inside.sluice("status", expect=3).out
    assert "HELD tools" in shown
    assert "big" in shown


def test_snapshots_events_and_differences_are_there_for_programs(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    upstream.write({"b": b"b"})
    inside.receive(*out.cycle())
    for zone in (out, inside):
        rows = json.loads(zone.sluice("snapshots", "tools", "--json").out)
        assert [row["serial"] for row in rows] == [2, 1]
        assert "+ b" in zone.sluice("diff", "tools", 1, 2).out
        assert "- b" in zone.sluice("diff", "tools", 2, 1).out
        assert zone.sluice("diff", "tools", 1, 3, expect=2).err
        assert "every one in its place" in zone.sluice("events", "--verify").out
        events = [json.loads(line) for line in zone.sluice("events", "--json").out.splitlines()]
        assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
        assert all(event["actor"] for event in events)
    assert [row["live"] for row in rows] == [True, False]


def test_a_pipe_that_closes_is_no_failure(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {f"f{n}": b"x" for n in range(3000)})
    out, _ = pair(tmp_path, {"tools": upstream})
    out.sluice("sync")
    upstream.remove(*(f"f{n}" for n in range(800)))
    out.sluice("sync")
    process = out.start("diff", "tools", 1, 2, "--all")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(60) == 0
