"""Making a store, publishing into it and collecting garbage, under kills and power cuts."""

import errno
from datetime import UTC, datetime
from pathlib import Path

from manifests import errors
from manifests.durable import Durable
from manifests.state import Snapshot
from manifests.tree import Entry
from store.gc import collect
from store.records import Publication, StoredSnapshot
from store.seam import Kind, Operation
from store.store import Store
from store.verify import verify
from tests.crash.harness import (
    NEEDS_SPACE,
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)

NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
LEDGER = "store/ledger.sqlite"


def publish_next(store: Store, serial: int) -> None:
    """What sync and receive do: blobs, their tree, then one commit that names them."""
    with store.locks.shared():
        with store.blobs.batch() as batch:
            entries = [
                Entry(name, *batch.put_bytes(f"{name}{serial}".encode())) for name in ("a", "b")
            ]
            tree = store.keep_tree(entries, batch)
        with store.ledger.write() as tx:
            snapshot = Snapshot("docs", "files", serial, tree.digest, tree.size, 2, tree.bytes,
                                NOON)  # fmt: skip
            tx.add_snapshot(StoredSnapshot("hq", snapshot))
            tx.publish(
                [Publication("docs", "hq", "files", "docs", serial, tree.digest, None, NOON)]
            )
            tx.event("publish", stream="hq", repository="docs", serial=serial)


def make(root: Path) -> None:
    with Store.open(root / "store") as store:
        publish_next(store, 1)


def publish(root: Path, files: Durable) -> None:
    with Store.open(root / "store", files=files) as store:
        publish_next(store, 2)


def check_published(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store") as store:
        found = verify(store)
        assert found.sound, found.findings
        with store.ledger.read() as tx:
            live = tx.publication("docs")
            serials = [stored.snapshot.serial for stored in tx.snapshots("hq", "docs")]
            assert live is not None
            assert live.serial == serials[0]
            assert tx.generation() >= len(serials)
            assert serials[0] == 2 or not promised


PUBLISH = Scenario(publish, check_published, setup=make, databases=(LEDGER,))


def test_publishing_survives_a_kill_at_each_operation(tmp_path: Path) -> None:
    assert kill_at_each(PUBLISH, tmp_path) > 15


def test_publishing_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(PUBLISH, tmp_path, seeds=1, finish=False) > 60


def opening(operation: Operation, _turn: int) -> bool:
    """Folders that opening makes sure of again, as it cannot know who synced them before.

    Only the folders of blobs, which have names of two characters, are made here.
    """
    return operation.kind is Kind.SYNC_DIR and len(operation.path.name) != 2


def test_every_fsync_of_publishing_is_needed(tmp_path: Path) -> None:
    # Three blobs and the folders that hold them.
    assert assert_every_sync_needed(PUBLISH, tmp_path, opening) >= 5


def test_a_full_disk_while_publishing(tmp_path: Path) -> None:
    assert fail_at_each(PUBLISH, tmp_path, errno.ENOSPC, kinds=NEEDS_SPACE) > 5


def create(root: Path, files: Durable) -> None:
    with Store.open(root / "store", files=files) as store, store.ledger.write() as tx:
        tx.set_meta("zone", "outside")


def check_created(root: Path, promised: list[str]) -> None:
    try:
        store = Store.open_read_only(root / "store")
    except errors.StoreError:
        assert not promised
        return
    with store, store.ledger.read() as tx:
        assert tx.get_meta("zone") in (("outside",) if promised else ("outside", None))


CREATE = Scenario(create, check_created, databases=(LEDGER,))


def test_making_a_store_survives_a_kill_at_each_operation(tmp_path: Path) -> None:
    assert kill_at_each(CREATE, tmp_path) > 5


def test_making_a_store_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(CREATE, tmp_path, seeds=1) > 20


def make_garbage(root: Path) -> None:
    with Store.open(root / "store") as store:
        for serial in (1, 2):
            publish_next(store, serial)
        with store.ledger.write() as tx:
            tx.drop_snapshot("hq", "docs", 1)
            tx.forget_publications(datetime(9999, 1, 1, tzinfo=UTC))


def run_gc(root: Path, files: Durable) -> None:
    with Store.open(root / "store", files=files) as store:
        collect(store)


def check_collected(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store") as store:
        found = verify(store)
        assert found.sound, found.findings
        if len(promised) == 2:  # the history was pruned, then gc recorded that it was done
            assert found.blobs <= 6
        collect(store)
        assert verify(store).blobs == 3


GC = Scenario(run_gc, check_collected, setup=make_garbage, databases=(LEDGER,))


def test_gc_survives_a_kill_at_each_operation(tmp_path: Path) -> None:
    assert kill_at_each(GC, tmp_path) > 3


def test_gc_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(GC, tmp_path, seeds=0, finish=False) > 10
