"""Two manifests for one sequence: the stream stops, and how it goes on."""

import shutil
from pathlib import Path

import pytest

from manifests.errors import ForkedStream
from tests.support.crossing import Inside, Outside


def test_a_fork_stops_the_stream_until_a_root_of_a_new_epoch_is_pinned(tmp_path: Path) -> None:
    first = Outside(tmp_path / "one", repositories=("base",))
    (tmp_path / "two").mkdir()
    shutil.copytree(tmp_path / "one" / "keys", tmp_path / "two" / "keys")
    second = Outside(tmp_path / "two", repositories=("base",))
    first.snapshot("base", {"a": b"1"})
    second.snapshot("base", {"a": b"2"})
    (tmp_path / "in").mkdir()
    inside = Inside(tmp_path / "in", first.keys.export_root())
    inside.bring(*first.bundle())
    assert inside.receive().exit_code == 0

    inside.bring(*second.bundle(), rename=True)
    with pytest.raises(ForkedStream):
        inside.receive()
    first.keys.renew(first.now, new_epoch=True)
    first.snapshot("base", {"a": b"3"})
    inside.bring(*first.bundle(), rename=True)
    with pytest.raises(ForkedStream):
        inside.receive()
    assert inside.content("base") == {"a": b"1"}

    inside.pinned = first.keys.export_root()
    report = inside.receive()
    assert report.accepted == ["2/1"]
    assert inside.content("base") == {"a": b"3"}
    assert report.holds == []
    assert inside.receive().exit_code == 0
