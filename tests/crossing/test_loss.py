"""Loss, delay, repetition and disorder: what a carrier may do, and what comes of it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.support.drive import Inside, Outside, Upstream, noise, pair

ONE = {"a": noise(1, 9_000), "b/c": noise(2, 5_000), "empty": b""}


def grow(upstream: Upstream, number: int) -> dict[str, bytes]:
    """The vendor's next day; returns what is new."""
    new = {f"new{number}": noise(100 + number, 7_000)}
    upstream.write(new)
    return new


def hold(inside: Inside, name: str = "tools") -> dict[str, object]:
    found = inside.holds()
    assert list(found) == [name], found
    detail = found[name]["detail"]
    assert isinstance(detail, dict)
    return detail


def test_duplicates_change_nothing_and_are_taken_away(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream})
    parts = out.cycle()
    inside.bring(parts)
    inside.bring(parts)
    inside.bring(parts, rename=random.Random(1))
    inside.receive()
    before, status = inside.live(), inside.status()
    assert inside.waiting() == []
    for _ in range(2):
        inside.receive(*parts)
        assert inside.waiting() == []
    assert inside.live() == before
    assert inside.status()["generation"] == status["generation"]
    assert inside.status()["streams"]["hq"]["imported"] == status["streams"]["hq"]["imported"]
    assert inside.quarantined() == {}


def test_a_late_bundle_moves_nothing_back(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream}, resend_window=1)
    inside.receive(*out.cycle())
    grow(upstream, 2)
    late = out.cycle()
    grow(upstream, 3)
    done = inside.receive(*out.cycle())
    assert "never arrived: bundle 2" in done.err
    assert inside.content("tools") == upstream.files(), "the window repeats what was lost"
    before = inside.live()
    done = inside.receive(*late)
    assert "came late" in done.out
    assert inside.live() == before
    assert inside.waiting() == []
    inside.receive(*late)
    assert inside.live() == before
    # What it brought is kept: the snapshot in between can be served, too.
    inside.sluice("rollback", "tools", 2)
    assert set(inside.content("tools") or ()) == {*ONE, "new2"}


def test_a_newer_bundle_waits_for_the_one_before(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    grow(upstream, 2)
    delayed = out.cycle()
    grow(upstream, 3)
    inside.receive(*out.cycle(), expect=3)
    assert inside.live()["tools"][0] == 1
    assert set(inside.content("tools") or ()) == set(ONE)
    inside.receive(*delayed)
    assert inside.live()["tools"][0] == 3
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}


def test_a_lost_bundle_is_an_alarm_and_names_what_is_missing(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    other = Upstream(tmp_path / "other", {"x": b"x"})
    out, inside = pair(tmp_path, {"tools": upstream, "other": other})
    inside.receive(*out.cycle())
    grow(upstream, 2)
    out.cycle()  # lost, all of it
    other.write({"y": b"y"})
    done = inside.receive(*out.cycle(), expect=3)
    assert "never arrived: bundle 2" in done.err
    [gap] = inside.events("bundle.gap")
    assert (gap["detail"]["first"], gap["detail"]["last"]) == (2, 2)
    assert inside.content("other") == other.files(), "what is complete goes on"
    held = inside.holds()["tools"]
    assert "tree of snapshot 2" in held["reason"]
    assert held["detail"]["bundles"] == [2]
    assert "`resend 2`" in held["remedy"]
    status = inside.status()
    assert status["streams"]["hq"]["sequence"] == 3
    assert inside.sluice("status", expect=3).out.count("HELD") == 1
    # The next full bundle ends every doubt.
    inside.receive(*out.bundle(full=True))
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}
    assert inside.digest() == out.digest()


def test_two_insides_one_of_which_misses_a_bundle(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", ONE)
    out, one = pair(tmp_path, {"tools": upstream}, resend_window=1)
    two = out.inside(tmp_path / "TWO")
    first = out.cycle()
    one.receive(*first)
    two.receive(*first)
    grow(upstream, 2)
    one.receive(*out.cycle())
    grow(upstream, 3)
    third = out.cycle()
    one.receive(*third)
    two.receive(*third)
    assert one.content("tools") == two.content("tools") == upstream.files()
    assert one.digest() == two.digest() == out.digest()
    assert one.events("bundle.gap") == []
    assert len(two.events("bundle.gap")) == 1
    # Also the bundle after that one, whose base is the lost one, is complete for both.
    grow(upstream, 4)
    fourth = out.cycle()
    one.receive(*fourth)
    two.receive(*fourth)
    assert one.digest() == two.digest() == out.digest()


def many_parts(tmp_path: Path, **options: object) -> tuple[Upstream, Outside, Inside, list[Path]]:
    """A bundle of many parts of 64 KiB, with one file that is larger than several of them."""
    files = {f"f{n:02}": noise(n, 17_000 + n) for n in range(20)} | {"big": noise(99, 260_000)}
    upstream = Upstream(tmp_path / "vendor", files)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB", **options)
    parts = out.cycle()
    assert len(parts) > 8
    assert all(part.stat().st_size <= 64 << 10 for part in parts)
    return upstream, out, inside, parts


def test_the_bundle_that_brought_a_new_repository_may_be_lost_within_the_window(
    tmp_path: Path,
) -> None:
    old = Upstream(tmp_path / "old", {"one": noise(1, 5_000)})
    new = Upstream(tmp_path / "new", {"two": noise(2, 5_000)})
    out, inside = pair(tmp_path, {"old": old}, resend_window=1)
    inside.receive(*out.cycle())
    out.repositories["new"] = {"format": "files", "upstream": new.url}
    out.configure()
    assert out.cycle(), "and it is lost"
    old.write({"three": noise(3, 5_000)})
    inside.receive(*out.cycle())
    assert inside.content("new") == new.files()


def test_parts_in_any_order_over_several_runs_under_any_name(tmp_path: Path) -> None:
    upstream, out, inside, parts = many_parts(tmp_path)
    chance = random.Random(7)
    order = chance.sample(parts, len(parts))
    while order:
        now, order = order[:4], order[4:]
        inside.bring(now, rename=chance)
        inside.bring(chance.sample(now, 1), rename=chance)
        inside.receive(expect=None if order else 0)
        assert inside.live() == {} or not order
    assert inside.content("tools") == upstream.files()
    assert inside.waiting() == []
    assert inside.digest() == out.digest()
    assert inside.status()["streams"]["hq"]["incomplete"] == []


@pytest.mark.parametrize("lost", [1, 4])
def test_a_lost_part_is_named_and_so_are_its_files(tmp_path: Path, lost: int) -> None:
    upstream, out, inside, parts = many_parts(tmp_path)
    kept = [part for number, part in enumerate(parts, 1) if number != lost]
    inside.receive(*kept, expect=3)
    detail = hold(inside)
    assert detail["parts"] == {"1/1": [lost]}, "the part that has to come again"
    reason = inside.holds()["tools"]
    assert f"part {lost}" in reason["remedy"]
    assert inside.content("tools") is None
    assert inside.status()["streams"]["hq"]["incomplete"] == [1]
    if lost != 1:
        assert detail["files"] == {f"1/1 part {lost}": detail["items"]}
        assert f"resend 1 --parts {lost}" in reason["remedy"]
        assert f"bundle 1/1 part {lost}: " in inside.sluice("status", expect=3).out
        missing = detail["items"]
        assert isinstance(missing, list)
        assert missing
        assert set(missing) <= set(upstream.files())
        assert detail["total"] == len(missing)
    # That part alone is enough.
    inside.receive(parts[lost - 1])
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}
    assert inside.waiting() == []
    assert inside.digest() == out.digest()


def test_a_full_bundle_heals_a_lost_part(tmp_path: Path) -> None:
    upstream, out, inside, parts = many_parts(tmp_path)
    inside.receive(*parts[:3], *parts[4:], expect=3)
    grow(upstream, 2)
    inside.receive(*out.cycle(), expect=3)
    assert inside.holds()["tools"]["detail"]["total"] >= 1
    full = out.bundle(full=True)
    inside.receive(*full)
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}
    assert inside.digest() == out.digest()
    # The missing part of the first bundle is of no use any more, and harms nothing.
    before = inside.live()
    inside.receive(parts[3])
    assert inside.live() == before
    assert inside.waiting() == []


def test_a_refused_part_costs_only_the_repositories_that_need_it(tmp_path: Path) -> None:
    """A guard that lets one file not pass, and the bundle after it that builds on it."""
    upstreams = {
        name: Upstream(tmp_path / name, {f"{name}{n}": noise(seed + n, 24_000) for n in range(6)})
        for name, seed in (("aa", 10), ("bb", 20), ("cc", 30))
    }
    out, inside = pair(tmp_path, upstreams, part_size="64KiB")
    parts = out.cycle()
    middle = len(parts) // 2
    inside.receive(*parts[: middle - 1], *parts[middle:], expect=3)
    held = inside.holds()
    assert 0 < len(held) < 3
    assert set(inside.live()) == {"aa", "bb", "cc"} - set(held)
    for name, hold in held.items():
        assert hold["detail"]["parts"] == {"1/1": [middle]}
        assert hold["detail"]["files"] == {f"1/1 part {middle}": hold["detail"]["items"]}
        assert all(path.startswith(name) for path in hold["detail"]["items"])
    for upstream in upstreams.values():
        upstream.write({"later": b"later"})
    done = inside.receive(*out.cycle(), expect=3)
    assert set(inside.holds()) == set(held), "what is whole goes on"
    for name in held:
        assert f"HELD: {name}: " in done.err
        assert f"bundle 1/1 part {middle}: {name}" in done.err
    inside.receive(parts[middle - 1])
    assert inside.holds() == {}
    assert inside.digest() == out.digest()


def test_three_bundles_mixed_up_in_one_run(tmp_path: Path) -> None:
    upstream, out, inside, parts = many_parts(tmp_path)
    for number in (2, 3):
        upstream.write({f"f{number:02}": noise(500 + number, 90_000)})
        parts += out.cycle()
    chance = random.Random(3)
    inside.bring(chance.sample(parts, len(parts)), rename=chance)
    done = inside.receive()
    assert "accepted bundle 1/3" in done.out
    assert inside.live()["tools"][0] == 3
    assert inside.content("tools") == upstream.files()
    assert inside.events("bundle.gap") == []
