"""A disk that refuses: nothing half-written shows, nothing is lost, a second try works."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cds.filedrop import FileInbox, FileOutbox
from manifests import errors
from manifests.zone import After, PartNames
from store.seam import Seam
from tests.support import scratch
from tests.support.filedrop import NOW, age, failing_at, visible

MARKED = PartNames(prefix="hq-", suffix=".tar", done_marker=".done")
DATA = bytes(range(256)) * 5000


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the test's own."""
    with scratch.elsewhere(tmp_path) as folder:
        yield folder


def _at_each(
    prepare: Callable[[], None], act: Callable[[Seam], None], check: Callable[[], None], code: int
) -> int:
    """Fail each operation in turn, check, then try again and check; how many there were."""
    for k in itertools.count():
        prepare()
        try:
            act(Seam(failing_at(k, code)))
        except errors.StoreError as exc:
            assert exc.remedy
        else:
            return k
        check()
        act(Seam())
        check()
    raise AssertionError


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("source_elsewhere", [False, True])
@pytest.mark.parametrize("outbox_elsewhere", [False, True])
def test_a_refused_offer_shows_nothing_half_and_can_be_repeated(
    tmp_path: Path, elsewhere: Path, code: int, source_elsewhere: bool, outbox_elsewhere: bool
) -> None:
    part = (elsewhere if source_elsewhere else tmp_path) / "part"
    outbox = (elsewhere if outbox_elsewhere else tmp_path) / "outbox"
    staging = tmp_path / "staging"
    part.write_bytes(DATA)

    def prepare() -> None:
        for folder in (outbox, staging):
            shutil.rmtree(folder, ignore_errors=True)
        outbox.mkdir()

    def act(files: Seam) -> None:
        FileOutbox(files, outbox, staging=staging, names=MARKED).offer("one", part)
        assert visible(outbox) == ["hq-one.tar", "hq-one.tar.done"]

    def check() -> None:
        assert visible(outbox) in ([], ["hq-one.tar"], ["hq-one.tar", "hq-one.tar.done"])
        if visible(outbox):
            assert (outbox / "hq-one.tar").read_bytes() == DATA
        assert part.read_bytes() == DATA

    assert _at_each(prepare, act, check, code) >= 9
    assert not os.listdir(staging)
    assert visible(outbox) == sorted(os.listdir(outbox))


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("inbox_elsewhere", [False, True])
@pytest.mark.parametrize("deed", ["quarantine", "move", "delete"])
def test_a_refused_deed_loses_no_arrival(
    tmp_path: Path, elsewhere: Path, code: int, inbox_elsewhere: bool, deed: str
) -> None:
    inbox = (elsewhere if inbox_elsewhere else tmp_path) / "inbox"
    quarantine, done = tmp_path / "quarantine", tmp_path / "done"
    after = After.MOVE if deed == "move" else After.DELETE

    def prepare() -> None:
        for folder in (inbox, quarantine, done):
            shutil.rmtree(folder, ignore_errors=True)
        inbox.mkdir()
        (inbox / "part").write_bytes(DATA)
        age(inbox / "part", 100)

    def act(files: Seam) -> None:
        inlet = FileInbox(files, inbox, quarantine, after=after, done=done)
        for arrival in inlet.arrivals(NOW):
            if deed == "quarantine":
                inlet.quarantine(arrival, "bad")
            else:
                inlet.finish(arrival)

    def check() -> None:
        folders = [f for f in (inbox, quarantine, done) if f.exists()]
        found = [f / n for f in folders for n in visible(f) if not n.endswith(".reason.txt")]
        assert all(path.read_bytes() == DATA for path in found)
        if deed != "delete":
            assert found
        for path in found:
            if path.parent == quarantine:
                assert path.with_name(path.name + ".reason.txt").read_text() == "part: bad\n"

    assert _at_each(prepare, act, check, code) >= (1 if deed == "delete" else 3)
