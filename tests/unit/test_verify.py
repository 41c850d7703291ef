"""verify finds every kind of harm, names it, and makes room for a repair."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy

from manifests.digest import Digest, sha256_of
from manifests.state import Snapshot
from manifests.tree import Entry
from store.records import StoredSnapshot
from store.store import Store
from store.verify import Kind, verify

NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        with store.blobs.batch() as batch:
            entries = [Entry(path, *batch.put_bytes(path.encode())) for path in ("a", "b", "c")]
            batch.put_bytes(b"named by nobody")
        kept = store.keep_tree(entries)
        with store.ledger.write() as tx:
            for stream in ("", "hq"):
                tx.add_snapshot(
                    StoredSnapshot(
                        stream,
                        Snapshot("docs", "files", 1, kept.digest, kept.size, 3, 3, NOON),
                    )
                )
            tx.event("sync")
        yield store


def harm(store: Store, digest: Digest) -> None:
    path = store.blobs.path(digest)
    path.chmod(0o644)
    path.write_bytes(b"!" * path.stat().st_size)


def test_a_sound_store(store: Store) -> None:
    told: list[tuple[int, int]] = []
    found = verify(store, progress=lambda blobs, size: told.append((blobs, size)))
    assert found.sound
    assert (found.blobs, found.events, found.trees) == (5, 1, 2)
    assert told[-1] == (5, found.bytes)


def test_damaged_and_missing_blobs_are_named_and_set_aside(store: Store) -> None:
    harm(store, sha256_of(b"a"))
    harm(store, sha256_of(b"named by nobody"))
    store.blobs.path(sha256_of(b"b")).unlink()
    found = verify(store)
    assert [(f.kind, f.stream, f.repository, f.path) for f in found.findings] == [
        (Kind.DAMAGED, "", "docs", "a"),
        (Kind.MISSING, "", "docs", "b"),
        (Kind.DAMAGED, "hq", "docs", "a"),
        (Kind.MISSING, "hq", "docs", "b"),
        (Kind.DAMAGED, "", "", ""),
    ]
    assert store.blobs.has(sha256_of(b"a"))  # looking changes nothing
    generation = store.ledger.generation()
    assert verify(store, repair=True).set_aside == 2
    assert not store.blobs.has(sha256_of(b"a"))
    assert store.ledger.generation() > generation
    with store.ledger.read() as tx:
        hold = tx.hold("damaged/hq/docs")
        assert hold is not None
        assert hold.detail == {"items": ["a", "b"], "total": 2}
        assert "full bundle" in hold.remedy
    # Fetched again, all is well, and the hold goes.
    with store.blobs.batch() as batch:
        batch.put_bytes(b"a")
        batch.put_bytes(b"b")
    assert verify(store, repair=True).sound
    with store.ledger.read() as tx:
        assert tx.holds() == []


def test_a_work_copy_that_shares_the_damage_is_fetched_anew(store: Store, tmp_path: Path) -> None:
    copy = tmp_path / "a"
    copy.hardlink_to(store.blobs.path(sha256_of(b"a")))
    harm(store, sha256_of(b"a"))
    verify(store, repair=True)
    assert copy.stat().st_mtime == 0  # no upstream's file has this time, so rsync takes it again


def test_a_damaged_tree(store: Store) -> None:
    with store.ledger.read() as tx:
        tree = tx.snapshots()[0].snapshot.tree
    harm(store, tree)
    found = verify(store, repair=True)
    assert found.counts == {Kind.DAMAGED: 2}
    assert "tree of snapshot 1" in found.findings[0].what
    again = verify(store)
    assert again.counts == {Kind.MISSING: 2}


def behind_its_back(store: Store, statement: str) -> None:
    with store.ledger.write() as tx:
        tx._connection.execute(sqlalchemy.text(statement))


def test_wrong_totals_and_events(store: Store) -> None:
    behind_its_back(store, "UPDATE snapshots SET bytes = 4 WHERE stream = 'hq'")
    behind_its_back(store, "UPDATE events SET kind = 'x'")
    found = verify(store)
    assert [finding.kind for finding in found.findings] == [Kind.EVENTS, Kind.TOTALS]
    assert "event 1" in found.findings[0].what
    assert "3 bytes" in found.findings[1].what


def test_a_tree_that_lies(store: Store) -> None:
    lying = store.keep_tree([Entry("a", sha256_of(b"a"), 2)])
    with store.blobs.batch() as batch:
        no_tree = batch.put_bytes(b"no tree\n")[0]
    with store.ledger.write() as tx:
        for serial, digest in ((2, lying.digest), (3, no_tree)):
            tx.add_snapshot(
                StoredSnapshot("", Snapshot("x", "files", serial, digest, 1, 1, 2, NOON))
            )
    kinds = {(f.kind, f.path) for f in verify(store).findings}
    assert (Kind.TREE, "a") in kinds
    assert (Kind.TREE, "") in kinds
