"""A sync of images under kills, power cuts and refusing disks: whole snapshots, or none."""

from __future__ import annotations

import errno
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from manifests.durable import Durable
from manifests.formats.base import Severity
from mirror import workcopy
from mirror.settings import spec_of
from mirror.sync import Tools, sync
from store.checks import check_tree
from store.seam import Kind, Seam
from store.store import Store
from tests.crash.harness import Scenario, cut_power_at_each, fail_at_each, kill_at_each
from tests.support.images import Layout
from tests.support.ocimirror import images

REPO = images("file:///unset", "app", "broken")


def setup(root: Path) -> None:
    """A layout with a good and a broken image, and a store that knows nothing yet."""
    layout = Layout(root / "upstream")
    layout.tag("registry.example.com/app:v1", layout.image("one\n"))
    broken = layout.image("two\n")
    layout.tag("registry.example.com/broken:v1", broken)
    layers = [one for one in layout.within(broken) if "layer" in one.media_type]
    (layout.blobs / layers[0].hex).write_bytes(b"other bytes")
    Store.open(root / "store", files=Seam()).close()


def mirror(root: Path, files: Durable) -> None:
    # Each run may come after a power cut, so each is a new start of the machine.
    start = uuid.uuid4().hex
    workcopy.boot_id = lambda: start
    upstream = replace(REPO.upstream, urls=((root / "upstream").as_uri() + "/",))
    with Store.open(root / "store", files=files) as store:
        sync(store, replace(REPO, upstream=upstream), tools=Tools(pause=lambda _: None))
        # Also where an earlier run made the snapshot: it is there now, and must stay.
        files.committed("mirrored")


def check(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store", files=Seam()) as store:
        with store.ledger.read() as tx:
            snapshots = tx.snapshots("", "platform")
            holds = [hold.kind for hold in tx.holds(repository="platform")]
            tx.verify_events()
        assert len(snapshots) <= 1
        assert snapshots or "mirrored" not in promised
        assert "mirrored" not in promised or holds == ["images"]
        for stored in snapshots:
            tree = stored.snapshot.tree
            problems = check_tree(store, "oci", spec_of(REPO), tree).problems
            assert [one for one in problems if one.severity is Severity.REQUIRED] == []
            for entry in store.tree(tree).entries():
                store.blobs.verify(entry.digest)
                assert not entry.path.startswith("broken/")


SYNC = Scenario(mirror, check, setup=setup, databases=("store/ledger.sqlite",))


@pytest.fixture(autouse=True)
def same_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the real boot id back after the test."""
    monkeypatch.setattr(workcopy, "boot_id", workcopy.boot_id)


def test_a_sync_of_images_survives_kills(tmp_path: Path) -> None:
    assert kill_at_each(SYNC, tmp_path, every=20) > 2


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_sync_of_images_goes_on_after_a_kill_at_each_operation(tmp_path: Path) -> None:
    assert kill_at_each(SYNC, tmp_path) > 50


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_snapshot_of_images_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(SYNC, tmp_path, seeds=1, finish=False) > 100


@pytest.mark.soak
def test_a_refused_rename_or_link_harms_no_image(tmp_path: Path) -> None:
    assert fail_at_each(SYNC, tmp_path, errno.ENOSPC, kinds=(Kind.RENAME, Kind.LINK)) > 3
