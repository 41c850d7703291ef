"""What every blob store must do, whatever it keeps its bytes in."""

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from manifests import errors
from manifests.digest import Digest, sha256_of
from store.blobs import BlobStore, LocalBlobs
from store.seam import Seam

MAKERS: dict[str, Callable[[Path], BlobStore]] = {
    "local": lambda root: LocalBlobs(root / "blobs", Seam()),
}
BIG = bytes(range(256)) * (40 << 10) + b"end"  # over 10 MiB: hashed by the helper thread


@pytest.fixture(params=sorted(MAKERS))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return MAKERS[request.param](tmp_path)


def put(store: BlobStore, data: bytes) -> Digest:
    with store.batch() as batch:
        return batch.put_bytes(data)[0]


def content(store: BlobStore, digest: Digest) -> bytes:
    with store.open(digest) as body:
        return body.read()


def pieces(data: bytes, by: int) -> Iterator[bytes]:
    for start in range(0, len(data), by):
        yield data[start : start + by]


@pytest.mark.parametrize("data", [b"", b"x", BIG], ids=["empty", "one", "big"])
def test_bytes_come_back_under_their_digest(store: BlobStore, data: bytes) -> None:
    with store.batch() as batch:
        digest, size = batch.put_bytes(data)
    assert digest == hashlib.sha256(data).hexdigest()
    assert size == store.size(digest) == len(data)
    assert store.has(digest)
    assert content(store, digest) == data
    assert store.path(digest).read_bytes() == data
    store.verify(digest)


@pytest.mark.parametrize("by", [1000, 1 << 20, (3 << 20) + 1, 64 << 20])
def test_streams_of_any_grain_give_the_same_blob(store: BlobStore, by: int) -> None:
    with store.batch() as batch:
        got = batch.put_stream(pieces(BIG, by), expected=sha256_of(BIG), size=len(BIG))
    assert got == (sha256_of(BIG), len(BIG))
    store.verify(got[0])


def test_an_absent_blob_is_missing_in_every_way(store: BlobStore) -> None:
    absent = sha256_of(b"never put")
    assert not store.has(absent)
    for ask in (store.size, store.open, store.path, store.verify, store.quarantine_damaged):
        with pytest.raises(errors.BlobMissing) as caught:
            ask(absent)
        assert caught.value.remedy
    store.delete(absent)


def test_no_outside_text_becomes_a_name(store: BlobStore) -> None:
    for text in ("../../etc/passwd", "A" * 64, "", "ab/" + "0" * 61):
        with pytest.raises(ValueError, match="not a digest"):
            store.has(Digest(text))


def test_other_bytes_than_expected_are_refused_and_not_kept(store: BlobStore) -> None:
    good, bad = sha256_of(b"good"), sha256_of(b"bad")
    with store.batch() as batch:
        with pytest.raises(errors.BlobDamaged):
            batch.put_bytes(b"bad", expected=good)
        with pytest.raises(errors.BlobDamaged):
            batch.put_stream([b"bad"], expected=good)
        writer = batch.writer(good, 3)
        writer.write(b"bad")
        with pytest.raises(errors.BlobDamaged):
            writer.finish()
        kept, _ = batch.put_bytes(b"kept")
    assert list(store.digests()) == [kept]
    assert not store.has(bad)


def test_sizes_are_held_before_more_is_written(store: BlobStore) -> None:
    given = []

    def endless() -> Iterator[bytes]:
        while True:
            given.append(1)
            yield bytes(1 << 20)

    with store.batch() as batch:
        with pytest.raises(errors.OversizedIndex):
            batch.put_stream(endless(), limit=5 << 20)
        assert len(given) == 6
        with pytest.raises(errors.BlobDamaged):
            batch.put_stream(endless(), size=5 << 20)
        with pytest.raises(errors.BlobDamaged):
            batch.put_stream([b"short"], size=6)
    assert list(store.digests()) == []


def test_a_blob_that_is_there_is_not_read_again(store: BlobStore) -> None:
    digest = put(store, b"data")

    def untouchable() -> Iterator[bytes]:
        raise AssertionError("was read")
        yield b""

    with store.batch() as batch:
        assert batch.put_stream(untouchable(), expected=digest) == (digest, 4)
        with pytest.raises(errors.BlobDamaged):
            batch.put_stream(untouchable(), expected=digest, size=5)


def test_the_same_blob_many_times_in_one_batch_is_one_blob(store: BlobStore) -> None:
    with store.batch() as batch:
        for _ in range(3):
            digest, _ = batch.put_bytes(b"same")
            batch.put_stream([b"sa", b"me"])
        assert batch.has(digest)
    assert list(store.digests()) == [digest]


def test_an_exception_leaves_nothing_of_the_batch(store: BlobStore, tmp_path: Path) -> None:
    def fail() -> None:
        with store.batch() as batch:
            batch.put_bytes(b"lost")
            open_writer = batch.writer()
            open_writer.write(BIG)
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert list(store.digests()) == []
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert store.has(put(store, b"lost"))


def test_flush_makes_blobs_visible_within_the_batch(store: BlobStore) -> None:
    digest = sha256_of(b"early")

    def fail() -> None:
        with store.batch() as batch:
            batch.put_bytes(b"early")
            batch.flush()
            assert store.has(digest)
            batch.put_bytes(b"late")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError):
        fail()
    assert list(store.digests()) == [digest]


def test_a_batch_that_ended_accepts_nothing(store: BlobStore) -> None:
    with store.batch() as batch:
        pass
    with pytest.raises(errors.StoreError):
        batch.put_bytes(b"x")
    with pytest.raises(errors.StoreError):
        batch.flush()


def test_a_writer_takes_chunks_reused_buffers_and_file_ranges(
    store: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "source").write_bytes(BIG)
    want = b"head" + BIG[5 : 9 << 20] + bytes(1 << 20) + bytes([7]) * (1 << 20)
    with store.batch() as batch, (tmp_path / "source").open("rb") as source:
        writer = batch.writer(sha256_of(want), len(want))
        writer.write(b"head")
        writer.copy_range(source.fileno(), 5, (9 << 20) - 5)
        buffer = bytearray(1 << 20)
        writer.write(buffer)
        buffer[:] = bytes([7]) * len(buffer)
        writer.write(memoryview(buffer))
        buffer[:] = bytes(len(buffer))
        digest, size = writer.finish()
        writer.abort()
        aborted = batch.writer()
        aborted.write(b"never")
        aborted.abort()
    assert size == len(want)
    assert content(store, digest) == want
    assert list(store.digests()) == [digest]


def test_an_adopted_file_is_a_blob_of_its_own_after_the_name_is_gone(
    store: BlobStore, tmp_path: Path
) -> None:
    mine = tmp_path / "mine.rpm"
    mine.write_bytes(BIG)
    with store.batch() as batch:
        digest, size = batch.adopt(mine, sha256_of(BIG))
        assert batch.adopt(mine) == (digest, size)
    mine.unlink()
    assert (size, content(store, digest)) == (len(BIG), BIG)


def test_adopt_and_put_file_refuse_links_folders_pipes_and_other_bytes(
    store: BlobStore, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with store.batch() as batch:
        for name in ("link", "folder", "pipe"):
            for add in (batch.adopt, batch.put_file):
                with pytest.raises(errors.StoreError, match="not a regular file"):
                    add(tmp_path / name)
        for add in (batch.adopt, batch.put_file):
            with pytest.raises(errors.BlobDamaged):
                add(tmp_path / "file", sha256_of(b"other"))
            with pytest.raises(FileNotFoundError):
                add(tmp_path / "gone")
    assert list(store.digests()) == []


def test_a_copied_file_stays_the_owners(store: BlobStore, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.write_bytes(b"theirs")
    theirs.chmod(0o640)
    with store.batch() as batch:
        digest, _ = batch.put_file(theirs)
    theirs.write_bytes(b"edited")
    assert theirs.stat().st_mode & 0o777 == 0o640
    store.verify(digest)


def test_digests_are_listed_in_order(store: BlobStore) -> None:
    want = sorted(put(store, str(n).encode()) for n in range(40))
    assert list(store.digests()) == want


def test_a_deleted_blob_is_gone_and_can_come_back(store: BlobStore) -> None:
    digest = put(store, b"data")
    store.delete(digest)
    assert not store.has(digest)
    assert put(store, b"data") == digest
    assert content(store, digest) == b"data"


def test_a_damaged_blob_is_found_set_aside_and_replaced(store: BlobStore) -> None:
    digest = put(store, b"data")
    for _ in range(2):
        place = store.path(digest)
        place.chmod(0o644)
        place.write_bytes(b"dama")
        with pytest.raises(errors.BlobDamaged) as caught:
            store.verify(digest)
        assert caught.value.remedy
        assert store.quarantine_damaged(digest).read_bytes() == b"dama"
        assert not store.has(digest)
        put(store, b"data")
        store.verify(digest)


def test_threads_share_a_batch(store: BlobStore) -> None:
    def work(seed: int) -> None:
        for n in range(100):
            batch.put_bytes(f"{n}".encode())
            batch.put_stream([f"{seed}-{n}".encode()])

    with store.batch() as batch:
        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(store.digests())) == 500
    for digest in store.digests():
        store.verify(digest)


def test_free_bytes_is_known_before_the_first_blob(store: BlobStore) -> None:
    assert store.free_bytes() > 0
