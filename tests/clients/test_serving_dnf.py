"""A real dnf at the real server: set up by its .repo file, and while publications switch."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from tests.clients.test_serving_http import get
from tests.conftest import DnfFactory
from tests.support.dnf import Dnf, DnfRepo
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, RpmCache
from tests.support.samples import HELLO, HELLO_NEW, release_update
from tests.support.served import Published, Serving, eventually
from tests.support.yumrepo import YumRepo


@pytest.fixture
def published(tmp_path: Path) -> Iterator[Published]:
    made = Published(tmp_path / "store")
    yield made
    made.close()


def fetch(server: Serving, path: str) -> str:
    with urlopen(f"{server.url}{path}", timeout=60) as answer:
        return answer.read().decode()


def armored(key: GpgHome) -> str:
    return key.public_key().decode()


def test_the_repo_file_is_all_that_dnf_needs(
    published: Published, vendor_repo: YumRepo, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    published.publish_folder("baseos", vendor_repo.root)
    keys = {"baseos": (armored(vendor_key),)}
    with Serving(published.store.folder, keys=keys) as server:
        text = fetch(server, "/setup/baseos.repo")
        assert "gpgcheck=1\nrepo_gpgcheck=1\nmetadata_expire=300\n" in text
        assert f"gpgkey={server.url}/setup/keys/baseos.asc\n" in text
        client = dnf()
        client.use_text(text)
        client.install("hello", "libodd+c++")
        assert "hello-1.0-1.noarch" in client.installed()


def test_a_key_that_nobody_approved_is_offered_to_no_client(
    published: Published,
    vendor_repo: YumRepo,
    vendor_key: GpgHome,
    foreign_key: GpgHome,
    dnf: DnfFactory,
) -> None:
    published.publish_folder("baseos", vendor_repo.root)
    with published.store.ledger.write() as tx:
        for key in (vendor_key, foreign_key):
            tx.offer_key(key.fingerprint, "baseos", "hq", key.public_key())
    with Serving(published.store.folder, workers=2) as server:
        assert get(server, "/setup/keys/baseos.asc")[0] == 404
        assert "gpgcheck=0\nrepo_gpgcheck=0\n" in fetch(server, "/setup/baseos.repo")
        with published.store.ledger.write() as tx:
            tx.approve_key(vendor_key.fingerprint, "an operator")
        eventually(lambda: get(server, "/setup/keys/baseos.asc")[0] == 200)
        assert fetch(server, "/setup/keys/baseos.asc").strip() == armored(vendor_key).strip()
        client = dnf()
        client.use_text(fetch(server, "/setup/baseos.repo"))
        client.install("hello")
        with published.store.ledger.write() as tx:
            tx.withdraw_key(vendor_key.fingerprint)
        eventually(lambda: get(server, "/setup/keys/baseos.asc")[0] == 404)


def test_our_own_signature_is_offered_with_our_own_key(
    published: Published, vendor_repo: YumRepo, vendor_key: GpgHome, foreign_key: GpgHome
) -> None:
    files = {"repodata/repomd.xml": b"derived", "repodata/repomd.xml.asc": b"signed by us"}
    published.publish("baseos", {"a.rpm": b""}, overlay=files)
    keys = {"baseos": (armored(vendor_key),)}
    own = armored(foreign_key)
    with Serving(published.store.folder, keys=keys, repository_key=own) as server:
        offered = fetch(server, "/setup/keys/baseos.asc")
        assert offered == f"{armored(vendor_key).strip()}\n{own.strip()}\n"
        assert "gpgcheck=1\nrepo_gpgcheck=1\n" in fetch(server, "/setup/baseos.repo")
    with Serving(published.store.folder, keys=keys) as server:  # nobody can check ours
        assert "gpgcheck=1\nrepo_gpgcheck=0\n" in fetch(server, "/setup/baseos.repo")


def test_behind_another_name(published: Published) -> None:
    published.publish("baseos", {"a.rpm": b""})
    with Serving(published.store.folder, external_url="https://mirror.example.org/sw") as server:
        text = fetch(server, "/setup/baseos.repo")
    assert "baseurl=https://mirror.example.org/sw/yum/baseos/\n" in text


def test_a_pinned_snapshot_goes_on_installing_the_old_one(
    published: Published,
    vendor_repo: YumRepo,
    rpm_cache: RpmCache,
    dnf: DnfFactory,
) -> None:
    first = published.publish_folder("baseos", vendor_repo.root)
    release_update(vendor_repo, rpm_cache)
    published.publish_folder("baseos", vendor_repo.root)
    with Serving(published.store.folder, workers=2) as server:
        live = dnf(DnfRepo("live", f"{server.url}/yum/baseos/"))
        live.install("hello")
        assert f"hello-{HELLO_NEW.version}-1.noarch" in live.installed()
        old = dnf(DnfRepo("old", f"{server.url}/yum/baseos@{first.serial}/"))
        old.install("hello", "spare")
        assert f"hello-{HELLO.version}-1.noarch" in old.installed()


def test_a_client_in_the_middle_of_a_transaction_does_not_fail(
    published: Published, vendor_repo: YumRepo, rpm_cache: RpmCache, dnf: DnfFactory
) -> None:
    published.publish_folder("baseos", vendor_repo.root)
    with Serving(published.store.folder, workers=2) as server:
        client = dnf(DnfRepo("baseos", f"{server.url}/yum/baseos/"))
        client.makecache()
        release_update(vendor_repo, rpm_cache)  # ``spare`` is gone upstream
        published.publish_folder("baseos", vendor_repo.root)
        time.sleep(0.5)
        client.run("--cacheonly", "repoquery")
        client.run("--setopt=baseos.metadata_expire=never", "install", "spare")
        assert any(name.startswith("spare-") for name in client.installed())


class Switcher(threading.Thread):
    """Publishes ``count`` versions of the repository, each with files of its own."""

    def __init__(
        self, published: Published, repo: YumRepo, cache: RpmCache, count: int, pause: float
    ) -> None:
        super().__init__()
        self._published, self._repo, self._cache = published, repo, cache
        self._pause = pause
        self.left = count

    def run(self) -> None:
        number = 0
        while self.left:
            number += 1
            self.left -= 1
            newer = Package("churn", f"1.{number}")
            self._repo.add(*self._cache.get(newer, key=self._repo.key))
            if number > 3:
                self._repo.remove(Package("churn", f"1.{number - 3}").filename)
            self._repo.publish()
            self._published.publish_folder("baseos", self._repo.root)
            time.sleep(self._pause)


def loop_dnf(
    count: int,
    pause: float,
    tmp_path: Path,
    published: Published,
    key: GpgHome,
    cache: RpmCache,
    repo: YumRepo,
    client: Dnf,
) -> tuple[int, str]:
    """How often dnf installed while ``count`` publications switched, and the newest version."""
    published.publish_folder("baseos", repo.root)
    keys = {"baseos": (armored(key),)}
    with Serving(published.store.folder, workers=2, keys=keys) as server:
        client.use_text(fetch(server, "/setup/baseos.repo"))
        switcher = Switcher(published, repo, cache, count, pause)
        switcher.start()
        rounds = 0
        try:
            while switcher.is_alive():
                shutil.rmtree(client.cache)
                client.cache.mkdir()
                client.makecache()
                words = ("--setopt=baseos.metadata_expire=never", "-y")
                client.run(*words, "--downloadonly", "install", "hello", "churn")
                if rounds % 4 == 0:
                    client.install("churn")
                rounds += 1
        finally:
            switcher.left = 0
            switcher.join()
        client.install("churn", "hello")
        client.update()
        found = [name for name in client.installed() if name.startswith("churn-")]
        return rounds, "".join(found)


def churn_repo(tmp_path: Path, cache: RpmCache, key: GpgHome, vendor_repo: YumRepo) -> YumRepo:
    repo = vendor_repo
    repo.add(*cache.get(Package("churn", "1.0"), key=key))
    return repo.publish()


@pytest.mark.parametrize(
    ("publications", "least"),
    [(6, 1), pytest.param(100, 20, marks=[pytest.mark.soak, pytest.mark.timeout(3000)])],
)
def test_dnf_loops_while_publications_switch(
    publications: int,
    least: int,
    tmp_path: Path,
    published: Published,
    vendor_repo: YumRepo,
    vendor_key: GpgHome,
    rpm_cache: RpmCache,
    dnf: DnfFactory,
) -> None:
    """With signed metadata, a new cache each time, over two workers."""
    repo = churn_repo(tmp_path, rpm_cache, vendor_key, vendor_repo)
    rounds, newest = loop_dnf(
        publications, 0.5, tmp_path, published, vendor_key, rpm_cache, repo, dnf()
    )
    assert rounds >= least
    assert newest == f"churn-1.{publications}-1.noarch"
