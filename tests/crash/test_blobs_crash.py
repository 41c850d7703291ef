"""Blobs under kills, power cuts, refusing disks and a disk that is really full."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.durable import Durable
from store.blobs import LocalBlobs
from store.seam import Kind, Operation, Seam
from tests.crash.harness import (
    NEEDS_SPACE,
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)

BYTES, STREAM, ADOPTED = b"bytes" * 10, b"stream" * 100, b"adopted" * 10
MANY = [sha256_of(data) for data in (BYTES, STREAM, ADOPTED)]


def open_store(root: Path, files: Durable) -> LocalBlobs:
    return LocalBlobs(root / "blobs", files)


def store_three(root: Path, files: Durable) -> None:
    own = root / "fetched"
    if not own.exists():
        own.write_bytes(ADOPTED)  # as rsync would: not synced
    with open_store(root, files).batch() as batch:
        batch.put_bytes(BYTES)
        batch.put_stream([STREAM[:50], STREAM[50:]])
        if own.stat().st_size == len(ADOPTED) and own.read_bytes() == ADOPTED:
            batch.adopt(own, MANY[2])
        else:  # a power cut took bytes of the fetched file: fetched again
            batch.put_bytes(ADOPTED)
    files.committed("three")


def check_whole(root: Path, wanted: list[Digest]) -> None:
    store = open_store(root, Seam())
    for digest in store.digests():
        store.verify(digest)
    for digest in wanted:
        store.verify(digest)
    with store.batch():
        left = os.listdir(root / "blobs" / ".tmp")
    assert len(left) == 1, "only the batch's own lock"


def check_three(root: Path, promised: list[str]) -> None:
    check_whole(root, MANY if promised else [])


THREE = Scenario(store_three, check_three)


def only_tmp(operation: Operation, turn: int) -> bool:
    """The first fsync of ``blobs`` covers just ``.tmp``; that of the prefixes covers it again."""
    return operation.kind is Kind.SYNC_DIR and operation.path.name == "blobs" and turn == 1


def test_a_batch_survives_a_kill_at_each_operation(tmp_path: Path) -> None:
    assert kill_at_each(THREE, tmp_path) > 20


def test_a_batch_survives_a_power_cut_at_each_operation(tmp_path: Path) -> None:
    assert cut_power_at_each(THREE, tmp_path) > 100


def test_every_fsync_of_a_batch_is_needed(tmp_path: Path) -> None:
    # The store's folder into root, three files, the prefixes into blobs, three prefixes.
    assert assert_every_sync_needed(THREE, tmp_path, only_tmp) == 8


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_a_refused_operation_of_a_batch_harms_nothing(tmp_path: Path, code: int) -> None:
    assert fail_at_each(THREE, tmp_path, code) > 20


def test_a_disk_that_stays_full_or_broken_harms_nothing(tmp_path: Path) -> None:
    fail_at_each(THREE, tmp_path, errno.ENOSPC, kinds=NEEDS_SPACE, lasting=True)
    fail_at_each(THREE, tmp_path, errno.EIO, lasting=True)


def test_a_blob_found_present_becomes_durable_although_its_writer_died(tmp_path: Path) -> None:
    digest = sha256_of(BYTES)
    place = Path("blobs") / digest[:2] / digest

    def run(root: Path, files: Durable) -> None:
        if not (root / place).exists():
            # What a batch does up to the moment before it syncs the folder.
            with files.create(root / "half") as out:
                out.write(BYTES)
                out.sync()
            files.rename(root / "half", root / place)
        with open_store(root, files).batch() as batch:
            assert batch.has(digest)
        files.committed("present")

    def setup(root: Path) -> None:
        with open_store(root, Seam()).batch() as batch:
            batch.put_bytes(BYTES)
        (root / place).unlink()

    def check(root: Path, promised: list[str]) -> None:
        (root / "half").unlink(missing_ok=True)
        check_whole(root, [digest] if promised else [])

    scenario = Scenario(run, check, setup)
    cut_power_at_each(scenario, tmp_path)
    # Preparing the store syncs what setup has made durable.
    assert (
        assert_every_sync_needed(
            scenario, tmp_path, lambda op, _: op.path.name in ("record", "blobs")
        )
        == 2
    )


def test_setting_a_damaged_blob_aside_survives(tmp_path: Path) -> None:
    digest = sha256_of(BYTES)

    def setup(root: Path) -> None:
        with open_store(root, Seam()).batch() as batch:
            batch.put_bytes(BYTES)
        place = open_store(root, Seam()).path(digest)
        place.chmod(0o644)
        place.write_bytes(b"damaged")

    def run(root: Path, files: Durable) -> None:
        store = open_store(root, files)
        if store.has(digest):
            store.quarantine_damaged(digest)
        files.committed("aside")

    def check(root: Path, promised: list[str]) -> None:
        store = open_store(root, Seam())
        # A power cut may leave it under both names; then it is set aside twice.
        aside = {p.read_bytes() for p in (root / "blobs" / ".damaged").glob("*")}
        assert store.has(digest) or aside == {b"damaged"}
        if promised:
            assert not store.has(digest)

    scenario = Scenario(run, check, setup)
    kill_at_each(scenario, tmp_path)
    cut_power_at_each(scenario, tmp_path)
    assert assert_every_sync_needed(scenario, tmp_path) == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    point = tmp_path / "small"
    point.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs", str(point)]
    subprocess.run(mount, check=True)
    try:
        yield point
    finally:
        subprocess.run(["umount", str(point)], check=True)


def test_a_full_disk_is_reported_and_nothing_is_lost(small_disk: Path) -> None:
    store = open_store(small_disk, Seam())
    with store.batch() as batch:
        kept, _ = batch.put_bytes(b"kept")
    free = store.free_bytes()
    assert free < 8 << 20

    def fill() -> None:
        with store.batch() as batch:
            batch.put_bytes(b"small")
            batch.put_stream(bytes([n]) * (1 << 20) for n in range(20))

    with pytest.raises(errors.NoSpace) as caught:
        fill()
    assert caught.value.remedy
    assert list(store.digests()) == [kept]
    assert store.free_bytes() == free
    with store.batch() as batch, pytest.raises(errors.NoSpace):
        batch.put_bytes(bytes(9 << 20))
    with store.batch() as batch:
        digest, _ = batch.put_stream(bytes([n]) * (1 << 20) for n in range(5))
    store.verify(digest)
    store.verify(kept)


def test_one_blob_too_large_costs_a_batch_nothing_else(small_disk: Path) -> None:
    store = open_store(small_disk, Seam())
    with store.batch() as batch:
        first, _ = batch.put_bytes(b"first")
        with pytest.raises(errors.NoSpace):
            batch.put_stream(bytes([n]) * (1 << 20) for n in range(20))
        second, _ = batch.put_bytes(bytes(4 << 20))
    for digest in (first, second):
        store.verify(digest)
