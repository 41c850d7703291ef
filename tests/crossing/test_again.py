"""Sending again, starting from an earlier bundle, urgent fixes, and a first fill in pieces."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from store.gc import collect
from tests.support.crossing import Inside as PlainInside
from tests.support.crossing import Outside as PlainOutside
from tests.support.drive import Inside, Outside, Upstream, noise, pair

FILES = {f"f{n:02}": noise(n, 17_000 + n) for n in range(12)}


def many(tmp_path: Path, **options: object) -> tuple[Upstream, Outside, Inside, list[Path]]:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB", **options)
    parts = out.cycle()
    assert len(parts) > 4
    return upstream, out, inside, parts


@pytest.mark.parametrize("lost", [1, 3])
def test_a_lost_part_is_sent_again_under_a_new_name(tmp_path: Path, lost: int) -> None:
    upstream, out, inside, parts = many(tmp_path)
    inside.receive(*parts[: lost - 1], *parts[lost:], expect=3)
    upstream.write({"later": b"later"})
    inside.receive(*out.cycle(), expect=3)
    out.options["resend_window"] = 3
    out.configure()
    done = out.sluice("resend", 1, "--parts", lost)
    assert "1 part of bundle 1 again" in done.out
    [again] = out.take()
    assert again.name == parts[lost - 1].name.replace(".tar", "-r1.tar")
    assert again.read_bytes() == parts[lost - 1].read_bytes()
    inside.receive(again)
    assert inside.content("tools") == upstream.files()
    assert inside.holds() == {}
    assert inside.digest() == out.digest()
    # Never a name twice, even for the carrier that remembers them all.
    out.sluice("resend", 1, "--parts", f"{lost},{lost}-{lost + 1}")
    assert sorted(path.name[-7:] for path in out.take()) == ["-r1.tar", "-r2.tar"]
    [event, _] = out.events("bundle.resent")
    assert event["detail"]["parts"] == [lost]


def test_a_whole_bundle_is_sent_again_and_harms_nobody_who_has_it(tmp_path: Path) -> None:
    upstream, out, inside, parts = many(tmp_path)
    inside.receive(*parts)
    before = inside.live()
    out.sluice("resend", 1, "--dry-run")
    assert out.take() == []
    out.sluice("resend", 1)
    again = out.take()
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in parts]
    inside.receive(*again)
    assert inside.live() == before
    assert inside.waiting() == []
    assert inside.content("tools") == upstream.files()


def test_what_cannot_be_sent_again_is_said(tmp_path: Path) -> None:
    upstream, out, _, _ = many(tmp_path)
    out.repositories["tools"]["keep"] = 1
    out.configure()
    for number in (2, 3):
        upstream.write({f"f{n:02}": noise(number * 100 + n, 9_000) for n in range(12)})
        out.cycle()
    out.sluice("gc")
    done = out.sluice("resend", 1, expect=1)
    assert "has left the resend window" in done.err
    assert "pack --since" in done.err
    assert out.take() == []
    for words in (("9",), ("3", "--parts", "99"), ("3", "--parts", "x"), ("3", "--epoch", "2")):
        assert len(out.sluice("resend", *words, expect=2).err.splitlines()) == 2
    out.sluice("resend", 3)
    upstream.write({"f00": b"new"})
    out.sluice("sync")
    out.sluice("pack")
    assert "was not sent yet" in out.sluice("resend", 4, expect=2).err


def test_a_mirrored_outbox_ends_what_was_sent_again(tmp_path: Path) -> None:
    _, out, _, _ = many(tmp_path)
    out.options["retain"] = {"size": "1B"}
    out.configure()
    out.sluice("resend", 1, "--parts", "1-2")
    assert len(list(out.outbox.iterdir())) == 2
    done = out.sluice("send")
    assert "ended 2 sent files" in done.out
    assert list(out.outbox.iterdir()) == []


def outside(tmp_path: Path, **options: object) -> PlainOutside:
    (tmp_path / "out").mkdir()
    return PlainOutside(tmp_path / "out", **options)  # type: ignore[arg-type]


def inside(tmp_path: Path, out: PlainOutside, name: str = "in") -> PlainInside:
    (tmp_path / name).mkdir()
    return PlainInside(tmp_path / name, out.keys.export_root())


def test_since_brings_whoever_stands_there_up_to_date(tmp_path: Path) -> None:
    out = outside(tmp_path, repositories=("base", "extra"))
    stuck, well = inside(tmp_path, out, "stuck"), inside(tmp_path, out, "well")
    base = {f"f{n}": noise(n, 3_000) for n in range(4)}
    extra = {"x": noise(50, 40_000)}
    out.snapshot("base", base)
    out.snapshot("extra", extra)
    first = out.bundle()
    for zone in (stuck, well):
        zone.bring(*first)
        zone.receive()
    for number in (2, 3):
        base = base | {f"new{number}": noise(number * 10, 3_000)}
        out.snapshot("base", base)
        parts = out.bundle()
        well.bring(*parts)
        well.receive()
    again = out.bundle(since=1)
    assert sum(path.stat().st_size for path in again) < 150_000, "what did not change stays here"
    for zone in (stuck, well):
        zone.bring(*again)
        assert zone.receive().holds == []
        assert zone.content("base") == base
        assert zone.content("extra") == extra
    with pytest.raises(Exception, match="no bundle 9"):
        out.bundle(since=9)


def test_an_urgent_fix_goes_before_the_backlog(tmp_path: Path) -> None:
    out = outside(tmp_path, repositories=("base", "extra", "files"), together=(("base", "files"),))
    zone = inside(tmp_path, out)
    for name in ("base", "extra", "files"):
        out.snapshot(name, {"a": name.encode()})
    zone.bring(*out.bundle())
    zone.receive()
    out.snapshot("base", {"a": b"fixed"})
    out.snapshot("extra", {"a": b"extra", "big": noise(1, 500_000)})
    urgent = out.bundle(only=("base",))
    assert sum(path.stat().st_size for path in urgent) < 100_000
    zone.bring(*urgent)
    report = zone.receive()
    assert [live.repository for live in report.published] == ["base"]
    assert report.holds == []
    zone.bring(*out.bundle())
    assert [live.repository for live in zone.receive().published] == ["extra"]
    assert out.pack() is None


def test_the_command_takes_the_group_along(tmp_path: Path) -> None:
    one, two = Upstream(tmp_path / "one", {"a": b"1"}), Upstream(tmp_path / "two", {"a": b"1"})
    out, inside = pair(tmp_path, {"one": one, "two": two, "big": one})
    for name in ("one", "two"):
        out.repositories[name]["together"] = "pair"
    out.configure()
    inside.receive(*out.cycle())
    for upstream in (one, two):
        upstream.write({"a": b"22"})
    out.sluice("sync")
    out.sluice("pack", "one")
    out.sluice("send")
    inside.receive(*out.take())
    assert {name: live[0] for name, live in inside.live().items()} == {"one": 2, "two": 2, "big": 1}
    assert "no repository nobody" in out.sluice("pack", "nobody", expect=2).err


def big_fill(out: PlainOutside) -> dict[str, dict[str, bytes]]:
    content = {
        "base": {f"p{n}": noise(n, 20_000) for n in range(6)},
        "extra": {f"e{n}": noise(90 + n, 20_000) for n in range(20)} | {"huge": noise(7, 200_000)},
    }
    for name, files in content.items():
        out.snapshot(name, files)
    return content


def pieces(out: PlainOutside) -> list[list[Path]]:
    """Pack until nothing is left."""
    found = []
    more = True
    while more:
        draft = out.pack()
        assert draft is not None
        found.append(out.parts(out.release(draft)))
        more = draft.more
    return found


def test_a_first_fill_crosses_in_several_bundles(tmp_path: Path) -> None:
    limit = 400_000
    out = outside(tmp_path, repositories=("base", "extra"), part_size=128 << 10, max_bundle=limit)
    zone = inside(tmp_path, out)
    content = big_fill(out)
    bundles = pieces(out)
    assert len(bundles) > 3
    sizes = [sum(path.stat().st_size for path in parts) for parts in bundles]
    assert max(sizes) <= limit
    assert sum(sizes) < 1_400_000
    zone.bring(*bundles[0])
    report = zone.receive()
    assert [live.repository for live in report.published] == ["base"], "what is whole is live"
    for parts in bundles[1:-1]:
        zone.bring(*parts)
        assert [hold.kind for hold in zone.receive().holds] == ["incomplete"]
        # What came so far belongs to no snapshot yet, and must stay all the same.
        collect(zone.store)
    zone.bring(*bundles[-1])
    assert zone.receive().holds == []
    assert {name: zone.content(name) for name in content} == content
    assert out.pack() is None
    content["base"]["p0"] = b"changed"
    out.snapshot("base", content["base"])
    zone.bring(*out.bundle())
    assert zone.receive().holds == []
    assert zone.content("base") == content["base"]


def test_a_first_fill_goes_on_after_a_sync_and_an_urgent_fix(tmp_path: Path) -> None:
    out = outside(tmp_path, repositories=("base", "extra"), part_size=128 << 10, max_bundle=300_000)
    zone = inside(tmp_path, out)
    content = big_fill(out)
    draft = out.pack()
    assert draft is not None
    assert draft.more
    zone.bring(*out.parts(out.release(draft)))
    content["base"] |= {"p0": b"fixed", "e1": content["extra"]["e1"]}
    out.snapshot("base", content["base"])
    urgent = out.bundle(only=("base",))
    zone.bring(*urgent)
    zone.receive()
    assert zone.content("base") == content["base"], "also with a blob that the backlog has, too"
    content["extra"] |= {"e0": b"another", "e99": noise(3, 50_000)}
    out.snapshot("extra", content["extra"])
    collect(out.store, resend={"hq": 0})
    for parts in pieces(out):
        zone.bring(*parts)
        report = zone.receive()
    assert report.holds == []
    assert {name: zone.content(name) for name in content} == content
    assert out.pack() is None


def test_a_full_bundle_is_due_now_and_then(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, _ = pair(tmp_path, {"tools": upstream}, full_every="30d")
    out.cycle()
    upstream.write({"more": b"more"})
    out.sluice("sync")
    assert "(delta)" in out.sluice("pack").out
    out.ahead = timedelta(days=31)
    assert "(full)" in out.sluice("pack").out
    assert "nothing changed" in out.sluice("pack").out


def test_two_packs_at_once_end_well(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, _ = pair(tmp_path, {"tools": upstream})
    out.sluice("sync")
    runs = [out.start("pack") for _ in range(3)]
    codes = []
    for run in runs:
        _, said = run.communicate(timeout=60)
        codes.append(run.returncode)
        assert "Traceback" not in said
        assert run.returncode == 0 or "is running already" in said
    assert set(codes) <= {0, 1}
    assert 0 in codes
    assert out.status()["streams"]["hq"]["sequence"] == 1
    shutil.rmtree(out.folder / "spool")
    out.sluice("send")
