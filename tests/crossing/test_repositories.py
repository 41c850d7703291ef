"""Groups, names, guards and accepted gaps: what is decided repository by repository."""

from __future__ import annotations

from pathlib import Path

from tests.support.drive import Upstream, noise, pair
from tests.support.yumrepos import Repo, Rpm


def test_a_group_waits_for_its_slowest_member(tmp_path: Path) -> None:
    base = Upstream(tmp_path / "base", {"a": b"a1"})
    apps = Upstream(tmp_path / "apps", {"b": noise(1, 40_000)})
    free = Upstream(tmp_path / "free", {"c": b"c1"})
    out, inside = pair(tmp_path, {"base": base, "apps": apps, "free": free}, part_size="64KiB")
    for name in ("base", "apps"):
        out.repositories[name]["together"] = "el9"
    out.configure()
    inside.receive(*out.cycle())
    base.write({"a": b"a2"})
    apps.write({"b": noise(2, 140_000)})
    free.write({"c": b"c2"})
    parts = out.cycle()
    assert len(parts) > 3
    inside.receive(parts[0], *parts[2:], expect=3)  # part 2 holds nothing but apps
    live = inside.live()
    assert (live["base"][0], live["apps"][0]) == (1, 1), "never half a group"
    assert (inside.content("free") or {})["c"] == b"c2"
    holds = inside.holds()
    assert set(holds) == {"base", "apps"}
    assert "apps" in holds["base"]["reason"]
    inside.receive(parts[1])
    assert inside.content("base") == base.files()
    assert inside.content("apps") == apps.files()
    assert inside.holds() == {}
    # Both moved in one step: no client could see one without the other.
    first, second = [e for e in inside.events("publication") if e["detail"]["serial"] == 2][-2:]
    assert {first["repository"], second["repository"]} == {"base", "apps"}
    assert first["time"] == second["time"]


def test_the_inside_renames_and_restricts(tmp_path: Path) -> None:
    tools = Upstream(tmp_path / "tools", {"a": b"a"})
    docs = Upstream(tmp_path / "docs", {"d": b"d"})
    out, inside = pair(tmp_path, {"tools": tools, "docs": docs})
    two = out.inside(tmp_path / "TWO", repositories=["docs"])
    inside.options["rename"] = {"tools": "vendor-tools"}
    inside.configure()
    parts = out.cycle()
    inside.receive(*parts)
    two.receive(*parts)
    assert set(inside.live()) == {"vendor-tools", "docs"}
    assert set(two.live()) == {"docs"}
    with inside.server() as server:
        assert server.get("/files/vendor-tools/a").body == b"a"
        assert server.get("/files/tools/a").status == 404
    # What was not let in is not served, and not in doubt either: letting it in is enough.
    two.options["repositories"] = ["docs", "tools"]
    two.configure()
    two.receive()
    assert two.content("tools") == {"a": b"a"}
    assert two.sluice("rollback", "tools", 1).code == 0


def test_a_stream_takes_only_its_repositories(tmp_path: Path) -> None:
    tools = Upstream(tmp_path / "tools", {"a": b"a"})
    secret = Upstream(tmp_path / "secret", {"s": b"s"})
    out, inside = pair(tmp_path, {"tools": tools, "secret": secret}, repositories=["tools"])
    inside.receive(*out.cycle())
    assert set(inside.live()) == {"tools"}
    secret.write({"t": b"t"})
    assert out.cycle() == [], "nothing of this stream changed"


def test_removals_are_guarded(tmp_path: Path) -> None:
    files = {f"f{n}": noise(n, 100) for n in range(30)}
    upstream = Upstream(tmp_path / "vendor", files)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.receive(*out.cycle())
    upstream.remove(*(f"f{n}" for n in range(21)))
    done = out.sluice("sync", expect=3)
    assert "HELD" in done.err
    assert "--accept-removals" in done.err
    assert out.holds()["tools"]["kind"] == "removals"
    assert out.status()["repositories"]["tools"]["snapshot"]["serial"] == 1
    out.sluice("status", expect=3)
    assert "nothing changed" in out.sluice("pack").out
    out.sluice("sync", "--accept-removals")
    assert out.holds() == {}
    # Few files may go, whatever their share; what empties a repository is held at any size.
    upstream.remove(*(f"f{n}" for n in range(21, 29)))
    out.sluice("sync")
    upstream.remove("f29")
    assert "drop 1 of 1 files and leave none" in out.sluice("sync", expect=3).err
    inside.receive(*out.bundle())
    assert set(inside.content("tools")) == {"f29"}


def test_one_broken_upstream_stops_no_other(tmp_path: Path) -> None:
    good = Upstream(tmp_path / "good", {"a": b"a"})
    gone = Upstream(tmp_path / "gone", {"b": b"b"})
    out, inside = pair(tmp_path, {"gone": gone, "good": good})
    (gone.folder / "b").unlink()
    gone.folder.rmdir()
    done = out.sluice("sync", expect=None)
    assert done.code in (1, 3)
    assert "gone" in done.err
    assert "good: snapshot 1" in done.out
    inside.receive(*out.bundle())
    assert set(inside.live()) == {"good"}


def test_an_accepted_gap_crosses_and_shows(tmp_path: Path) -> None:
    """A package that the vendor's index names and the vendor does not have."""
    repo = Repo([Rpm("here"), Rpm("broken")])
    upstream = Upstream(tmp_path / "vendor", repo.files())
    upstream.remove("Packages/broken-1.0-1.noarch.rpm")
    out, inside = pair(tmp_path, {"base": upstream})
    out.repositories["base"]["format"] = "yum"
    out.configure()
    path = "Packages/broken-1.0-1.noarch.rpm"
    done = out.sluice("sync", "base", "--withdraw-missing", path, expect=2)
    assert "accepted: nothing" in done.err
    out.sluice("sync", "base", "--accept-missing", path, "--reason", "vendor was told")
    assert out.status()["repositories"]["base"]["exceptions"] == [path]
    inside.receive(*out.bundle())
    live = inside.status()["repositories"]["base"]
    assert live["exceptions"] == [path]
    assert live["publication"]["serial"] == 1
    said = inside.sluice("status").out
    assert "1 file accepted as missing" in said
    assert f"base: accepted as missing: {path}" in said
    content = inside.content("base") or {}
    assert path not in content
    assert "Packages/here-1.0-1.noarch.rpm" in content
    upstream.write(repo.files())
    assert f"{path} is there again" in out.sluice("sync").out
    inside.receive(*out.bundle())
    assert inside.status()["repositories"]["base"]["exceptions"] == []
    assert path in (inside.content("base") or {})


def test_a_repository_that_is_no_longer_mirrored_stays_served(tmp_path: Path) -> None:
    tools = Upstream(tmp_path / "tools", {"a": b"a"})
    docs = Upstream(tmp_path / "docs", {"d": b"d"})
    out, inside = pair(tmp_path, {"tools": tools, "docs": docs})
    inside.receive(*out.cycle())
    del out.repositories["docs"]
    out.configure()
    tools.write({"b": b"b"})
    inside.receive(*out.cycle())
    assert inside.content("docs") == {"d": b"d"}
    assert inside.content("tools") == tools.files()
    assert inside.holds() == {}
