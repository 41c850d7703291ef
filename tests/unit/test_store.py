"""The store as one thing: opening, trees, views, space."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import errors
from manifests.digest import sha256_of
from manifests.tree import Entry, Tree, encode
from store.store import Store
from store.views import StoredView, laid_over


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


def keep(store: Store, files: dict[str, bytes]) -> list[Entry]:
    with store.blobs.batch() as batch:
        return [
            Entry(path, *batch.put_bytes(files[path]))
            for path in sorted(files, key=lambda path: path.encode())
        ]


def test_a_tree_is_kept_with_its_totals(store: Store) -> None:
    entries = keep(store, {"a": b"1", "b/c": b"22", "é": b"1"})
    kept = store.keep_tree(iter(entries))
    assert (kept.files, kept.bytes) == (3, 4)
    assert kept.size == store.blobs.size(kept.digest) == store.tree(kept.digest).size
    assert list(store.tree(kept.digest).entries()) == entries
    assert store.keep_tree([]).files == 0


def test_a_bad_tree_is_not_kept(store: Store) -> None:
    with pytest.raises(errors.MalformedTree):
        store.keep_tree(reversed(keep(store, {"a": b"1", "b": b"2"})))
    with pytest.raises(errors.BadPath):
        store.keep_tree([Entry("../a", sha256_of(b""), 0)])


def test_the_overlay_lies_over_the_tree(store: Store) -> None:
    tree = store.keep_tree(keep(store, {"a": b"old", "d/x": b"x", ".sluice/f": b"f"}))
    over = store.keep_tree(keep(store, {"a": b"new", "d/y": b"y", "e": b"e"}))
    view = store.view(tree.digest, over.digest)
    assert view.open("a").read() == b"new"
    assert view.local("d/x").read_bytes() == b"x"
    assert [e.path for e in view.entries()] == [".sluice/f", "a", "d/x", "d/y", "e"]
    assert [e.path for e in view.entries("d/")] == ["d/x", "d/y"]
    assert [name for name, _ in view.children("")] == [".sluice", "a", "d", "e"]
    assert [(name, entry is None) for name, entry in view.children("d")] == [
        ("x", False), ("y", False),
    ]  # fmt: skip
    assert view.has_folder("d") and not view.has_folder("a")
    with pytest.raises(KeyError):
        view.open("nothing")


paths = st.lists(st.sampled_from(["a", "b", "a.b", "a-", "c"]), min_size=1, max_size=3).map(
    "/".join
)


@given(st.dictionaries(paths, st.just(1)), st.dictionaries(paths, st.just(2)))
def test_merging_equals_one_tree(under: dict[str, int], over: dict[str, int]) -> None:
    def tree(sizes: dict[str, int]) -> Tree:
        entries = (
            Entry(path, sha256_of(b""), sizes[path])
            for path in sorted(sizes, key=lambda path: path.encode())
        )
        return Tree(b"".join(encode(entries)))

    both = tree(under | over)
    view = StoredView(tree(under), tree(over), None, lambda *_: "")  # type: ignore[arg-type]
    assert list(view.entries()) == list(both.entries())
    assert list(laid_over(tree(under).entries(), tree(over).entries())) == list(both.entries())
    for path in {"", "a", "a/b", "a.b", *under, *over}:
        assert list(view.children(path)) == list(both.children(path))
        assert view.has_folder(path) == both.has_folder(path)
        assert view.lookup(path) == both.lookup(path)


def test_checksums_of_many_blobs_are_asked_for_at_once(tmp_path: Path) -> None:
    bodies = [f"{number}".encode() for number in range(1200)]
    expected = [hashlib.md5(body).hexdigest() for body in bodies]
    with Store.open(tmp_path / "store") as store:
        with store.blobs.batch() as batch:
            digests = [batch.put_bytes(body)[0] for body in bodies]
        assert store.checksums.values(digests[::2], "md5") == expected[::2]
        store.checksums.save(601)  # not that many
        with store.ledger.read() as tx:
            assert tx.checksums(digests, "md5") == {}
        store.checksums.save(600)
        with store.ledger.read() as tx:
            assert tx.checksums(digests, "md5") == dict(
                zip(digests[::2], expected[::2], strict=True)
            )
            assert tx.checksums(digests, "sha1") == {}
        assert store.checksums.values([*digests, digests[0]], "md5") == [*expected, expected[0]]
        store.checksums.save()
    with Store.open_read_only(tmp_path / "store") as reader:
        for digest in digests:
            reader.blobs.path(digest).unlink()  # so that nothing can be computed
        assert reader.checksums.values(digests, "md5") == expected


def test_checksums_are_computed_once(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        tree = store.keep_tree(keep(store, {"a": b"body"}))
        view = store.view(tree.digest)
        sha1 = hashlib.sha1(b"body").hexdigest()
        assert view.checksum("a", "sha256") == sha256_of(b"body")
        assert view.checksum("a", "sha1") == sha1
        with pytest.raises(ValueError, match="not a checksum"):
            view.checksum("a", "shake_128")
        store.checksums.save()
    with Store.open_read_only(tmp_path / "store") as reader:
        with reader.ledger.read() as tx:
            assert tx.checksum(sha256_of(b"body"), "sha1") == sha1
        assert reader.view(tree.digest).checksum("a", "sha1") == sha1
        assert reader.view(tree.digest).checksum("a", "md5") == hashlib.md5(b"body").hexdigest()
        reader.checksums.save()  # nothing to write with, and nothing lost


def test_missing_names_what_is_not_there(store: Store) -> None:
    entries = keep(store, {"a": b"1", "b": b"2"})
    lost = Entry("c", sha256_of(b"never"), 5)
    lying = Entry("d", sha256_of(b"1"), 7)
    tree = store.keep_tree([*entries, lost, lying])
    assert list(store.missing(tree.digest)) == [lost, lying]
    with pytest.raises(errors.BlobMissing):
        list(store.missing(sha256_of(b"no tree")))


def test_the_reserve_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store", reserve_free=1 << 20) as store:
        free = store.blobs.free_bytes()
        store.require_free(free // 2, "sync")
        with pytest.raises(errors.NoSpace) as caught:
            store.require_free(free, "sync of baseos")
        assert "sync of baseos" in caught.value.what
        assert "sluice gc" in caught.value.remedy


def test_a_folder_of_another_version_or_none(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with pytest.raises(errors.StoreError, match="no store here"):
        Store.open_read_only(folder)
    Store.open(folder).close()
    (folder / "VERSION").write_text("2\n")
    for opener in (Store.open, Store.open_read_only):
        with pytest.raises(errors.WrongVersion):
            opener(folder)
    (folder / "VERSION").unlink()
    (folder / "blobs").mkdir(exist_ok=True)
    with pytest.raises(errors.StoreError, match="VERSION"):
        Store.open(folder)


def test_scratch_ends_with_its_use(store: Store) -> None:
    with pytest.raises(RuntimeError), store.scratch("sync") as place:
        (place / "x").write_text("x")
        raise RuntimeError
    assert not list((store.folder / "scratch").iterdir())
