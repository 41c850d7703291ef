"""What lies in an inbox that is no good part, and inboxes that cannot be emptied."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from store.store import Store
from tests.support.drive import Upstream, noise, pair

FILES = {f"f{n}": noise(n, 30_000) for n in range(6)}


def damaged(part: Path, at: int, folder: Path) -> Path:
    """A copy with one byte changed."""
    data = bytearray(part.read_bytes())
    data[at] ^= 0x40
    folder.mkdir(exist_ok=True)
    target = folder / part.name
    target.write_bytes(data)
    return target


def test_a_damaged_part_is_put_aside_with_its_reason(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="128KiB")
    parts = out.cycle()
    middle = parts[0].stat().st_size // 2
    bad = damaged(parts[0], middle + 10_000, tmp_path / "bad")
    done = inside.receive(bad, *parts[1:], expect=3)
    [(name, reason)] = inside.quarantined().items()
    assert name.startswith(parts[0].stem)
    assert "DamagedPart" in reason
    assert reason.strip().count("\n") == 0, "one line"
    assert "DamagedPart" in done.err
    assert inside.content("tools") is None
    assert reason.strip() in inside.sluice("quarantine").out
    inside.receive(parts[0])
    assert inside.content("tools") == FILES


def test_a_truncated_part_is_put_aside(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    [part] = out.cycle()
    cut = tmp_path / "cut.tar"
    cut.write_bytes(part.read_bytes()[:-60_000])
    inside.receive(cut, expect=3)
    assert len(inside.quarantined()) == 1
    assert inside.content("tools") is None
    inside.receive(part)
    assert inside.content("tools") == FILES


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    (inside.inbox / "notes.txt").write_text("call the courier")
    (inside.inbox / "zeros.tar").write_bytes(bytes(10_240))
    (inside.inbox / ".hidden").write_bytes(b"x")
    (inside.inbox / "half.tar.partial").write_bytes(b"x")
    (inside.inbox / "link.tar").symlink_to("/etc/hostname")
    (inside.inbox / "folder").mkdir()
    (inside.inbox / "folder" / "part.tar").write_bytes(b"x")
    before = inside.waiting()
    done = inside.receive(*out.cycle())
    assert inside.content("tools") == FILES
    assert inside.waiting() == before
    assert inside.quarantined() == {}
    assert "left alone: link.tar: a symbolic link" in done.err
    inside.receive()
    assert inside.waiting() == before


def test_other_tars_are_not_ours(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    (tmp_path / "data").write_bytes(b"data")
    subprocess.run(["tar", "-C", tmp_path, "-cf", inside.inbox / "backup.tar", "data"], check=True)
    inside.receive(*out.cycle())
    assert inside.waiting() == ["backup.tar"]


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """A folder that nobody may write, not even root: a mount that is read-only."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_read_only_inbox_with_keep(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.options["after"] = "keep"
    inside.configure()
    parts = out.cycle()
    inside.bring(parts)
    (inside.inbox / "notes.txt").write_text("left alone")
    bad = damaged(parts[0], parts[0].stat().st_size - 20_000, tmp_path / "bad")
    inside.bring([bad])
    with read_only(inside.inbox):
        inside.receive(expect=None)
        assert inside.content("tools") == FILES
        generation = inside.status()["generation"]
        refused = len(inside.quarantined())
        done = inside.receive()
        assert "published" not in done.out
        assert inside.status()["generation"] == generation
        assert len(inside.quarantined()) == refused
    upstream.write({"more": b"more"})
    inside.bring(out.cycle())
    with read_only(inside.inbox):
        inside.receive()
        assert inside.content("tools") == upstream.files()
    assert len(inside.waiting()) == 4, "nothing was taken away"


def test_a_read_only_inbox_without_keep_says_what_to_do(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.bring(out.cycle())
    with read_only(inside.inbox):
        done = inside.receive(expect=1)
    assert "cannot be written" in done.err
    assert "after: keep" in done.err
    # It was imported all the same; the next look takes the files away.
    assert inside.content("tools") == FILES
    inside.receive()
    assert inside.waiting() == []


def test_imported_parts_can_be_moved_aside(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB")
    inside.options |= {"after": "move", "done": "imported"}
    inside.configure()
    parts = out.cycle()
    inside.receive(*parts[1:], expect=3)
    assert set(inside.waiting()) <= {part.name for part in parts}
    inside.receive(parts[0])
    assert inside.waiting() == []
    moved = sorted((inside.folder / "imported").iterdir())
    assert [path.read_bytes() for path in moved] == [part.read_bytes() for part in parts]


def test_a_mirrored_inbox_puts_back_what_was_deleted(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    parts = out.cycle()
    for _ in range(3):
        inside.receive(*parts)
        assert inside.waiting() == []
    assert len(inside.events("publication")) == 1


def test_a_second_importer_is_refused_in_one_line(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream})
    inside.bring(out.cycle())
    store = Store.open(inside.folder)
    with store.locks.named(f"receive-{inside.stream}"):
        done = inside.run("receive", "--once", expect=1)
        assert str(os.getpid()) in done.err, "who holds it"
        assert len(done.err.splitlines()) <= 2
        assert len(inside.waiting()) == 1
    store.close()
    inside.receive()
    assert inside.content("tools") == FILES


def test_importers_that_race_break_nothing(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, part_size="64KiB")
    inside.bring(out.cycle())
    runs = [inside.start("receive", "--once") for _ in range(3)]
    for run in runs:
        _, said = run.communicate(timeout=60)
        assert run.returncode in (0, 1), said
        assert "Traceback" not in said
    inside.receive()
    assert inside.content("tools") == FILES
    assert inside.waiting() == []
    assert inside.quarantined() == {}
    inside.sluice("verify")


def test_a_done_marker_is_waited_for(tmp_path: Path) -> None:
    upstream = Upstream(tmp_path / "vendor", FILES)
    out, inside = pair(tmp_path, {"tools": upstream}, done_marker=".done", name_prefix="sluice-")
    inside.options |= {"done_marker": ".done", "name_prefix": "sluice-"}
    inside.configure()
    files = out.cycle()
    assert [path.suffix for path in files] == [".tar", ".done"]
    part, marker = files
    inside.receive(part)
    assert inside.content("tools") is None
    assert inside.waiting() == [part.name]
    inside.receive(marker)
    assert inside.content("tools") == FILES
    assert inside.waiting() == []
