"""The fixtures are true: real clients accept what they make, and refuse what is wrong with it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import createrepo_c
import pytest

from tests.conftest import DnfFactory, RsyncdFactory
from tests.support import rpms, samples, tools
from tests.support.dnf import DnfRepo
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, RpmCache
from tests.support.samples import GREETING, HELLO, HELLO_NEW, ODD, SPARE, TOOL
from tests.support.yumrepo import Checksum, Compression, YumRepo


def checked(url: str, key: GpgHome, tmp_path: Path) -> DnfRepo:
    pin = key.export(tmp_path / f"{key.fingerprint}.asc")
    return DnfRepo("t", url, gpgcheck=True, repo_gpgcheck=True, gpgkey=pin.as_uri())


def test_packages_are_the_same_bytes_each_time_and_the_cache_builds_once(
    tmp_path: Path, rpm_cache: RpmCache
) -> None:
    first = rpms.build(samples.PACKAGES, tmp_path / "1")
    second = rpms.build(samples.PACKAGES, tmp_path / "2")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert [p.name for p in first] == [p.filename for p in samples.PACKAGES]
    other = Package("hello", files=(("/etc/a b%c", b"x"),))
    built = rpm_cache.get(HELLO, other)
    assert built[0].name == built[1].name
    assert built[0].read_bytes() != built[1].read_bytes()
    stamps = [path.stat().st_ino for path in built]
    assert [path.stat().st_ino for path in rpm_cache.get(HELLO, other)] == stamps


def test_a_detached_signature_verifies_for_its_key_and_content_only(
    tmp_path: Path, vendor_key: GpgHome, foreign_key: GpgHome
) -> None:
    document = tmp_path / "document"
    document.write_bytes(b"words")
    signature = vendor_key.detach_sign(document)
    assert signature.read_bytes().startswith(b"-----BEGIN PGP SIGNATURE-----")
    assert vendor_key.verify(document, signature)
    assert not foreign_key.verify(document, signature)
    document.write_bytes(b"Words")
    assert not vendor_key.verify(document, signature)


@pytest.mark.parametrize(
    ("checksum", "compression"),
    [("sha1", "gz"), ("sha256", "zstd"), ("sha512", "xz"), ("sha256", "bz2")],
)
def test_repositories_come_in_every_checksum_and_compression(
    tmp_path: Path, rpm_cache: RpmCache, checksum: Checksum, compression: Compression
) -> None:
    repo = samples.vendor_repo(
        tmp_path / "r", rpm_cache, None, checksum=checksum, compression=compression
    )
    repomd = createrepo_c.Repomd(str(repo.repomd))
    records = {record.type: record for record in repomd.records}
    assert {"primary", "filelists", "other", "group", "modules", "productid"} <= set(records)
    suffix = {"zstd": "zst"}.get(compression, compression)
    for record in records.values():
        path = repo.root / record.location_href
        # Older createrepo_c lists comps plain, and compressed once more as group_gz.
        assert path.suffix == f".{suffix}" or record.type == "group"
        assert record.checksum_type == checksum
        assert hashlib.new(checksum, path.read_bytes()).hexdigest() == record.checksum


def test_publishing_again_elsewhere_gives_the_same_metadata(
    tmp_path: Path, rpm_cache: RpmCache
) -> None:
    one = samples.vendor_repo(tmp_path / "1", rpm_cache, None, layout="letters")
    two = samples.vendor_repo(tmp_path / "2", rpm_cache, None, layout="letters")
    assert one.packages()[0] == f"Packages/g/{GREETING.filename}"
    names = sorted(path.name for path in one.repodata.iterdir())
    assert names == sorted(path.name for path in two.repodata.iterdir())
    assert one.repomd.read_bytes() == two.repomd.read_bytes()
    samples.release_update(one, rpm_cache)
    assert one.repomd.read_bytes() != two.repomd.read_bytes()


def test_dnf_installs_updates_and_removes_with_all_checks_on(
    tmp_path: Path, vendor_repo: YumRepo, rpm_cache: RpmCache, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    client = dnf(checked(vendor_repo.root.as_uri(), vendor_key, tmp_path))
    client.install("hello", "libodd+c++")
    expected = {GREETING, HELLO, ODD}
    assert client.installed() == sorted(p.filename.removesuffix(".rpm") for p in expected)
    assert SPARE.nevra in client.available()
    assert TOOL.nevra not in client.available()

    samples.release_update(vendor_repo, rpm_cache)
    assert samples.ADVISORY in client.updateinfo().stdout
    assert SPARE.nevra not in client.available()
    client.update()
    assert HELLO_NEW.filename.removesuffix(".rpm") in client.installed()
    client.remove("hello")
    assert not any(name.startswith("hello-") for name in client.installed())


def test_dnf_sees_module_and_group_and_mirrors_all(
    tmp_path: Path, vendor_repo: YumRepo, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    client = dnf(checked(vendor_repo.root.as_uri(), vendor_key, tmp_path))
    assert "tool 2" in client.module().stdout
    assert samples.GROUP in client.group("list", "--ids").stdout
    client.module("install", "tool:2/common")
    assert client.installed() == [TOOL.filename.removesuffix(".rpm")]
    client.reposync(tmp_path / "mirror")
    mirrored = sorted(path.name for path in (tmp_path / "mirror").rglob("*.rpm"))
    assert mirrored == sorted(package.filename for package in samples.PACKAGES)


def test_dnf_refuses_foreign_signatures(
    tmp_path: Path,
    vendor_repo: YumRepo,
    vendor_key: GpgHome,
    foreign_key: GpgHome,
    rpm_cache: RpmCache,
    dnf: DnfFactory,
) -> None:
    pinned = checked(vendor_repo.root.as_uri(), vendor_key, tmp_path)
    vendor_repo.sign(key=foreign_key)
    refused = dnf(pinned).install("hello", check=False)
    assert refused.returncode == 1
    assert "GPG" in refused.stderr

    vendor_repo.update(add=rpm_cache.get(GREETING, key=foreign_key))
    client = dnf(pinned)
    assert client.install("greeting", check=False).returncode == 1
    assert client.installed() == []


def test_rsyncd_serves_its_modules_and_asks_for_the_password(
    tmp_path: Path, vendor_repo: YumRepo, rsyncd: RsyncdFactory
) -> None:
    password = tmp_path / "password"
    password.write_text("right\n")
    password.chmod(0o600)
    server = rsyncd({"baseos": vendor_repo.root}, users={"mirror": "right"})
    command = [tools.need("rsync"), "-rt", f"--password-file={password}"]
    source = server.url("baseos", user="mirror")
    tools.run([*command, source, tmp_path / "copy"])
    copied = (tmp_path / "copy/repodata/repomd.xml").read_bytes()
    assert copied == vendor_repo.repomd.read_bytes()

    password.write_text("wrong\n")
    assert tools.run([*command, source, tmp_path / "no"], check=False).returncode == 5
    assert tools.run([*command, server.url("none"), tmp_path / "no"], check=False).returncode == 5
