"""Bundles from one store to another: what must arrive, and what must not."""

from __future__ import annotations

import random
from pathlib import Path

from tests.support.crossing import Inside, Outside
from transfer.arrivals import Verdict

ONE = {"a": b"a" * 10, "b/c": b"c" * 5000, "empty": b""}


def zones(tmp_path: Path, **outside: object) -> tuple[Outside, Inside]:
    (tmp_path / "out").mkdir()
    (tmp_path / "in").mkdir()
    out = Outside(tmp_path / "out", **outside)  # type: ignore[arg-type]
    return out, Inside(tmp_path / "in", out.keys.export_root())


def test_a_repository_crosses_whole(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    report = inside.receive()
    assert inside.content("base") == ONE
    assert [o.verdict for o in report.outcomes] == [Verdict.DONE]
    assert report.exit_code == 0


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_many_parts_and_an_update(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    files = {f"f{n:03}": noise(n, 30_000) for n in range(30)}
    files["large"] = noise(99, 700_000)
    out.snapshot("base", files)
    out.snapshot("extra", {"same": files["f001"]})
    parts = out.bundle()
    assert len(parts) > 12
    inside.bring(*parts, rename=True)
    report = inside.receive()
    assert report.exit_code == 0
    assert {o.verdict for o in report.outcomes} == {Verdict.DONE}
    assert inside.content("base") == files
    assert inside.content("extra") == {"same": files["f001"]}
    del files["f003"]
    files["new"] = b"new"
    out.snapshot("base", files)
    parts = out.bundle()
    assert len(parts) == 1
    assert parts[0].stat().st_size < 100_000
    inside.bring(*parts)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == files
    assert out.pack() is None
