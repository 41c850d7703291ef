"""Heartbeats, silence, and a ledger that was restored from a backup."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from manifests.trust import TrustState
from tests.support.crossing import Inside as PlainInside
from tests.support.crossing import Outside as PlainOutside
from tests.support.drive import Inside, Outside, Upstream, noise, pair
from transfer.heartbeat import beat
from transfer.mark import read_mark
from transfer.resend import sent_bundle

ONE = {"a": noise(1, 9_000)}


def later(out: Outside, inside: Inside, **ahead: float) -> None:
    out.ahead += timedelta(**ahead)
    inside.ahead = out.ahead


def test_send_makes_a_heartbeat_when_it_is_due(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream}, heartbeat="6h")
    inside.options["silence"] = "1d"
    inside.configure()
    assert "first bundle" in out.sluice("heartbeat", expect=2).err
    inside.receive(*out.cycle())
    out.sluice("send")
    assert out.take() == [], "not due yet"
    before = inside.live()
    for number in (2, 3):
        later(out, inside, hours=7)
        out.sluice("send")
        beat = out.take()
        assert len(beat) == 1
        done = inside.receive(*beat)
        assert f"accepted bundle 1/{number}" in done.out
        assert inside.waiting() == []
    assert inside.live() == before
    stream = inside.status()["streams"]["hq"]
    assert (stream["sequence"], stream["incomplete"]) == (3, [])
    assert stream["state_digest"] == out.status()["streams"]["hq"]["state_digest"]
    # What is released next goes on from the last release, not from the heartbeat.
    upstream.write({"b": b"b"})
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()
    assert inside.digest() == out.digest()


def test_silence_is_an_alarm_until_something_newer_comes(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.options["silence"] = "1d"
    inside.configure()
    inside.sluice("status")
    first = out.cycle()
    inside.receive(*first)
    later(out, inside, hours=25)
    assert "HELD hq" in inside.sluice("status", expect=3).out, "also if nobody receives"
    done = inside.receive(*first, expect=3)
    assert "`silence` allows" in done.err
    [hold] = inside.status()["holds"]
    assert (hold["kind"], hold["stream"], hold["repository"]) == ("silence", "hq", "")
    inside.receive(expect=3)
    assert len(inside.events("held")) == 1
    assert inside.content("tools") == ONE, "nothing is taken away"
    out.sluice("heartbeat")
    out.sluice("send")
    inside.receive(*out.take())
    assert inside.holds() == {}


def test_a_heartbeat_tells_that_the_release_before_it_was_lost(tmp_path: Path) -> None:
    upstream, other = Upstream(tmp_path / "vendor", ONE), Upstream(tmp_path / "other", {"x": b"x"})
    out, inside = pair(tmp_path, {"tools": upstream, "other": other})
    inside.receive(*out.cycle())
    upstream.write({"b": b"b"})
    lost = out.cycle()
    out.sluice("heartbeat")
    out.sluice("send")
    done = inside.receive(*out.take(), expect=3)
    assert "never arrived: bundle 2" in done.err
    [hold] = inside.status()["holds"]
    assert (hold["kind"], hold["repository"]) == ("behind", "tools")
    assert hold["detail"] == {"first": 2, "last": 2, "serial": 2}
    assert "resend" in hold["remedy"]
    assert inside.content("tools") == ONE, "announced is not released"
    inside.receive(*lost)
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}


def plain(tmp_path: Path) -> tuple[PlainOutside, PlainInside]:
    for name in ("out", "in"):
        (tmp_path / name).mkdir()
    out = PlainOutside(tmp_path / "out", repositories=("base",))
    return out, PlainInside(
        tmp_path / "in", out.keys.export_root(), mark=tmp_path / "elsewhere" / "mark"
    )


def heartbeat(out: PlainOutside) -> list[Path]:
    out.now += timedelta(hours=1)
    bundle = beat(
        out.store,
        "hq",
        out.spool,
        lambda manifest, number: out.keys.sign_release(manifest, number, out.now, role="timestamp"),
        roots=out.keys.chain(),
        now=out.now,
    )
    return [] if bundle is None else out.parts(bundle)


def test_many_heartbeats_leave_nothing_behind(tmp_path: Path) -> None:
    out, inside = plain(tmp_path)
    assert heartbeat(out) == []
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    assert inside.receive().exit_code == 0
    inside.now += timedelta(days=2)
    for _ in range(25):
        parts = heartbeat(out)
        with out.store.ledger.write() as tx:
            newest = tx.bundles("hq")[0]
            tx.update_bundle("hq", newest.epoch, newest.sequence, sent=out.now)
        inside.bring(*parts)
        assert inside.receive().exit_code == 0
    for store in (out.store, inside.store):
        with store.ledger.read() as tx:
            assert len(tx.bundles("hq")) <= 12
            assert len(tx.pins()) <= 26
    with out.store.ledger.read() as tx:
        assert sent_bundle(tx, "hq", 26).kind == "heartbeat"


def test_a_draft_that_somebody_signed_keeps_its_number(tmp_path: Path) -> None:
    out, _ = plain(tmp_path)
    out.snapshot("base", ONE)
    out.bundle()
    out.snapshot("base", ONE | {"b": b"b"})
    draft = out.pack()
    assert draft is not None
    with out.store.ledger.write() as tx:
        [record] = tx.drafts("hq")
        prepared = {"manifest": "{}", "document": "signed by one of two"}
        tx.add_draft("hq", draft.id, {**record.data, "prepared": prepared})
    assert heartbeat(out) == []


def bundles(out: PlainOutside, count: int) -> list[list[Path]]:
    made = []
    for number in range(count):
        out.snapshot("base", {"a": b"%d" % number})
        made.append(out.bundle())
    return made


def test_a_restored_ledger_accepts_no_replay(tmp_path: Path) -> None:
    out, inside = plain(tmp_path)
    one, two, three, four = bundles(out, 4)
    inside.bring(*one)
    inside.receive()
    inside.store.close()
    shutil.copytree(tmp_path / "in" / "store", tmp_path / "backup")
    inside = PlainInside(tmp_path / "in", inside.pinned, mark=inside.mark)
    inside.bring(*two, *three)
    assert inside.receive().accepted == ["1/2", "1/3"]
    assert json.loads((tmp_path / "elsewhere" / "mark").read_text())["sequence"] == 3
    inside.store.close()
    shutil.rmtree(tmp_path / "in" / "store")
    (tmp_path / "backup").rename(tmp_path / "in" / "store")

    inside = PlainInside(tmp_path / "in", inside.pinned, mark=inside.mark)
    inside.bring(*two)
    report = inside.receive()
    assert report.accepted == []
    assert report.published == [], "an old bundle does not become the newest again"
    assert [hold.kind for hold in report.holds] == ["restored"]
    assert inside.content("base") == {"a": b"0"}
    with inside.store.ledger.read() as tx:
        assert "mark.ahead" in {event.kind for event in tx.last_events(50)}
    # The bundle at the mark is what heals: sent again, or a newer one.
    inside.bring(*three)
    report = inside.receive()
    assert inside.content("base") == {"a": b"2"}
    assert report.holds == []
    inside.bring(*four)
    assert inside.receive().accepted == ["1/4"]


def test_a_mark_that_is_lost_comes_back_and_one_that_is_garbage_stops(tmp_path: Path) -> None:
    out, inside = plain(tmp_path)
    one, two = bundles(out, 2)
    inside.bring(*one)
    inside.receive()
    assert inside.mark is not None
    inside.mark.unlink()
    inside.bring(*two)
    assert inside.receive().exit_code == 0
    assert json.loads(inside.mark.read_text())["sequence"] == 2
    inside.mark.write_text("{}")
    with pytest.raises(Exception, match="second place"):
        inside.receive()
    # The mark of another root of trust means nothing.
    inside.mark.unlink()
    inside.receive()
    (tmp_path / "other").mkdir()
    other = PlainOutside(tmp_path / "other", repositories=("base",))
    assert read_mark(inside.mark, TrustState.fresh(out.keys.export_root())) is not None
    assert read_mark(inside.mark, TrustState.fresh(other.keys.export_root())) is None


def test_a_part_without_any_manifest_is_an_alarm(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {f"f{n:02}": noise(n, 17_000) for n in range(12)})
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB")
    parts = out.cycle()
    lone = parts[1]
    done = inside.receive(lone, expect=None)
    if done.code == 0:  # every head of so small a bundle has copies
        pytest.fail("a lone part was passed over in silence")
    inside.receive(*parts)
    assert inside.holds() == {}


def test_what_came_back_after_a_repair_ends_its_hold(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    with inside.store() as store:
        [entry] = store.view(inside.live()["tools"][1]).entries()
        path = store.blobs.path(entry.digest)
    path.chmod(0o644)
    path.write_bytes(b"rotten")
    inside.sluice("verify", "--repair", expect=None)
    assert [hold["kind"] for hold in inside.status()["holds"]] == ["damaged"]
    generation = inside.status()["generation"]
    inside.receive(*out.bundle(full=True))
    assert inside.holds() == {}
    assert inside.content("tools") == ONE
    assert inside.status()["generation"] > generation
