"""Roots in the ledger, and a ledger that was made before there were any."""

from __future__ import annotations

from pathlib import Path

from manifests.digest import Digest, sha256_of
from store.ledger import Ledger
from store.records import Closure, Fetched, RootKind
from store.seam import Seam


def test_roots_are_added_once_listed_and_dropped(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "l.sqlite", Seam(), actor="ann")
    long = "x/" * 500 + "y.jar"
    with ledger.write() as tx:
        assert tx.add_roots("central", RootKind.CAPTURED, [long, "a.jar", "a.jar"]) == [
            long,
            "a.jar",
        ]
        assert tx.add_roots("central", RootKind.WANT, ["a.jar", "g:a:1"], "bob") == ["g:a:1"]
        tx.add_roots("other", RootKind.CAPTURED, ["a.jar"])
    with ledger.read() as tx:
        found = [(one.kind, one.root, one.by) for one in tx.roots("central")]
        assert found == [
            (RootKind.CAPTURED, "a.jar", "ann"),
            (RootKind.CAPTURED, long, "ann"),
            (RootKind.WANT, "g:a:1", "bob"),
        ]
        assert tx.root_count("central", RootKind.CAPTURED) == 2
        assert len(tx.roots()) == 4
    with ledger.write() as tx:
        assert tx.drop_root("central", "a.jar")
        assert not tx.drop_root("central", "a.jar")
    with ledger.read() as tx:
        assert tx.is_root("other", "a.jar")
        assert not tx.is_root("central", "a.jar")
    ledger.close()


def test_files_and_closures_are_remembered(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "l.sqlite", Seam())
    one = Fetched("g/a/1/a-1.jar", sha256_of(b"one"), 3, "sha1 " + "0" * 40)
    two = Fetched("g/a/1/a-1.pom", sha256_of(b"two"), 3)
    newer = Fetched("g/a/1/a-1.pom", sha256_of(b"new"), 4)
    closure = Closure(
        "artifacts", Digest("0" * 64), ("a", "b"), {"g:a:1": "gone"}, ledger.now(), {"m.xml": ""}
    )
    with ledger.write() as tx:
        tx.add_fetched("r", [one, two, newer])
        tx.set_closure("r", closure)
    with ledger.read() as tx:
        assert tx.all_fetched("r") == [one, newer]
        assert tx.fetched("r", one.path) == one
        assert tx.fetched("s", one.path) is None
        assert set(tx.fetched_digests()) == {one.digest, newer.digest}
        assert tx.closures("r") == {"artifacts": closure}
    with ledger.write() as tx:
        tx.forget_fetched("r", [one.path, "never there"])
        assert tx.drop_closure("r", "artifacts")
    with ledger.read() as tx:
        assert tx.all_fetched("r") == [newer]
        assert tx.closures("r") == {}
    ledger.close()
