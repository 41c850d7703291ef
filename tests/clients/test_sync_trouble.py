"""What upstreams, disks and people do to a sync."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests import errors
from manifests.zone.model import Connection, Filters, Metadata, Signers
from mirror.workcopy import WorkCopy
from store.seam import Seam
from tests.clients.syncing import Mirror, open_store, repository
from tests.clients.test_sync_rsync import upstream_files
from tests.conftest import RsyncdFactory
from tests.support import samples
from tests.support.gpg import GpgHome
from tests.support.rpms import RpmCache, noise
from tests.support.yumrepo import YumRepo


@pytest.fixture
def mirror(tmp_path: Path, vendor_repo: YumRepo, rsyncd: RsyncdFactory) -> Iterator[Mirror]:
    daemon = rsyncd({"baseos": vendor_repo.root})
    with open_store(tmp_path / "store") as store:
        yield Mirror(store, repository(daemon.url("baseos")))


@pytest.fixture
def files(tmp_path: Path, rsyncd: RsyncdFactory) -> Iterator[tuple[Mirror, Path]]:
    """A mirror of a plain folder, and that folder."""
    root = tmp_path / "upstream"
    root.mkdir()
    daemon = rsyncd({"tools": root})
    with open_store(tmp_path / "store") as store:
        yield Mirror(store, repository(daemon.url("tools"), "tools", format="files")), root


# --- signatures


def key_file(home: GpgHome, path: Path) -> Path:
    home.export(path)
    return path


def test_signed_metadata_and_packages_pass_and_the_key_crosses(
    mirror: Mirror, vendor_key: GpgHome, tmp_path: Path
) -> None:
    keys = (key_file(vendor_key, tmp_path / "vendor.asc"),)
    mirror.set(signers=Signers(signed_by=keys, check_packages=True))
    assert mirror.sync().snapshot is not None
    crossing = [path for path in mirror.paths() if path.startswith(".sluice/keys/")]
    assert crossing == [f".sluice/keys/{vendor_key.fingerprint}.asc"]
    assert mirror.sync().snapshot is None


def test_a_signature_by_another_key_is_held(
    mirror: Mirror, foreign_key: GpgHome, tmp_path: Path
) -> None:
    keys = (key_file(foreign_key, tmp_path / "foreign.asc"),)
    mirror.set(signers=Signers(signed_by=keys))
    with pytest.raises(errors.SignatureInvalid, match="repomd"):
        mirror.sync()
    assert [kind for kind, *_ in mirror.holds()] == ["signature"]
    assert mirror.snapshots() == []


def test_a_missing_and_a_wrong_signature_are_held(
    mirror: Mirror, vendor_repo: YumRepo, vendor_key: GpgHome, tmp_path: Path
) -> None:
    keys = (key_file(vendor_key, tmp_path / "vendor.asc"),)
    mirror.set(signers=Signers(signed_by=keys))
    signature = vendor_repo.repodata / "repomd.xml.asc"
    good = signature.read_bytes()
    signature.unlink()
    with pytest.raises(errors.SignatureInvalid, match="missing"):
        mirror.sync()
    vendor_repo.publish()
    signature.write_bytes(good)  # of the publication before
    with pytest.raises(errors.SignatureInvalid):
        mirror.sync()
    assert mirror.snapshots() == []


def test_an_unsigned_package_is_found_when_packages_are_checked(
    mirror: Mirror,
    vendor_repo: YumRepo,
    vendor_key: GpgHome,
    rpm_cache: RpmCache,
    tmp_path: Path,
) -> None:
    keys = (key_file(vendor_key, tmp_path / "vendor.asc"),)
    mirror.set(signers=Signers(signed_by=keys, check_packages=True))
    mirror.sync()
    vendor_repo.update(add=rpm_cache.get(samples.HELLO_NEW))
    with pytest.raises(errors.SignatureInvalid, match=r"hello-1\.1"):
        mirror.sync()
    mirror.set(signers=Signers(signed_by=keys))
    assert mirror.sync().snapshot is not None


# --- kinds of repositories


@pytest.mark.parametrize("checksum", ["sha1", "sha512"])
def test_other_checksums_and_sub_folders(
    tmp_path: Path,
    rpm_cache: RpmCache,
    vendor_key: GpgHome,
    rsyncd: RsyncdFactory,
    checksum: str,
) -> None:
    repo = samples.vendor_repo(
        tmp_path / "vendor", rpm_cache, vendor_key, checksum=checksum, layout="letters"
    )
    daemon = rsyncd({"baseos": tmp_path})
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(daemon.url("baseos", "vendor/")))
        mirror.sync()
        assert set(mirror.paths()) == set(upstream_files(repo))
        damaged = repo.place(samples.SPARE.filename)
        data = damaged.read_bytes()
        damaged.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        with pytest.raises(errors.TornUpstream, match="spare"):
            mirror.sync()


@pytest.mark.parametrize("how", ["rsync", "rsync below a module", "file"])
def test_a_filtered_repository_without_http(
    tmp_path: Path, vendor_repo: YumRepo, rsyncd: RsyncdFactory, how: str
) -> None:
    root = vendor_repo.root
    daemon = rsyncd({"baseos": root, "all": root.parent})
    url = {
        "rsync": daemon.url("baseos"),
        "rsync below a module": daemon.url("all", f"{root.name}/"),
        "file": f"{root.as_uri()}/",
    }[how]
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(url, filters=Filters(include=("hello", "greeting"))))
        mirror.sync()
        rpms = [path for path in mirror.paths() if path.endswith(".rpm")]
        assert sorted(rpms) == [samples.GREETING.filename, samples.HELLO.filename]
        assert "images/pxeboot/vmlinuz" in mirror.paths()
        assert mirror.sync().snapshot is None


def test_a_local_folder_is_copied_whole(tmp_path: Path, vendor_repo: YumRepo) -> None:
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(f"{vendor_repo.root.as_uri()}/"))
        mirror.sync()
        assert set(mirror.paths()) == set(upstream_files(vendor_repo))
        assert mirror.sync().snapshot is None
        (vendor_repo.root / "README").write_text("new\n")
        assert mirror.sync().added == 1
        assert vendor_repo.repomd.stat().st_nlink == 1, "the operator's own files stay his"


def test_a_plain_folder_of_packages_is_marked_for_derived_metadata(
    tmp_path: Path, rpm_cache: RpmCache
) -> None:
    root = tmp_path / "rpms"
    YumRepo(root).add(*rpm_cache.get(samples.HELLO))
    with open_store(tmp_path / "store") as store:
        mirror = Mirror(store, repository(f"{root.as_uri()}/", metadata=Metadata.AUTO))
        mirror.sync()
        assert ".sluice/facts.json" in mirror.paths()


# --- names and links


def test_links_inside_become_files_and_others_are_left_out(files: tuple[Mirror, Path]) -> None:
    mirror, root = files
    (root / "v1").mkdir()
    (root / "v1/tool").write_text("one")
    (root / "latest").symlink_to("v1")
    (root / "v1/up").symlink_to("../v1/tool")
    (root / "v1/round").symlink_to("..")
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    (root / "out").symlink_to("/etc/passwd")
    (root / "up").symlink_to("../../../../../../etc/passwd")
    (root / "gone").symlink_to("nothing")
    os.mkfifo(root / "pipe")
    report = mirror.sync()
    assert set(mirror.paths()) == {"v1/tool", "v1/up", "latest/tool", "latest/up"}
    assert mirror.content("latest/up") == b"one"
    dropped = {problem.path for problem in report.problems}
    assert {"out", "up", "gone", "a", "b", "v1/round"} <= dropped
    (root / "v1/tool").write_text("changed")
    mirror.sync()
    assert mirror.content("latest/tool") == b"changed"


def test_a_bad_name_is_held_by_name_and_can_be_accepted(files: tuple[Mirror, Path]) -> None:
    mirror, root = files
    (root / "good").write_text("x")
    (root / "new\nline").write_text("x")
    with pytest.raises(errors.BadPath) as caught:
        mirror.sync()
    assert r"new\nline" in caught.value.what
    assert [kind for kind, *_ in mirror.holds()] == ["path"]
    assert mirror.sync(accept_missing=[r"new\nline"]).snapshot is not None
    assert "good" in mirror.paths()


def test_an_upstream_cannot_write_our_private_files(files: tuple[Mirror, Path]) -> None:
    mirror, root = files
    (root / ".sluice").mkdir()
    (root / ".sluice/facts.json").write_text("{}")
    (root / "good").write_text("x")
    mirror.sync()
    assert set(mirror.paths()) == {"good"}


# --- interruptions


def rsync_children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = [int(pid) for pid in (task / "children").read_text().split()]
        except FileNotFoundError:
            continue
        for pid in pids:
            try:
                if b"--out-format" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
            except FileNotFoundError:
                continue
    return found


def test_an_rsync_that_is_ended_half_way_goes_on_where_it_stopped(
    files: tuple[Mirror, Path],
) -> None:
    mirror, root = files
    size = 6 << 20
    (root / "big.iso").write_bytes(noise("big", size))
    mirror.set(connection=Connection(retries=0, timeout=10.0, bandwidth=1 << 20))
    caught: list[BaseException] = []

    def run() -> None:
        try:
            mirror.sync()
        except errors.SluiceError as error:
            caught.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    copy = mirror.store.folder / "work/tools/files"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        sizes = [path.stat().st_size for path in copy.rglob(".big.iso.*")] if copy.exists() else []
        if sizes and sizes[0] > size // 3:
            break
        time.sleep(0.05)
    for pid in rsync_children():
        os.kill(pid, signal.SIGTERM)
    worker.join(60)
    assert isinstance(caught[0], errors.UpstreamUnreachable)
    assert [kind for kind, *_ in mirror.holds()] == ["unreachable"]
    assert mirror.snapshots() == []
    mirror.set(connection=Connection(retries=0, timeout=10.0))
    report = mirror.sync()
    assert report.snapshot is not None and report.bytes_downloaded < size * 3 // 4
    assert mirror.content("big.iso") == noise("big", size)


def test_a_second_sync_of_the_same_repository_is_refused(files: tuple[Mirror, Path]) -> None:
    mirror, _ = files
    with (
        mirror.store.locks.named("sync-tools"),
        pytest.raises(errors.StoreBusy, match="sync-tools is running already"),
    ):
        run_in_thread(mirror)
    assert mirror.holds() == []


def run_in_thread(mirror: Mirror) -> None:
    caught: list[BaseException] = []

    def run() -> None:
        try:
            mirror.sync()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            caught.append(error)

    worker = threading.Thread(target=run)
    worker.start()
    worker.join(60)
    if caught:
        raise caught[0]


def test_after_a_power_cut_content_is_compared(
    files: tuple[Mirror, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, root = files
    (root / "one").write_bytes(b"right")
    mirror.sync()
    # A later sync began, rsync wrote, and the machine went down before anything was synced.
    place = mirror.store.folder / "work/tools"
    WorkCopy(place, Seam()).unmark()
    (root / "two").write_bytes(b"right")
    (place / "files/two").write_bytes(b"wrong")
    stat = (root / "two").stat()
    os.utime(place / "files/two", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    monkeypatch.setattr("mirror.workcopy.boot_id", lambda: "after")
    mirror.sync()
    assert mirror.content("two") == b"right"


def test_too_little_space_is_said_before_anything_is_fetched(files: tuple[Mirror, Path]) -> None:
    mirror, root = files
    (root / "big.iso").write_bytes(b"x" * 100_000)
    mirror.store.reserve_free = 1 << 60
    with pytest.raises(errors.NoSpace, match=r"97\.7 KiB of space"):
        mirror.sync()
    assert not (mirror.store.folder / "work/tools/files/big.iso").exists()
    assert [kind for kind, *_ in mirror.holds()] == ["space"]


def test_a_disk_that_fills_up_meanwhile_harms_nothing(
    tmp_path: Path, rsyncd: RsyncdFactory
) -> None:
    root = tmp_path / "upstream"
    root.mkdir()
    (root / "small").write_bytes(b"x")
    daemon = rsyncd({"tools": root})
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", disk], check=True)
    try:
        with open_store(disk / "store") as store:
            mirror = Mirror(store, repository(daemon.url("tools"), "tools", format="files"))
            mirror.sync()
            (root / "big").write_bytes(noise("b", 20 << 20))
            store.require_free = lambda needed, what: None  # type: ignore[method-assign]
            with pytest.raises(errors.NoSpace):
                mirror.sync()
            assert [one.serial for one in mirror.snapshots()] == [1]
            (root / "big").write_bytes(noise("b", 1 << 20))
            assert mirror.sync().snapshot is not None
            assert mirror.content("big") == noise("b", 1 << 20)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
