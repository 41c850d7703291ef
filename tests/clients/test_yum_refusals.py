"""What must not be installed is stopped: outside, at the gap, by the server, or by dnf."""

from __future__ import annotations

import hashlib
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import DnfFactory
from tests.support.dnf import DnfRepo
from tests.support.gpg import GpgHome
from tests.support.rpms import RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.samples import GREETING, HELLO, HELLO_NEW, SPARE
from tests.support.yumrepo import YumRepo
from tests.support.zones import Serving, Zones


class Vendor:
    """A signed repository behind an rsync daemon, and zones whose checks each test chooses."""

    def __init__(self, folder: Path, repo: YumRepo, daemon: Rsyncd, key: GpgHome) -> None:
        self.repo = repo
        self.key = str(key.export(folder / "vendor.asc"))
        self._url = daemon.url("baseos")
        self.zones = Zones(folder / "zones", {})
        self.check()

    def check(self, outside: str = "", inside: str = "", **serve: object) -> None:
        """Switch checks on: ``repomd``, ``packages`` (both), or none."""
        self.zones.repositories["baseos"] = {
            "format": "yum",
            "upstream": self._url,
            "max_removals": "100%",
            **self._checks(outside),
        }
        self.zones.configure_outside()
        require = {"require": {"baseos": self._checks(inside)}} if inside else {}
        self.zones.configure_inside(**require, serve=serve)

    def _checks(self, how: str) -> dict[str, object]:
        if not how:
            return {}
        return {"signed_by": self.key, "check_packages": how == "packages"}

    def bring(self) -> None:
        """Everything up to the inbox."""
        for step in ("sync", "pack", "send"):
            self.zones.out(step)
        assert self.zones.carry()


@pytest.fixture
def vendor(
    tmp_path: Path,
    rpm_cache: RpmCache,
    vendor_key: GpgHome,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Vendor]:
    monkeypatch.setattr("mirror.attempts._PAUSES", (0.01,))
    repo = YumRepo(tmp_path / "vendor", key=vendor_key)
    repo.add(*rpm_cache.get(GREETING, HELLO, SPARE, key=vendor_key))
    with Rsyncd({"baseos": repo.publish().root}) as daemon:
        yield Vendor(tmp_path, repo, daemon, vendor_key)


def checked(server: Serving, key: str) -> DnfRepo:
    """All checks on, with a key that the client has from elsewhere."""
    url = f"{server.url}/yum/baseos/"
    return DnfRepo("baseos", url, gpgcheck=True, repo_gpgcheck=True, gpgkey=Path(key).as_uri())


def setup_file(server: Serving) -> str:
    with urllib.request.urlopen(f"{server.url}/setup/baseos.repo", timeout=60) as answer:
        text: str = answer.read().decode()
    return text


def test_an_unsigned_package_is_stopped_at_every_line(
    vendor: Vendor, rpm_cache: RpmCache, dnf: DnfFactory
) -> None:
    zones = vendor.zones
    vendor.repo.update(add=rpm_cache.get(HELLO_NEW), remove=[HELLO.filename])
    vendor.check(outside="packages")
    said = zones.out("sync", expect=1)
    assert f"{HELLO_NEW.filename}: is not signed" in said.err
    assert zones.status(inside=False)["repositories"]["baseos"]["holds"]

    vendor.check(outside="repomd", inside="packages")
    vendor.bring()
    said = zones.within("receive", "--once", expect=3)
    assert HELLO_NEW.filename in said.err
    assert zones.status()["repositories"].get("baseos", {}).get("publication") is None

    vendor.check(outside="repomd", inside="repomd")
    zones.within("receive", "--once")
    with zones.serving(workers=1) as server:
        client = dnf(checked(server, vendor.key))
        refused = client.install("hello", check=False)
        assert refused.returncode != 0
        assert f"{HELLO_NEW.filename} is not signed" in refused.stdout + refused.stderr
        client.install("greeting")
        assert client.installed() == [GREETING.filename.removesuffix(".rpm")]


def test_a_foreign_signature_on_the_index_is_stopped_at_every_line(
    vendor: Vendor, foreign_key: GpgHome, dnf: DnfFactory
) -> None:
    zones = vendor.zones
    vendor.check(outside="repomd", inside="repomd")
    zones.cross()
    vendor.repo.revision += 10
    vendor.repo.update(remove=[SPARE.filename])
    vendor.repo.sign(key=foreign_key)
    said = zones.out("sync", expect=1)
    assert "repomd.xml" in said.err
    vendor.check(outside="", inside="repomd")
    vendor.bring()
    zones.within("receive", "--once", expect=3)
    assert zones.status()["repositories"]["baseos"]["publication"]["serial"] == 1
    with zones.serving(workers=1) as server:
        client = dnf(checked(server, vendor.key))
        client.install("spare")  # the good publication goes on being served

        vendor.check()
        zones.within("receive", "--once")
        assert zones.status()["repositories"]["baseos"]["publication"]["serial"] == 2
        refused = client.install("hello", check=False)
        assert refused.returncode != 0
        assert "repomd.xml" in refused.stderr


def test_a_package_that_is_not_what_the_index_says_never_becomes_a_snapshot(
    vendor: Vendor,
) -> None:
    place = vendor.repo.place(HELLO.filename)
    content = bytearray(place.read_bytes())
    content[-1] ^= 1
    place.write_bytes(content)
    said = vendor.zones.out("sync", expect=3)
    assert HELLO.filename in said.err
    status = vendor.zones.status(inside=False)["repositories"]["baseos"]
    assert status["holds"]
    assert status.get("snapshot") is None


def test_damage_on_the_insides_own_disk_is_refused_by_dnf_and_found_by_verify(
    vendor: Vendor, dnf: DnfFactory
) -> None:
    vendor.check(inside="packages")
    vendor.zones.cross()
    blob = next(
        path
        for path in (vendor.zones.inside / "blobs").rglob("*")
        if path.is_file() and b"hello" in path.read_bytes()[:96]
    )
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(content)
    with vendor.zones.serving(workers=1) as server:
        client = dnf()
        client.use_text(setup_file(server))
        refused = client.install("hello", check=False)
        assert refused.returncode != 0
        assert client.installed() == []
        client.install("spare")
    assert HELLO.filename in vendor.zones.within("verify", expect=1).err


def test_a_denied_package_is_refused_and_the_rest_goes_on(
    vendor: Vendor, rpm_cache: RpmCache, dnf: DnfFactory
) -> None:
    digest = hashlib.sha256(vendor.repo.place(HELLO.filename).read_bytes()).hexdigest()
    vendor.check(inside="repomd", workers=2, deny=[digest])
    vendor.zones.cross()
    with vendor.zones.serving() as server:
        client = dnf(checked(server, vendor.key))
        refused = client.install("hello", check=False)
        assert refused.returncode != 0
        assert "451" in refused.stdout + refused.stderr
        client.install("spare", "greeting")
        url = f"{server.url}/yum/baseos/"
        with urllib.request.urlopen(url, timeout=60) as answer:
            listing = answer.read().decode()
        assert SPARE.filename in listing
        assert HELLO.filename not in listing
        for where in (url, f"{server.url}/yum/baseos@1/"):
            with pytest.raises(urllib.error.HTTPError, match="451"):
                urllib.request.urlopen(where + HELLO.filename, timeout=60)
    vendor.check(inside="repomd")
    with vendor.zones.serving() as server:
        client.use(checked(server, vendor.key))
        client.install("hello")


def test_a_key_from_a_bundle_reaches_clients_only_when_a_person_approved_it(
    vendor: Vendor, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    vendor.check(outside="repomd")
    vendor.zones.cross()
    with vendor.zones.serving() as server:
        before = setup_file(server)
        assert "gpgcheck=0" in before
        assert "gpgkey=" not in before
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{server.url}/setup/keys/baseos.asc", timeout=60)
        assert vendor_key.fingerprint in vendor.zones.within("keys", "list").out
        vendor.zones.within("keys", "approve", vendor_key.fingerprint)
        client = dnf()
        client.use_text(_until(lambda: setup_file(server), r"(?m)^gpgcheck=1$"))
        client.install("hello")
        assert len(client.installed()) == 2


def _until(read: Callable[[], str], wanted: str) -> str:
    until = time.monotonic() + 60
    while not re.search(wanted, text := read()):
        assert time.monotonic() < until, text
        time.sleep(0.05)
    return text
