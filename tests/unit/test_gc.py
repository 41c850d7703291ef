"""What gc keeps, what it removes, and when it refuses."""

import threading
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.state import Snapshot
from manifests.tree import Entry
from store.gc import collect
from store.marks import Marks
from store.records import BundleRecord, PinKind, Publication, StoredSnapshot, Validator
from store.store import KeptTree, Store
from tests.support.clock import NOON, Clock


def put(store: Store, *bodies: bytes) -> list[Digest]:
    with store.blobs.batch() as batch:
        return [batch.put_bytes(body)[0] for body in bodies]


def keep(store: Store, *bodies: bytes) -> KeptTree:
    entries = [
        Entry(f"f{number}", digest, len(bodies[number]))
        for number, digest in enumerate(put(store, *bodies))
    ]
    return store.keep_tree(entries)


def snapshot(serial: int, tree: KeptTree, stream: str = "") -> StoredSnapshot:
    return StoredSnapshot(
        stream,
        Snapshot("baseos", "yum", serial, tree.digest, tree.size, tree.files, tree.bytes, NOON),
    )


def left(store: Store) -> set[Digest]:
    return set(store.blobs.digests())


def test_only_what_nothing_names_is_removed(store: Store) -> None:
    kept = keep(store, b"a", b"b")
    put(store, b"garbage", b"more garbage")
    with store.ledger.write() as tx:
        tx.add_snapshot(snapshot(1, kept))
    before = left(store)
    found = collect(store, dry_run=True)
    assert (found.kept, found.removed, found.bytes) == (3, 2, 19)
    assert left(store) == before
    done = collect(store)
    assert (done.kept, done.removed, done.bytes) == (3, 2, 19)
    assert left(store) == {kept.digest, sha256_of(b"a"), sha256_of(b"b")}
    with store.ledger.write() as tx:
        assert tx.last_events(1)[0].detail == {"blobs": 2, "bytes": 19}
        tx.drop_snapshot("", "baseos", 1)
    assert collect(store).removed == 3
    assert left(store) == set()
    with pytest.raises(errors.BlobMissing):
        store.tree(kept.digest)


def test_publications_stay_for_the_grace_period(store: Store, clock: Clock) -> None:
    old, new, overlay = keep(store, b"old"), keep(store, b"new"), keep(store, b"derived")

    def publish(serial: int, tree: KeptTree, over: KeptTree | None) -> Publication:
        digest = None if over is None else over.digest
        return Publication("baseos", "hq", "yum", "baseos", serial, tree.digest, digest, NOON)

    with store.ledger.write() as tx:
        tx.publish([publish(1, old, overlay)])
    clock.time += timedelta(hours=1)
    with store.ledger.write() as tx:
        tx.publish([publish(2, new, None)])
    clock.time += timedelta(hours=23)
    assert collect(store).removed == 0
    clock.time += timedelta(hours=2)
    assert collect(store, dry_run=True).removed == 4
    assert collect(store).removed == 4
    assert left(store) == {new.digest, sha256_of(b"new")}


def test_pins_drafts_and_validators(store: Store) -> None:
    tree = keep(store, b"in tree")
    (blob, listed, index, member, index_body) = put(
        store, b"blob", b"listed", b"index body", b"member", b"x"
    )
    (text,) = put(store, f"{listed}\n".encode())
    (index,) = put(store, f"{member}\t6\traw\t-\t{member}\t6\t00001:0\n".encode())
    with store.ledger.write() as tx:
        tx.pin("blobs", [blob, sha256_of(b"still on its way")])
        tx.pin("trees", [tree.digest, sha256_of(b"no tree yet")], PinKind.TREES)
        tx.pin("lists", [text], PinKind.LISTS)
        tx.add_draft("hq", "d1", {"index": index, "other": {"deep": [index_body]}})
        found = Validator("e", "", put(store, b"body")[0], 4)
        tx.set_validators("baseos", [("url", found)])
    assert collect(store).removed == 1  # "index body"
    expected = {tree.digest, sha256_of(b"in tree"), blob, text, listed, index, member, index_body}
    assert left(store) == expected | {sha256_of(b"body")}
    with store.ledger.write() as tx:
        for pin in ("blobs", "trees", "lists"):
            tx.unpin(pin)
        tx.drop_draft("hq", "d1")
        tx.forget_validators("baseos")
    collect(store)
    assert left(store) == set()


def bundle(store: Store, sequence: int, member: bytes, **times: datetime) -> BundleRecord:
    (stored,) = put(store, member)
    (index,) = put(store, f"{stored}\t1\traw\t-\t{stored}\t1\t00001:0\n".encode())
    manifest, state = put(store, b"manifest%d" % sequence, b"state%d" % sequence)
    return BundleRecord("hq", 1, sequence, "delta", manifest, "", state, index, NOON, 1, 1, **times)  # type: ignore[arg-type]


def test_members_stay_while_a_bundle_may_be_sent_again(store: Store) -> None:
    with store.ledger.write() as tx:
        for sequence in range(1, 5):
            tx.add_bundle(bundle(store, sequence, b"m%d" % sequence, sent=NOON))
        tx.add_bundle(bundle(store, 5, b"m5"))  # released, not sent

    def members() -> list[int]:
        return [n for n in range(1, 6) if store.blobs.has(sha256_of(b"m%d" % n))]

    collect(store, resend={"hq": 3})
    assert members() == [3, 4, 5]
    with store.ledger.write() as tx:
        tx.update_bundle("hq", 1, 5, sent=NOON)
    collect(store, resend={"hq": 0})
    assert members() == [5]
    # Manifests stay as long as the ledger speaks of the bundle.
    assert store.blobs.has(sha256_of(b"manifest1"))
    with store.ledger.write() as tx:
        tx.drop_bundle("hq", 1, 1)
    collect(store)
    assert not store.blobs.has(sha256_of(b"manifest1"))


def test_members_stay_until_a_bundle_is_imported(store: Store) -> None:
    arriving = bundle(store, 1, b"arrived", received=NOON)
    with store.ledger.write() as tx:
        tx.add_bundle(arriving)
        tx.add_bundle(
            BundleRecord("hq", 1, 2, "delta", sha256_of(b"x"), "", sha256_of(b"y"),
                         sha256_of(b"not here yet"), NOON, 1, 1, received=NOON)
        )  # fmt: skip
    collect(store)
    assert store.blobs.has(sha256_of(b"arrived"))
    with store.ledger.write() as tx:
        tx.update_bundle("hq", 1, 1, imported=NOON)
    collect(store)
    assert not store.blobs.has(sha256_of(b"arrived"))


@pytest.mark.parametrize("harm", ["damage", "lose"])
def test_nothing_is_removed_when_a_tree_cannot_be_read(store: Store, harm: str) -> None:
    kept = keep(store, b"a")
    put(store, b"garbage")
    with store.ledger.write() as tx:
        tx.add_snapshot(snapshot(1, kept))
    path = store.blobs.path(kept.digest)
    if harm == "lose":
        path.unlink()
    else:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b"f0", b"f1"))
    before = left(store)
    with pytest.raises(errors.StoreError, match="snapshot 1 of baseos") as caught:
        collect(store)
    assert "verify --repair" in caught.value.remedy
    assert left(store) == before


def test_gc_waits_for_nobody_by_default(store: Store) -> None:
    put(store, b"not committed yet")
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with store.locks.shared():
            entered.set()
            leave.wait(60)

    thread = threading.Thread(target=work)
    thread.start()
    entered.wait(60)
    with pytest.raises(errors.StoreBusy):
        collect(store)
    assert collect(store, dry_run=True).removed == 1
    assert store.blobs.has(sha256_of(b"not committed yet"))
    leave.set()
    assert collect(store, wait=20).removed == 1
    thread.join()


def test_scratch_of_dead_processes_is_removed(store: Store) -> None:
    dead = store.folder / "scratch" / "check-dead"
    dead.mkdir(parents=True)
    (dead / "x").write_text("x")
    collect(store)
    assert not dead.exists()


def test_marks_come_back_sorted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store.marks._RUN", 3)
    monkeypatch.setattr("store.marks._BLOCK", 50)
    marks = Marks(tmp_path)
    digests = [sha256_of(b"%d" % number) for number in range(10)]
    for digest in digests[:5] * 3:
        marks.add(digest)
    text = tmp_path / "text"
    text.write_text("".join(f"{digest}\tx{digest}\tab{digest}f\n" for digest in digests[5:]))
    with text.open("rb") as file:
        marks.add_words(file)
    # "x" ends a word; "ab...f" is hexadecimal that is too long for a digest.
    assert list(marks.ascending()) == sorted(digests)
