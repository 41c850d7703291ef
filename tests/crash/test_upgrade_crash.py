"""An upgrade and the way back, under kills, power cuts and a full disk."""

import atexit
import errno
import shutil
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from manifests.durable import Durable, publish_file
from store.ledger import Ledger, schema
from store.seam import Kind, Operation, Seam
from store.store import Store
from store.upgrade import Place, copies, go_back, pending, read_copy, upgrade
from tests.crash.harness import (
    NEEDS_SPACE,
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)
from tests.support.oldledger import make_old

ZONE = b"zone: inside\n"
NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


def place(root: Path) -> Place:
    path = root / "ledger.sqlite"
    return Place(root, f"sqlite:///{path}", path)


def make(root: Path) -> None:
    shutil.copytree(_made(upgraded=False), root, dirs_exist_ok=True)


def make_upgraded(root: Path) -> None:
    shutil.copytree(_made(upgraded=True), root, dirs_exist_ok=True)


@cache
def _made(*, upgraded: bool) -> Path:
    """Made once: each trial begins with a copy."""
    root = Path(tempfile.mkdtemp(prefix="sluice-test-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    with Store.open(root, clock=lambda: NOON) as store, store.ledger.write() as tx:
        tx.event("kept")
    publish_file(Seam(), root / "zone.yaml", ZONE)
    make_old(root / "ledger.sqlite")
    if upgraded:
        run(root, Seam())
        publish_file(Seam(), root / "zone.yaml", ZONE + b"log: {level: debug}\n")
    return root


def run(root: Path, files: Durable) -> None:
    upgrade(place(root), files, now=NOON, actor="operator")


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        words = "SELECT value FROM meta WHERE key = 'schema_version'"
        return int(database.execute(words).fetchone()[0])


def check(root: Path, promised: list[str]) -> None:
    """At every moment the ledger is whole, of one version, and changed only beside a copy."""
    found = version(root / "ledger.sqlite")
    if found == 1:
        assert not promised
        return
    # One that no step followed is of no use later, and of no harm.
    kept = [read_copy(copy.folder) for copy in copies(root)][-1]
    assert version(kept.folder / "ledger.sqlite") == 1
    assert (kept.folder / "zone.yaml").read_bytes() == ZONE
    if found == schema.SCHEMA_VERSION:
        with closing(Ledger.open_read_only(root / "ledger.sqlite")) as ledger, ledger.read() as tx:
            kinds = [event.kind for event in tx.events()]
        assert kinds == (["kept", "upgraded"] if "ledger" in promised else ["kept"]) or kinds[1:]
    if kept.done:
        assert pending(place(root), Seam()).unfinished is None


UPGRADE = Scenario(run, check, setup=make, databases=("ledger.sqlite",))


def test_an_upgrade_survives_kills(tmp_path: Path) -> None:
    assert kill_at_each(UPGRADE, tmp_path, every=2) > 10


def test_an_upgrade_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(UPGRADE, tmp_path, seeds=1, finish=False) > 80


def spare(operation: Operation, turn: int) -> bool:
    """Fsyncs that others stand in for.

    The folder of the copy: the one after COPY covers the names before it, and DONE only
    says that all is done, which the next run finds anyway. The zone's folder is made sure
    of again whenever its ledger is opened.
    """
    folder = operation.kind is Kind.SYNC_DIR
    return (
        "DONE" in operation.path.name
        or (folder and operation.path.name == "record")
        or (folder and operation.path.parent.name == "upgrades" and turn != 4)
    )


def test_every_fsync_of_an_upgrade_is_needed(tmp_path: Path) -> None:
    assert assert_every_sync_needed(UPGRADE, tmp_path, spare) >= 5


def test_a_full_disk_while_upgrading(tmp_path: Path) -> None:
    assert fail_at_each(UPGRADE, tmp_path, errno.ENOSPC, kinds=NEEDS_SPACE) > 5


def back(root: Path, files: Durable) -> None:
    go_back(place(root), copies(root)[0].folder, files, now=NOON, actor="operator")


def check_back(root: Path, promised: list[str]) -> None:
    found = version(root / "ledger.sqlite")
    assert found == 1 or not promised
    # Whatever was reached, the newer ledger is kept before it is replaced.
    if found == 1:
        assert version(copies(root)[1].folder / "ledger.sqlite") == schema.SCHEMA_VERSION
    assert (root / "zone.yaml").read_bytes().startswith(ZONE)


def test_going_back_survives_kills(tmp_path: Path) -> None:
    scenario = Scenario(back, check_back, setup=make_upgraded, databases=("ledger.sqlite",))
    assert kill_at_each(scenario, tmp_path, every=2) > 8
