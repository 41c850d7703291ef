"""Full disks: nothing is lost, nothing is half there, and freed space is enough."""

from __future__ import annotations

import gc
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.drive import Inside, Upstream, noise, pair


@contextmanager
def disk(folder: Path, size: str) -> Iterator[Path]:
    """``folder`` on a file system of its own, with what was in it."""
    before = folder.rename(folder.with_name(f"{folder.name}-before"))
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(folder)]
    subprocess.run(mount, check=True)
    try:
        subprocess.run(["cp", "-a", f"{before}/.", folder], check=True)
        yield folder
    finally:
        gc.collect()  # a store that nobody closed may still have files open there
        subprocess.run(["umount", "-l", folder], check=True)


def ballast(folder: Path, leave: int) -> Path:
    """A file that leaves so many bytes free."""
    free = os.statvfs(folder)
    size = free.f_bavail * free.f_frsize - leave
    file = folder / "ballast"
    file.write_bytes(bytes(size))
    return file


@pytest.fixture
def small_inside(tmp_path: Path) -> Iterator[tuple[Upstream, list[Path], Inside]]:
    """An inside on 12 MiB that has imported once, and the parts of a next bundle of 3 MB."""
    upstream = Upstream(tmp_path / "vendor", {"first": noise(1, 50_000)})
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="256KiB")
    inside.common["reserve_free"] = "1B"
    inside.configure()
    first = out.cycle()
    upstream.write({f"f{n}": noise(10 + n, 150_000) for n in range(20)})
    second = out.cycle()
    with disk(inside.folder, "12m"):
        inside.receive(*first)
        yield upstream, second, inside


def test_a_full_disk_inside_loses_nothing(
    small_inside: tuple[Upstream, list[Path], Inside],
) -> None:
    upstream, parts, inside = small_inside
    inside.bring(parts)
    before = inside.waiting()
    filled = ballast(inside.folder, leave=1_000_000)
    done = inside.sluice("receive", "--once", expect=1)
    assert "HELD" not in done.out
    assert "bytes" in done.err or "space" in done.err, done
    assert "->" in done.err, "it says what to do"
    assert inside.waiting() == before, "no part was let go"
    assert inside.content("tools") == {"first": noise(1, 50_000)}
    inside.sluice("verify")
    filled.unlink()
    inside.receive()
    assert inside.content("tools") == upstream.files()
    assert inside.waiting() == []
    inside.sluice("verify")


def test_a_disk_that_fills_up_on_the_way_loses_nothing(
    small_inside: tuple[Upstream, list[Path], Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check before the work passes; then others take the space away."""
    upstream, parts, inside = small_inside
    inside.bring(parts)
    before = inside.waiting()
    monkeypatch.setattr("store.store.Store.require_free", lambda *_: None)
    filled = ballast(inside.folder, leave=1_500_000)
    done = inside.sluice("receive", "--once", expect=1)
    assert "space" in done.err or "disk" in done.err, done
    assert inside.waiting() == before
    assert inside.content("tools") == {"first": noise(1, 50_000)}
    filled.unlink()
    inside.receive()
    assert inside.content("tools") == upstream.files()
    inside.sluice("gc")
    inside.sluice("verify")


def test_reserve_free_is_kept_on_both_sides(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"a": noise(1, 100_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    out.common["reserve_free"] = "100TiB"
    out.configure()
    done = out.sluice("sync", expect=1)
    assert "reserve_free" in done.err or "free" in done.err
    assert out.status()["repositories"]["tools"]["snapshot"] is None
    assert out.holds()["tools"]["kind"] == "space"
    del out.common["reserve_free"]
    out.configure()
    out.sluice("sync")
    assert out.holds() == {}
    out.common["reserve_free"] = "100TiB"
    out.configure()
    assert "free" in out.sluice("pack", expect=1).err
    assert not list((out.folder / "spool").rglob("*.draft"))
    del out.common["reserve_free"]
    out.configure()
    inside.common["reserve_free"] = "100TiB"
    inside.configure()
    parts = out.bundle()
    assert "free" in inside.receive(*parts, expect=1).err
    assert inside.live() == {}
    assert len(inside.waiting()) == len(parts)
    del inside.common["reserve_free"]
    inside.configure()
    inside.receive()
    assert inside.content("tools") == upstream.files()


def test_a_full_disk_outside_loses_nothing(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", {"first": noise(1, 50_000)})
    out, inside = pair(tmp_path, {"tools": upstream})
    out.common["reserve_free"] = "1B"
    out.configure()
    inside.receive(*out.cycle())
    with disk(out.folder, "16m"):
        upstream.write({f"f{n}": noise(10 + n, 150_000) for n in range(20)})
        filled = ballast(out.folder, leave=1_500_000)
        done = out.sluice("sync", expect=1)
        assert "->" in done.err
        assert out.status()["repositories"]["tools"]["snapshot"]["serial"] == 1
        filled.unlink()
        out.sluice("sync")
        filled = ballast(out.folder, leave=1_500_000)
        done = out.sluice("pack", expect=1)
        assert "->" in done.err
        filled.unlink()
        inside.receive(*out.bundle())
        out.sluice("verify")
        assert inside.content("tools") == upstream.files()
