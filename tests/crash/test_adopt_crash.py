"""Adopting a folder under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

import pytest

from manifests.digest import Digest
from manifests.durable import Durable
from mirror import workcopy
from mirror.adopting import work_places
from mirror.report import Quiet
from mirror.sync import Tools, sync
from store import adopt as adopting
from store.adopt import adopt
from store.adopted import adopted
from store.seam import Kind, Seam
from store.store import Store
from tests.crash.filesmirror import CONTENT, LEDGER, settings, setup
from tests.crash.harness import Scenario, cut_power_at_each, fail_at_each, kill_at_each


def take(root: Path, files: Durable) -> None:
    """As inside: blobs alone."""
    with Store.open(root / "store", files=files) as store:
        adopt(store, "tools", root / "upstream", progress=Quiet())
        files.committed("taken")


def fill(root: Path, files: Durable) -> None:
    """As outside: blobs and work copy."""
    _start()
    with Store.open(root / "store", files=files) as store:
        with work_places(store, settings(root)) as place:
            adopt(store, "tools", root / "upstream", place=place, progress=Quiet())
        files.committed("taken")


def _start() -> None:
    """Each run may come after a power cut, so each is a new start of the machine."""
    start = uuid.uuid4().hex
    workcopy.boot_id = lambda: start


def check(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store", files=Seam()) as store:
        with store.ledger.read() as tx:
            found = adopted(tx, "tools")
            tx.verify_events()
        assert found is not None or "taken" not in promised
        if found is not None:
            assert_whole(store, found.tree)


def check_synced(root: Path, promised: list[str]) -> None:
    """What rsync finds in the work copy is believed only if it is right."""
    check(root, promised)
    _start()
    with Store.open(root / "store", files=Seam()) as store:
        done = sync(store, settings(root), tools=Tools(pause=lambda _: None))
        if done.snapshot is not None:
            assert_whole(store, done.snapshot.tree)


def assert_whole(store: Store, tree: Digest) -> None:
    entries = {entry.path: entry for entry in store.tree(tree).entries()}
    assert set(entries) == set(CONTENT)
    for path, entry in entries.items():
        store.blobs.verify(entry.digest)
        with store.blobs.open(entry.digest) as body:
            assert body.read() == CONTENT[path]


TAKE = Scenario(take, check, setup=setup, databases=(LEDGER,))
FILL = Scenario(fill, check_synced, setup=setup, databases=(LEDGER,))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Journal each file; and give the real boot id back after the test."""
    monkeypatch.setattr(workcopy, "boot_id", workcopy.boot_id)
    monkeypatch.setattr(adopting, "_FILES", 1)


def test_adopting_survives_kills(tmp_path: Path) -> None:
    assert kill_at_each(TAKE, tmp_path, every=9) > 5


def test_what_was_adopted_survives_power_cuts(tmp_path: Path) -> None:
    assert cut_power_at_each(TAKE, tmp_path, seeds=1, finish=False, every=4) > 30


def test_a_refused_link_or_copy_is_told_and_harms_nothing(tmp_path: Path) -> None:
    kinds = (Kind.CREATE, Kind.LINK)
    assert fail_at_each(TAKE, tmp_path, errno.ENOSPC, kinds=kinds) > 3


@pytest.mark.soak
def test_an_adoption_goes_on_after_each_crash_and_the_sync_is_right(tmp_path: Path) -> None:
    kill_at_each(FILL, tmp_path / "kills", every=5)
    cut_power_at_each(FILL, tmp_path / "cuts", seeds=1, finish=False, every=9)
