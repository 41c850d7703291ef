"""Any interleaving of gc with sync, pack and receive: nothing named is lost, no garbage stays.

Work goes on under the shared lock over several steps: blobs are put and flushed, later
committed by name or given up. In between, everything else happens, gc above all.
"""

import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
)

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.state import Snapshot
from manifests.tree import Entry
from store.gc import GRACE, collect
from store.records import BundleRecord, PinKind, Publication, StoredSnapshot
from store.store import KeptTree, Store
from tests.support.soaking import examples

NOON = datetime(2031, 5, 1, 12, 0, 0, tzinfo=UTC)
bodies = st.lists(st.integers(0, 7), min_size=1, max_size=3, unique=True)


class Interleavings(RuleBasedStateMachine):
    """A store, and a model of what its ledger names."""

    working = Bundle("working")
    kept = Bundle("kept")

    def __init__(self) -> None:
        super().__init__()
        self.cleanup = ExitStack()
        folder = self.cleanup.enter_context(tempfile.TemporaryDirectory(prefix="sluice-gc-"))
        self.time = NOON
        self.store = self.cleanup.enter_context(
            Store.open(Path(folder) / "store", clock=lambda: self.time)
        )
        self.number = 0
        self.contents: dict[Digest, set[Digest]] = {}
        self.open_work: dict[int, ExitStack] = {}
        self.snapshots: dict[int, KeptTree] = {}
        self.live: tuple[int, KeptTree] | None = None
        self.past: list[tuple[datetime, KeptTree]] = []
        self.pinned: dict[str, set[Digest]] = {}
        self.unsent: dict[int, set[Digest]] = {}
        self.newest: tuple[int, set[Digest]] | None = None
        self.manifests: set[Digest] = set()

    def teardown(self) -> None:
        for work in self.open_work.values():
            work.close()
        self.open_work.clear()
        collect(self.store)
        assert set(self.store.blobs.digests()) == self.named()
        self.cleanup.close()

    def named(self) -> set[Digest]:
        trees = list(self.snapshots.values())
        if self.live is not None:
            trees.append(self.live[1])
        trees += [tree for replaced, tree in self.past if replaced >= self.time - GRACE]
        found = set(self.manifests)
        for tree in trees:
            found |= self.content(tree)
        for digests in (*self.pinned.values(), *self.unsent.values()):
            found |= digests
        return found | (self.newest[1] if self.newest else set())

    def content(self, tree: KeptTree) -> set[Digest]:
        return self.contents[tree.digest] | {tree.digest}

    @rule(target=working, numbers=bodies)
    def put(self, numbers: list[int]) -> tuple[int, KeptTree]:
        """Sync or receive: blobs and their tree are durable, nothing names them yet."""
        work = ExitStack()
        work.enter_context(self.store.locks.shared())
        with self.store.blobs.batch() as batch:
            entries = [
                Entry(f"f{number}", *batch.put_bytes(b"body%d" % number))
                for number in sorted(numbers)
            ]
        tree = self.store.keep_tree(entries)
        self.contents[tree.digest] = {entry.digest for entry in entries}
        self.number += 1
        self.open_work[self.number] = work
        return self.number, tree

    @rule(target=kept, work=consumes(working))
    def commit(self, work: tuple[int, KeptTree]) -> int:
        number, tree = work
        snapshot = Snapshot("r", "files", number, tree.digest, tree.size, tree.files, tree.bytes,
                            NOON)  # fmt: skip
        with self.store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot("", snapshot))
        self.snapshots[number] = tree
        self.open_work.pop(number).close()
        return number

    @rule(work=consumes(working))
    def give_up(self, work: tuple[int, KeptTree]) -> None:
        self.open_work.pop(work[0]).close()

    @rule(number=kept)
    def publish(self, number: int) -> None:
        if number not in self.snapshots:
            return
        tree = self.snapshots[number]
        with self.store.ledger.write() as tx:
            tx.publish([Publication("r", "", "files", "r", number, tree.digest, None, self.time)])
        if self.live is not None:
            self.past.append((self.time, self.live[1]))
        self.live = (number, tree)

    @rule(number=consumes(kept))
    def drop(self, number: int) -> None:
        with self.store.ledger.write() as tx:
            if self.live is not None and self.live[0] == number:
                with pytest.raises(errors.StoreError):
                    tx.drop_snapshot("", "r", number)
                return
            tx.drop_snapshot("", "r", number)
        self.snapshots.pop(number, None)

    @rule(work=consumes(working), kind=st.sampled_from(list(PinKind)))
    def pin(self, work: tuple[int, KeptTree], kind: PinKind) -> None:
        number, tree = work
        key = f"pin{number}"
        digests = sorted(self.contents[tree.digest])
        if kind is PinKind.TREES:
            named, kept = [tree.digest], self.content(tree)
        elif kind is PinKind.LISTS:
            with self.store.blobs.batch() as batch:
                text, _ = batch.put_bytes("".join(f"{digest}\n" for digest in digests).encode())
            named, kept = [text], {text, *digests}
        else:
            named, kept = digests, set(digests)
        with self.store.ledger.write() as tx:
            tx.pin(key, named, kind)
        self.pinned[key] = kept
        self.open_work.pop(number).close()

    @precondition(lambda self: self.pinned)
    @rule(data=st.data())
    def unpin(self, data: Any) -> None:
        key = data.draw(st.sampled_from(sorted(self.pinned)))
        with self.store.ledger.write() as tx:
            tx.unpin(key)
        del self.pinned[key]

    @rule(work=consumes(working))
    def pack(self, work: tuple[int, KeptTree]) -> None:
        number, tree = work
        members = sorted(self.contents[tree.digest])
        with self.store.blobs.batch() as batch:
            lines = "".join(f"{d}\t5\traw\t-\t{d}\t5\t00001:0\n" for d in members)
            index, _ = batch.put_bytes(lines.encode())
            manifest, _ = batch.put_bytes(b"manifest%d" % number)
            state, _ = batch.put_bytes(b"state%d" % number)
        with self.store.ledger.write() as tx:
            tx.add_bundle(
                BundleRecord("hq", 1, number, "delta", manifest, "", state, index, NOON, 1, 1)
            )
        self.manifests |= {manifest, state}
        self.unsent[number] = {index, *members}
        if self.newest is None or self.newest[0] < number:
            self.newest = (number, self.unsent[number])
        self.open_work.pop(number).close()

    @precondition(lambda self: self.unsent)
    @rule(data=st.data())
    def send(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.unsent)))
        with self.store.ledger.write() as tx:
            tx.update_bundle("hq", 1, number, sent=NOON)
        del self.unsent[number]

    @rule(hours=st.integers(1, 30))
    def wait(self, hours: int) -> None:
        self.time += timedelta(hours=hours)

    @rule()
    def gc(self) -> None:
        before = set(self.store.blobs.digests())
        if self.open_work:
            with pytest.raises(errors.StoreBusy):
                collect(self.store)
            assert set(self.store.blobs.digests()) == before
            return
        done = collect(self.store)
        assert set(self.store.blobs.digests()) == self.named()
        assert done.removed == len(before) - len(self.named())

    @invariant()
    def nothing_named_is_lost(self) -> None:
        assert all(self.store.blobs.has(digest) for digest in self.named())


Interleavings.TestCase.settings = settings(
    max_examples=examples(25),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestInterleavings = Interleavings.TestCase


def test_a_blob_may_be_garbage_and_come_back(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        for _ in range(2):
            with store.blobs.batch() as batch:
                batch.put_bytes(b"again")
            assert store.blobs.has(sha256_of(b"again"))
            assert collect(store).removed == 1


WRITER = """
import sys
from pathlib import Path
from datetime import UTC, datetime
from manifests.state import Snapshot
from manifests.tree import Entry
from store.records import StoredSnapshot
from store.store import Store

me = int(sys.argv[2])
with Store.open(Path(sys.argv[1])) as store:
    for turn in range(12):
        serial = me * 1000 + turn
        with store.locks.shared():
            with store.blobs.batch() as batch:
                # The first is put again and again by all, and is garbage in between.
                entries = [Entry(n, *batch.put_bytes(n.encode())) for n in ("all", f"own{serial}")]
            kept = store.keep_tree(entries)
            now = datetime.now(UTC)
            with store.ledger.write() as tx:
                tx.add_snapshot(StoredSnapshot("", Snapshot(
                    f"r{me}", "files", serial, kept.digest, kept.size, 2, kept.bytes, now)))
        assert not list(store.missing(kept.digest)), serial
        with store.ledger.write() as tx:
            tx.drop_snapshot("", f"r{me}", serial)
"""


def test_gc_and_writers_in_other_processes(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with Store.open(folder) as store:
        writers = [
            subprocess.Popen([sys.executable, "-c", WRITER, str(folder), str(me)])
            for me in range(2)
        ]
        removed = 0
        while any(writer.poll() is None for writer in writers):
            with suppress(errors.StoreBusy):
                removed += collect(store, wait=0.2).removed
        assert [writer.wait() for writer in writers] == [0, 0]
        removed += collect(store).removed
        assert list(store.blobs.digests()) == []
        assert removed >= 48  # each writer's own blobs and trees, and the common one
