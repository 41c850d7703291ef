"""The return slip: what it says, what it moves, and which ones are refused."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

from store.store import Store
from tests.support.drive import Inside, Outside, Upstream, noise, pair

FILES = {f"f{n:02}": noise(n, 17_000 + n) for n in range(8)}


def trusted(tmp_path: Path, **options: object) -> tuple[Upstream, Outside, Inside]:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB", **options)
    key = inside.sluice("slip", "key").out.strip()
    assert inside.sluice("slip", "key").out.strip() == key
    out.sluice("slip", "trust", key)
    return upstream, out, inside


def written(inside: Inside, name: str = "slip.txt") -> Path:
    file = inside.folder.parent / name
    inside.sluice("slip", file)
    # Times are whole seconds, and the next one must be newer.
    inside.ahead += timedelta(seconds=2)
    return file


def mark(out: Outside) -> object:
    return out.status()["streams"]["hq"]["watermarks"]["confirmed"]


def test_a_slip_moves_the_confirmed_mark_and_has_the_rest_sent_again(tmp_path: Path) -> None:
    upstream, out, inside = trusted(tmp_path, resend_window=3)
    assert "nothing to say" in inside.sluice("slip", expect=2).err
    inside.receive(*out.cycle())
    out.sluice("slip", "accept", written(inside))
    assert mark(out) == 1
    upstream.write({f"f{n:02}": noise(100 + n, 17_000) for n in range(8)})
    lost = out.cycle()
    upstream.write({"more": b"more"})
    out.options["resend_window"] = 0
    out.configure()
    third = out.cycle()
    out.options["resend_window"] = 3
    out.configure()
    inside.receive(lost[0], *lost[2:-1], *third, expect=3)
    slip = written(inside)
    text = slip.read_text()
    missing = [line for line in text.splitlines() if line.startswith("missing")]
    assert missing == [f"missing 2 2,{len(lost)}"]
    assert inside.status()["streams"]["hq"]["missing"] == [{"bundle": 2, "parts": [2, len(lost)]}]
    done = out.sluice("slip", "accept", slip)
    assert f"resend 2 --parts 2,{len(lost)}" in done.out
    assert mark(out) == 1
    assert out.take() == [], "it is only said"
    done = out.sluice("slip", "accept", slip, "--resend")
    assert "accepted before" in done.out
    again = out.take()
    assert sorted(p.read_bytes() for p in again) == sorted(
        p.read_bytes() for p in (lost[1], lost[-1])
    )
    inside.receive(*again)
    assert inside.digest() == out.digest()
    out.sluice("slip", "accept", written(inside))
    assert mark(out) == 3
    assert "3" in out.sluice("status").out.splitlines()[3].split()
    assert len(out.events("slip.accepted")) == 3


def test_what_cannot_be_sent_again_moves_the_next_base(tmp_path: Path) -> None:
    upstream, out, inside = trusted(tmp_path)
    out.repositories["tools"]["keep"] = 1
    out.configure()
    inside.receive(*out.cycle())
    for number in (2, 3):
        half = range(4) if number == 2 else range(4, 8)
        upstream.write({f"f{n:02}": noise(number * 100 + n, 9_000) for n in half})
        parts = out.cycle()
    out.sluice("gc")
    inside.receive(*parts, expect=3)
    done = out.sluice("slip", "accept", written(inside), "--resend")
    assert "bundle 2 cannot be sent again; the next `pack` starts from bundle 1" in done.out
    assert out.take() == []
    inside.receive(*out.bundle())
    assert inside.holds() == {}
    assert inside.digest() == out.digest()
    assert "nothing changed" in out.sluice("pack").out


def test_a_slip_takes_the_wants_along(tmp_path: Path) -> None:
    _, out, inside = trusted(tmp_path)
    inside.receive(*out.cycle())
    store = Store.open(inside.folder)
    with store.ledger.write() as tx:
        tx.add_wants([("tools", "some/file", 1)])
    store.close()
    assert "want tools some/file" in inside.sluice("slip").out
    assert "want" not in inside.sluice("slip", "--no-wants").out
    done = out.sluice("slip", "accept", written(inside))
    assert "0 new wants of 1 accepted" in done.out
    assert "not accepted: tools some/file: " in done.out


def refused(out: Outside, slip: Path, error: str, expect: int = 1) -> None:
    before = out.status()["streams"]["hq"]["watermarks"]
    assert error in out.sluice("slip", "accept", slip, "--resend", expect=expect).err
    assert out.status()["streams"]["hq"]["watermarks"] == before
    assert out.take() == []


def test_bad_slips_are_refused(tmp_path: Path) -> None:
    upstream, out, inside = trusted(tmp_path)
    stranger = out.inside(tmp_path / "STRANGER")
    first = out.cycle()
    for zone in (inside, stranger):
        zone.receive(*first)
    old = written(inside, "old.txt")
    good = written(inside, "good.txt")
    refused(out, written(stranger, "stranger.txt"), "another key is trusted")
    for number, (before, after) in enumerate(
        [(b"mark 1 1", b"mark 1 2"), (b"whole 1", b"whole 0"), (b"slip 1", b"slip 2"),
         (b"hq\n", b"hq \n"), (b"mark", b"missing 1\nmark"), (b"signature ", b"signature 00")]
    ):  # fmt: skip
        bad = tmp_path / f"altered{number}"
        bad.write_bytes(good.read_bytes().replace(before, after, 1))
        assert bad.read_bytes() != good.read_bytes()
        refused(out, bad, "not one byte may change")
    cut = tmp_path / "cut"
    cut.write_bytes(good.read_bytes()[:-2])
    refused(out, cut, "no signature")
    (tmp_path / "huge").write_bytes(b"x" * (5 << 20))
    refused(out, tmp_path / "huge", "larger than")
    out.sluice("slip", "accept", good)
    assert mark(out) == 1
    refused(out, old, "was accepted")
    (tmp_path / "two").mkdir()
    other = Outside.make(tmp_path / "two" / "OTHER", {"tools": upstream}, stream="other")
    assert "stream hq" in other.sluice("slip", "accept", good, expect=1).err
    inside.ahead = timedelta(days=3)
    refused(out, written(inside, "ahead.txt"), "clock", expect=3)
    inside.ahead = timedelta(seconds=10)
    out.sluice("trust", "renew", "--new-epoch")
    refused(out, written(inside, "epoch.txt"), "has ended")


def test_a_slip_shows_that_the_outside_was_restored(tmp_path: Path) -> None:
    upstream, out, inside = trusted(tmp_path)
    inside.receive(*out.cycle())
    out.sluice("slip", "accept", written(inside))
    shutil.copytree(out.folder, tmp_path / "BACKUP")
    upstream.write({"b": b"b"})
    inside.receive(*out.cycle())
    restored = Outside(tmp_path / "BACKUP")
    slip = written(inside)
    assert "new-epoch" in restored.sluice("slip", "accept", slip, expect=3).err
