"""Who is believed: rotations, foreign roots, forks, two-person releases, clocks, expiry."""

from __future__ import annotations

import re
import shutil
from datetime import timedelta
from pathlib import Path

from tests.support.drive import Inside, Outside, Upstream, pair, sluice

DAY = timedelta(days=1)


def grow(upstream: Upstream, name: str) -> None:
    upstream.write({name: name.encode() * 50})


def small(tmp_path: Path, **options: object) -> tuple[Upstream, Outside, Inside]:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out, inside = pair(tmp_path, {"tools": upstream}, **options)
    return upstream, out, inside


def test_rotations_cross_even_if_the_bundle_after_them_is_lost(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path, resend_window=1)
    inside.receive(*out.cycle())
    out.sluice("trust", "rotate", "targets")
    grow(upstream, "lost")
    out.cycle()
    out.sluice("trust", "rotate", "root")
    out.sluice("trust", "renew")
    grow(upstream, "third")
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()
    root = inside.status()["streams"]["hq"]["root"]
    assert root["version"] == 4
    assert root["fingerprint"] == out.status()["streams"]["hq"]["root"]["fingerprint"]
    shown = inside.sluice("trust", "show").out
    assert "version 4" in shown


def test_a_key_that_was_rotated_away_releases_nothing_any_more(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path, resend_window=1)
    inside.receive(*out.cycle())
    grow(upstream, "late")
    late = out.cycle()
    out.sluice("trust", "rotate", "targets")
    grow(upstream, "third")
    inside.receive(*out.cycle())
    before = inside.live()
    inside.receive(*late, expect=3)
    [reason] = inside.quarantined().values()
    assert "Unsigned" in reason
    assert inside.live() == before
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}


def test_a_foreign_root_gets_nothing_in(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    theirs = Upstream(tmp_path / "theirs", {"a": b"evil"})
    other = Outside.make(tmp_path / "OTHER", {"tools": theirs})
    foreign = other.cycle()
    done = inside.receive(*foreign, expect=3)
    assert "ForeignRoot" in done.err
    assert inside.live() == {}
    [reason] = inside.quarantined().values()
    assert "ForeignRoot" in reason
    # Beside it, our own passes, under the same name.
    inside.receive(*foreign, *out.cycle(), expect=3)
    assert inside.content("tools") == upstream.files()
    inside.receive()


def test_another_stream_of_the_same_outside_is_foreign(tmp_path: Path) -> None:
    _, out, _ = small(tmp_path)
    done = sluice(
        "init", "inside", tmp_path / "X", "--root", out.export(), "--stream", "other", expect=2
    )
    assert "belongs to the stream hq" in done.err


def test_a_fork_stops_the_stream_until_a_new_epoch(tmp_path: Path) -> None:
    """The outside is restored from a backup and goes on as if nothing had crossed."""
    upstream, out, inside = small(tmp_path)
    inside.receive(*out.cycle())
    shutil.copytree(out.folder, tmp_path / "BACKUP", symlinks=True)
    grow(upstream, "first")
    inside.receive(*out.cycle())
    before = inside.live()
    shutil.rmtree(out.folder)
    (tmp_path / "BACKUP").rename(out.folder)
    grow(upstream, "second")
    forked = out.cycle()
    done = inside.receive(*forked, expect=3)
    assert "two manifests" in done.err
    assert inside.live() == before
    assert inside.holds()["fork"]["remedy"]
    [event] = inside.events("stream.forked")
    assert event["detail"]["sequence"] == 2
    inside.sluice("status", expect=3)
    # It stays stopped, also for bundles that follow on the fork.
    grow(upstream, "third")
    inside.receive(*out.cycle(), expect=3)
    assert inside.live() == before
    assert len(inside.events("stream.forked")) == 1
    # A new epoch, signed by the root, is the way out; a person pins it again.
    out.sluice("trust", "renew", "--new-epoch")
    shutil.copyfile(out.export(), inside.folder / "trust" / "root.json")
    inside.receive(*out.bundle(), expect=3)
    assert inside.content("tools") == upstream.files()
    assert inside.digest() == out.digest()
    assert len(inside.quarantined()) == 1, "the second of the two manifests"
    assert inside.waiting() == []
    inside.receive()
    assert inside.holds() == {}
    assert inside.status()["streams"]["hq"]["epoch"] == 2


def test_two_people_release(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out = Outside.make(
        tmp_path / "OUT", {"tools": upstream}, "--release-keys", 2, "--release-threshold", 2
    )
    inside = out.inside(tmp_path / "IN")
    keys = sorted((out.folder / "keys" / "hq").glob("hq.targets.*"))
    assert len(keys) == 2
    safe = tmp_path / "safe"
    safe.mkdir()
    out.sluice("sync")
    done = out.sluice("pack", expect=3)
    draft = re.search(r"draft (\S+):", done.out)
    assert draft is not None
    name = draft[1]
    assert out.status()["streams"]["hq"]["drafts"] == [name]
    assert name in out.sluice("release").out
    assert "nothing to send" in out.sluice("send").out

    def only(key: Path) -> None:
        """One person comes with one key; the other key is not there."""
        for path in keys:
            (safe / path.name if path.exists() is False else path).rename(
                path if path == key else safe / path.name
            )

    only(keys[0])
    assert "not released yet" in out.sluice("release", name, expect=3).err
    assert "not released yet" in out.sluice("release", name, expect=3).err, "twice is once"
    assert out.sluice("pack", expect=3).err, "the next bundle waits for this one"
    only(keys[1])
    assert "released bundle 1" in out.sluice("release", name).out
    out.sluice("send")
    inside.receive(*out.take())
    assert inside.content("tools") == upstream.files()
    # A rejected draft leaves no hole.
    grow(upstream, "b")
    out.sluice("sync")
    out.sluice("pack", expect=3)
    [rejected] = out.status()["streams"]["hq"]["drafts"]
    out.sluice("release", rejected, "--reject")
    assert "no draft" in out.sluice("release").out
    out.sluice("pack", expect=3)
    [name] = out.status()["streams"]["hq"]["drafts"]
    out.sluice("release", name, expect=3)
    only(keys[0])
    assert "released bundle 2" in out.sluice("release", name).out
    out.sluice("send")
    inside.receive(*out.take())
    assert inside.content("tools") == upstream.files()
    assert inside.events("bundle.gap") == []


def test_one_key_cannot_release_for_two(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    out = Outside.make(
        tmp_path / "OUT", {"tools": upstream}, "--release-keys", 2, "--release-threshold", 2
    )
    for copy in sorted((out.folder / "keys" / "hq").glob("hq.targets.*"))[1:]:
        copy.unlink()
    out.sluice("sync")
    out.sluice("pack", expect=3)
    [draft] = out.status()["streams"]["hq"]["drafts"]
    for _ in range(3):
        out.sluice("release", draft, expect=3)
    assert out.status()["streams"]["hq"]["sequence"] == 0


def test_a_bundle_from_the_future_is_held_until_the_clock_is_right(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    inside.receive(*out.cycle())
    out.ahead = 3 * DAY
    grow(upstream, "b")
    done = inside.receive(*out.cycle(), expect=3)
    assert "ClockAhead" in done.err or "the clock here says" in done.err
    assert inside.live()["tools"][0] == 1
    held = inside.holds()["clock"]
    assert len(re.findall(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", held["reason"])) == 2, "both times"
    inside.sluice("receive", "--once", expect=3)
    inside.ahead = 3 * DAY
    inside.receive()
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}


def test_half_a_day_ahead_is_nothing(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    out.ahead = DAY / 2
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()


def test_an_expired_release_changes_no_state_and_unpublishes_nothing(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    inside.receive(*out.cycle())
    grow(upstream, "b")
    late = out.cycle()
    inside.ahead = 400 * DAY
    done = inside.receive(*late, expect=3)
    assert "expired" in done.err
    assert "expired" in inside.holds()
    assert inside.live()["tools"][0] == 1
    assert inside.content("tools") == {"a": b"a"}
    out.ahead = 400 * DAY
    grow(upstream, "c")
    inside.receive(*out.cycle(), expect=None)
    assert inside.content("tools") == upstream.files(), "its blobs were taken in all the same"
    assert inside.live()["tools"][0] == 3


def test_a_root_that_is_about_to_expire_is_warned_of(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    inside.receive(*out.cycle())
    out.ahead = inside.ahead = timedelta(days=5 * 365 - 100)
    for zone in (out, inside):
        assert any("root version 1 expires" in line for line in zone.status()["warnings"])
    grow(upstream, "b")
    out.sluice("trust", "renew")
    inside.receive(*out.cycle())
    for zone in (out, inside):
        assert not any("root version" in line for line in zone.status()["warnings"])


def test_one_more_stream_gets_keys_of_its_own(tmp_path: Path) -> None:
    upstream, out, inside = small(tmp_path)
    more = {"lab": {"carrier": "file", "outbox": "outbox-lab"}}
    out.streams = more
    out.configure()
    done = out.sluice("pack", "--stream", "lab", expect=2)
    assert "sluice trust create --stream lab" in done.err
    out.sluice("trust", "create", "--stream", "lab")
    assert "has keys already" in out.sluice("trust", "create", "--stream", "lab", expect=2).err
    out.sluice("trust", "export", tmp_path / "lab.json", "--stream", "lab")
    sluice("init", "inside", tmp_path / "LAB", "--root", tmp_path / "lab.json")
    lab = Inside(tmp_path / "LAB", stream="lab")
    lab.configure()
    (out.folder / "outbox-lab").mkdir()  # as a mount: sending never makes one
    inside.receive(*out.cycle())
    parts = sorted((out.folder / "outbox-lab").iterdir())
    lab.receive(*parts)
    assert inside.content("tools") == lab.content("tools") == upstream.files()
    # What is for the one is nothing for the other.
    inside.receive(*parts, expect=3)
    assert all("Foreign" in reason for reason in inside.quarantined().values())
    grow(upstream, "b")
    out.sluice("sync")
    out.sluice("pack", "--stream", "hq")
    status = out.status()["streams"]
    assert (status["hq"]["sequence"], status["lab"]["sequence"]) == (2, 1)


def test_the_root_key_is_kept_elsewhere(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": b"a"})
    stick = tmp_path / "stick"
    out = Outside.make(tmp_path / "OUT", {"tools": upstream}, "--root-key-to", stick)
    inside = out.inside(tmp_path / "IN")
    assert not any("root key" in line for line in out.status()["warnings"])
    inside.receive(*out.cycle())
    away = tmp_path / "away"
    stick.rename(away)
    grow(upstream, "b")
    inside.receive(*out.cycle())
    assert "--root-key-to" in out.sluice("trust", "rotate", "targets", expect=2).err
    out.sluice("trust", "rotate", "targets", "--root-key-to", away)
    grow(upstream, "c")
    inside.receive(*out.cycle())
    assert inside.content("tools") == upstream.files()
