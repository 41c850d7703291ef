"""A sync under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
import uuid
from pathlib import Path

import pytest

from manifests.durable import Durable
from mirror import workcopy
from mirror.sync import Tools, sync
from store.seam import Kind, Seam
from store.store import Store
from tests.crash.filesmirror import CONTENT, LEDGER, settings, setup
from tests.crash.harness import Scenario, cut_power_at_each, fail_at_each, kill_at_each


def mirror(root: Path, files: Durable) -> None:
    # Each run may come after a power cut, so each is a new start of the machine.
    start = uuid.uuid4().hex
    workcopy.boot_id = lambda: start
    with Store.open(root / "store", files=files) as store:
        sync(store, settings(root), tools=Tools(pause=lambda _: None))
        # Also where an earlier run made the snapshot: it is there now, and must stay.
        files.committed("mirrored")


def check(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store", files=Seam()) as store:
        with store.ledger.read() as tx:
            snapshots = tx.snapshots("", "tools")
            tx.verify_events()
        assert len(snapshots) <= 1
        assert snapshots or "mirrored" not in promised
        for stored in snapshots:
            tree = store.tree(stored.snapshot.tree)
            found = {entry.path: entry for entry in tree.entries()}
            assert set(found) == set(CONTENT)
            for path, entry in found.items():
                store.blobs.verify(entry.digest)
                with store.blobs.open(entry.digest) as body:
                    assert body.read() == CONTENT[path]


SYNC = Scenario(mirror, check, setup=setup, databases=(LEDGER,))


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the real boot id back after the test."""
    monkeypatch.setattr(workcopy, "boot_id", workcopy.boot_id)


def test_a_sync_survives_kills(tmp_path: Path) -> None:
    assert kill_at_each(SYNC, tmp_path, every=11) > 3


def test_a_snapshot_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(SYNC, tmp_path, seeds=1, finish=False) > 100


def test_a_refused_rename_or_link_is_told_and_harms_nothing(tmp_path: Path) -> None:
    assert fail_at_each(SYNC, tmp_path, errno.ENOSPC, kinds=(Kind.RENAME, Kind.LINK)) > 3


@pytest.mark.soak
def test_a_sync_goes_on_after_a_kill_or_power_cut_at_each_operation(tmp_path: Path) -> None:
    kill_at_each(SYNC, tmp_path / "kills")
    cut_power_at_each(SYNC, tmp_path / "cuts", seeds=1)


@pytest.mark.soak
def test_every_refused_operation_is_told_and_harms_nothing(tmp_path: Path) -> None:
    fail_at_each(SYNC, tmp_path / "full", errno.ENOSPC)
    fail_at_each(SYNC, tmp_path / "broken", errno.EIO)
