"""Files in the inbox that are no parts, or do not look like any yet."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import pytest

from manifests.bundle import read_head
from tests.support.crossing import FileArrival, Inside, Outside
from transfer.arrivals import Verdict


def pair(tmp_path: Path) -> tuple[Outside, Inside]:
    for name in ("out", "in"):
        (tmp_path / name).mkdir()
    out = Outside(tmp_path / "out", repositories=("base",), part_size=64 << 10)
    return out, Inside(tmp_path / "in", out.keys.export_root())


def test_thousands_of_foreign_files_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100,000 of them would cost a hundred thousand reads at each look."""
    opened: list[str] = []
    plain = FileArrival.open

    def counting(self: FileArrival) -> BinaryIO:
        opened.append(self.label)
        return plain(self)

    monkeypatch.setattr(FileArrival, "open", counting)
    out, inside = pair(tmp_path)
    for number in range(2_000):
        (inside.inbox / f"junk{number}").write_bytes(b"junk %d" % number)
    report = inside.receive()
    assert {outcome.verdict for outcome in report.outcomes} == {Verdict.FOREIGN}
    assert report.exit_code == 0
    assert len(opened) >= 2_000
    opened.clear()
    out.snapshot("base", {"a": b"a"})
    inside.bring(*out.bundle())
    (inside.inbox / "junk7").write_bytes(b"another file by now")
    assert [live.repository for live in inside.receive().published] == ["base"]
    assert {name for name in opened if name.startswith("junk")} == {"junk7"}
    assert len(list(inside.inbox.iterdir())) == 2_000, "left alone"


def test_what_looked_foreign_is_a_part_once_its_manifest_comes(tmp_path: Path) -> None:
    out, inside = pair(tmp_path)
    content = {f"f{number}": bytes([number]) * 30_000 for number in range(6)}
    out.snapshot("base", content)
    parts = out.bundle()
    assert len(parts) > 2
    inside.bring(parts[1])
    [spoilt] = inside.inbox.iterdir()
    with spoilt.open("rb") as file:
        head = read_head(file)
    assert head is not None
    assert head.record is not None
    with spoilt.open("r+b") as file:
        file.write(bytes(head.record.offset))
    assert [outcome.verdict for outcome in inside.receive().outcomes] == [Verdict.FOREIGN]
    inside.bring(parts[0], *parts[2:])
    assert inside.receive().holds == []
    assert inside.content("base") == content
    assert list(inside.inbox.iterdir()) == []
