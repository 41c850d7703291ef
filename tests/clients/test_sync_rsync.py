"""Mirroring from a real rsync daemon."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from manifests import errors
from manifests.zone.model import Connection
from mirror.commit import last_sync
from tests.clients.syncing import FAST, Mirror, open_store, repository
from tests.conftest import RsyncdFactory
from tests.support import samples
from tests.support.rpms import RpmCache
from tests.support.yumrepo import YumRepo


def upstream_files(repo: YumRepo) -> dict[str, bytes]:
    return {
        path.relative_to(repo.root).as_posix(): path.read_bytes()
        for path in repo.root.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def mirror(tmp_path: Path, vendor_repo: YumRepo, rsyncd: RsyncdFactory) -> Iterator[Mirror]:
    daemon = rsyncd({"baseos": vendor_repo.root})
    with open_store(tmp_path / "store") as store:
        yield Mirror(store, repository(daemon.url("baseos")))


def test_first_sync_holds_every_byte_of_the_upstream(mirror: Mirror, vendor_repo: YumRepo) -> None:
    report = mirror.sync()
    assert report.snapshot is not None and report.snapshot.serial == 1
    expected = upstream_files(vendor_repo)
    assert set(mirror.paths()) == set(expected)
    assert all(mirror.content(path) == data for path, data in expected.items())
    assert report.added == report.snapshot.files == len(expected)
    assert report.bytes_needed == report.snapshot.bytes
    assert report.bytes_downloaded >= report.bytes_needed
    assert mirror.events() == ["sync.done"]


def test_no_change_makes_no_snapshot_and_reads_nothing(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = datetime(2024, 5, 1, tzinfo=UTC)
    mirror.sync(now=lambda: first)
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *a, **k: opened.append(str(path)) or real(path, *a, **k)
    )
    report = mirror.sync(now=lambda: first + timedelta(hours=1))
    assert report.snapshot is None and not report.changed
    with mirror.store.ledger.read() as tx:
        assert last_sync(tx, "baseos") == first + timedelta(hours=1)
    assert len(mirror.snapshots()) == 1
    read = [path for path in opened if "/files/" in path or "/blobs/" in path]
    assert not [path for path in read if "/.tmp/" not in path]


def test_update_and_removal(mirror: Mirror, vendor_repo: YumRepo, rpm_cache: RpmCache) -> None:
    mirror.sync()
    samples.release_update(vendor_repo, rpm_cache)
    report = mirror.sync()
    assert report.snapshot is not None and report.snapshot.serial == 2
    assert set(mirror.paths()) == set(upstream_files(vendor_repo))
    assert samples.HELLO_NEW.filename in mirror.paths()
    assert samples.SPARE.filename not in mirror.paths()
    old = mirror.store.tree(mirror.snapshots()[1].tree)
    entry = old.lookup(samples.SPARE.filename)
    assert entry is not None and mirror.store.blobs.has(entry.digest)
    for digest in mirror.store.blobs.digests():
        mirror.store.blobs.verify(digest)


def test_a_crash_after_the_copy_reads_only_what_is_new(mirror: Mirror) -> None:
    mirror.sync()
    (mirror.store.folder / "work/baseos/clean").unlink()
    report = mirror.sync()
    assert report.snapshot is None
    assert mirror.sync().snapshot is None
    assert (mirror.store.folder / "work/baseos/clean").exists()


def test_keep_drops_the_oldest_snapshots(
    mirror: Mirror, vendor_repo: YumRepo, rpm_cache: RpmCache
) -> None:
    mirror.set(keep=2)
    for _ in range(4):
        vendor_repo.publish()
        mirror.sync()
    assert [one.serial for one in mirror.snapshots()] == [4, 3]


@pytest.mark.parametrize(("users", "module"), [({"sam": "right"}, "baseos"), (None, "nope")])
def test_wrong_password_and_unknown_module_are_refused(
    tmp_path: Path,
    vendor_repo: YumRepo,
    rsyncd: RsyncdFactory,
    users: dict[str, str] | None,
    module: str,
) -> None:
    daemon = rsyncd({"baseos": vendor_repo.root}, users=users)
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    connection = Connection(username="sam", password_file=secret, retries=3, timeout=5.0)
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(daemon.url(module), connection=connection))
        with pytest.raises(errors.UpstreamRefused) as caught:
            mirror.sync()
        assert "password_file" in caught.value.remedy
        assert mirror.pauses == [] and [kind for kind, *_ in mirror.holds()] == ["refused"]
        if users:
            secret.write_text("right\n")
            assert mirror.sync().snapshot is not None
            assert mirror.holds() == [] and "sync.released" in mirror.events()


def test_an_unreachable_daemon_is_retried_then_held(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository("rsync://127.0.0.1:9/baseos/"))
        with pytest.raises(errors.UpstreamUnreachable):
            mirror.sync()
        assert len(mirror.pauses) == FAST.retries
        assert [kind for kind, *_ in mirror.holds()] == ["unreachable"]


def test_a_torn_mirror_is_retried_then_held_then_healed(
    mirror: Mirror, vendor_repo: YumRepo, tmp_path: Path, rpm_cache: RpmCache
) -> None:
    mirror.sync()
    new = rpm_cache.get(samples.HELLO_NEW, key=vendor_repo.key)
    vendor_repo.update(add=new)
    late = vendor_repo.place(samples.HELLO_NEW.filename)
    aside = tmp_path / "aside.rpm"
    late.rename(aside)
    with pytest.raises(errors.TornUpstream) as caught:
        mirror.sync()
    assert samples.HELLO_NEW.filename in caught.value.what
    assert len(mirror.pauses) == 2
    kind, _, detail = mirror.holds()[0]
    assert kind == "torn" and samples.HELLO_NEW.filename in detail["items"][0]
    assert len(mirror.snapshots()) == 1
    mirror.between = lambda: shutil.copyfile(aside, late) and None
    report = mirror.sync()
    assert report.attempts == 2 and report.snapshot is not None
    assert mirror.holds() == []


def test_a_file_broken_for_good_can_be_accepted(mirror: Mirror, vendor_repo: YumRepo) -> None:
    vendor_repo.place(samples.SPARE.filename).unlink()
    with pytest.raises(errors.TornUpstream) as caught:
        mirror.sync()
    assert "--accept-missing" in caught.value.remedy
    report = mirror.sync(accept_missing=[samples.SPARE.filename], reason="lost by the vendor")
    assert report.snapshot is not None
    assert "lost by the vendor" in report.problems[0].what
    assert b"lost by the vendor" in mirror.content(".sluice/exceptions.json")
    assert b'"by": "tester"' in mirror.content(".sluice/exceptions.json")
    assert mirror.sync().snapshot is None
    assert "sync.missing-accepted" in mirror.events()


def test_only_what_is_missing_can_be_accepted_and_be_taken_back(
    mirror: Mirror, vendor_repo: YumRepo
) -> None:
    near = samples.SPARE.filename.replace("spare", "spate")
    with pytest.raises(errors.UsageError) as caught:
        mirror.sync(accept_missing=[near])
    assert "nothing is missing" in caught.value.remedy
    assert (mirror.holds(), mirror.snapshots()) == ([], [])
    package = vendor_repo.place(samples.SPARE.filename)
    package.unlink()
    with pytest.raises(errors.UsageError) as caught:
        mirror.sync(accept_missing=[near])
    assert f"did you mean `{samples.SPARE.filename}`?" in caught.value.remedy
    assert [kind for kind, *_ in mirror.holds()] == ["torn"]
    # What is right of several is kept.
    with pytest.raises(errors.UsageError):
        mirror.sync(accept_missing=[near, samples.SPARE.filename])
    assert mirror.sync().snapshot is not None
    assert near.encode() not in mirror.content(".sluice/exceptions.json")
    with pytest.raises(errors.TornUpstream):
        mirror.sync(withdraw_missing=[samples.SPARE.filename])
    with pytest.raises(errors.UsageError):
        mirror.sync(withdraw_missing=[samples.SPARE.filename])
    assert "sync.missing-withdrawn" in mirror.events()


def test_too_many_removals_are_held_before_anything_is_deleted(
    mirror: Mirror, vendor_repo: YumRepo
) -> None:
    mirror.set(max_removals=0.0)
    mirror.sync()
    gone = [samples.SPARE.filename, samples.TOOL.filename, samples.ODD.filename]
    vendor_repo.update(remove=gone)
    with pytest.raises(errors.RemovalsHeld) as caught:
        mirror.sync()
    assert "--accept-removals" in caught.value.remedy
    assert sorted(mirror.holds()[0][2]["items"]) == sorted(gone)
    copy = mirror.store.folder / "work/baseos/files"
    assert (copy / samples.SPARE.filename).exists()
    report = mirror.sync(accept_removals=True)
    assert report.snapshot is not None and mirror.holds() == []
    assert "sync.removals-accepted" in mirror.events()


def test_dry_run_tells_and_writes_nothing(mirror: Mirror, vendor_repo: YumRepo) -> None:
    report = mirror.sync(dry_run=True)
    size = sum(len(data) for data in upstream_files(vendor_repo).values())
    assert report.bytes_needed == size and report.snapshot is None
    assert mirror.snapshots() == [] and mirror.events() == []
