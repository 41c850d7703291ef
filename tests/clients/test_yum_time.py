"""Publications follow each other while clients are at work: updates, rollback, pins."""

from __future__ import annotations

import hashlib
import http.client
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from tests.conftest import DnfFactory
from tests.support import samples
from tests.support.dnf import Dnf
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.samples import GREETING, HELLO, HELLO_NEW, SPARE
from tests.support.yumrepo import YumRepo
from tests.support.zones import Serving, Zones

NS = {"repo": "http://linux.duke.edu/metadata/repo"}


@dataclass
class Live:
    """An upstream, its zones, the server, and the ``.repo`` file that it gives out."""

    repo: YumRepo
    zones: Zones
    server: Serving
    setup: str

    @property
    def base(self) -> str:
        return f"{self.server.url}/yum/baseos"


@pytest.fixture
def live(tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome) -> Iterator[Live]:
    repo = YumRepo(tmp_path / "vendor", key=vendor_key)
    repo.add(*rpm_cache.get(GREETING, HELLO, SPARE, key=vendor_key))
    key = str(vendor_key.export(tmp_path / "vendor.asc"))
    with Rsyncd({"baseos": repo.publish().root}) as daemon:
        upstream = {"format": "yum", "upstream": daemon.url("baseos"), "max_removals": "100%"}
        zones = Zones(
            tmp_path / "zones",
            {"baseos": upstream | {"keep": 200}},
            inside={"require": {"baseos": {"signed_by": key}}},
        )
        zones.cross()
        with zones.serving(workers=2) as server:
            setup = urllib.request.urlopen(f"{server.url}/setup/baseos.repo", timeout=60)
            yield Live(repo, zones, server, setup.read().decode())


def names(*packages: Package) -> list[str]:
    return sorted(package.filename.removesuffix(".rpm") for package in packages)


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def everything(base: str) -> dict[str, bytes]:
    """Path -> bytes of all that repomd.xml leads to, each promise checked."""
    found = {"repodata/repomd.xml": get(f"{base}/repodata/repomd.xml")}
    found["repodata/repomd.xml.asc"] = get(f"{base}/repodata/repomd.xml.asc")
    for record in ElementTree.fromstring(found["repodata/repomd.xml"]).iterfind("repo:data", NS):
        href = record.find("repo:location", NS).attrib["href"]  # type: ignore[union-attr]
        found[href] = get(f"{base}/{href}")
        promised = record.findtext("repo:checksum", namespaces=NS)
        assert hashlib.sha256(found[href]).hexdigest() == promised
    return found


def settle(live: Live, wanted: dict[str, bytes]) -> None:
    """Wait until both workers have seen a switch; they look ten times a second."""
    until = time.monotonic() + 60
    url = f"{live.base}/repodata/repomd.xml"
    while any(get(url) != wanted["repodata/repomd.xml"] for _ in range(20)):
        assert time.monotonic() < until, "the switch does not arrive"
        time.sleep(0.05)


def test_rollback_pins_and_the_way_forward(
    live: Live, rpm_cache: RpmCache, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    first = everything(live.base)
    assert everything(f"{live.base}@1") == first
    client = dnf()
    client.use_text(live.setup)
    client.install("hello")
    veteran = dnf()  # has the first publication's metadata, and does not look again
    veteran.use_text(live.setup)
    veteran.makecache()

    samples.release_update(live.repo, rpm_cache)
    live.zones.cross()
    client.update()
    assert client.installed() == names(GREETING, HELLO_NEW)
    assert SPARE.nevra not in client.available()
    # What was gone a moment ago can still be fetched by who has not heard of it yet.
    veteran.run("--cacheonly", "--setopt=metadata_expire=-1", "repolist")
    veteran.run("--setopt=baseos.metadata_expire=-1", "install", "spare")
    assert veteran.installed() == names(SPARE)

    # The pinned URL is a repository of its own, with the vendor's signature.
    pinned = dnf()
    pinned.use_text(live.setup.replace("/yum/baseos/", "/yum/baseos@1/"))
    pinned.install("hello", "spare")
    assert pinned.installed() == names(GREETING, HELLO, SPARE)
    assert everything(f"{live.base}@1") == first

    said = live.zones.within("rollback", "baseos", "1")
    assert "--refresh" in said.out
    assert "yum clean metadata" in said.out
    settle(live, first)
    assert everything(live.base) == first
    assert SPARE.nevra in client.available()
    client.run("--refresh", "downgrade", "hello")
    assert client.installed() == names(GREETING, HELLO)
    assert live.zones.status()["repositories"]["baseos"]["publication"]["rolled_back"]

    # What the outside sends again does not end a rollback; what is new does.
    newest = Package("hello", "1.2", requires=("greeting >= 1.0",))
    live.repo.update(add=rpm_cache.get(newest, key=vendor_key))
    live.zones.cross()
    client.update()
    assert client.installed() == names(GREETING, newest)
    live.zones.within("gc")
    assert everything(f"{live.base}@1") == first
    pinned.run("--refresh", "reinstall", "hello")


def test_a_pin_that_never_was_is_not_there(live: Live) -> None:
    for serial in ("0", "2", "01", "x", "", "1/../2"):
        with pytest.raises(urllib.error.HTTPError, match=r"40[04]"):
            get(f"{live.base}@{serial}/repodata/repomd.xml")


@dataclass(eq=False)
class Reader(threading.Thread):
    """A client that never waits: repomd.xml, its signature, every index, the newest package.

    It comes from an address of its own, as each client of a network does.
    """

    live: Live
    key: GpgHome
    scratch: Path
    rounds: int = 0
    seen: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                self._round()
            except (OSError, http.client.HTTPException, AssertionError) as error:
                self.failures.append(f"round {self.rounds}: {error!r}")
            self.rounds += 1

    def _round(self) -> None:
        repomd = self._get("repodata/repomd.xml")
        signature = self._get("repodata/repomd.xml.asc")
        document, detached = self.scratch / "repomd.xml", self.scratch / "repomd.xml.asc"
        document.write_bytes(repomd)
        detached.write_bytes(signature)
        assert self.key.verify(document, detached), "the signature is not of this repomd.xml"
        for record in ElementTree.fromstring(repomd).iterfind("repo:data", NS):
            href = record.find("repo:location", NS).attrib["href"]  # type: ignore[union-attr]
            body = self._get(href)
            promised = record.findtext("repo:checksum", namespaces=NS)
            assert hashlib.sha256(body).hexdigest() == promised, href
        self.seen.add(hashlib.sha256(repomd).hexdigest())

    def _get(self, path: str) -> bytes:
        host = self.live.server.url.removeprefix("http://")
        connection = http.client.HTTPConnection(host, timeout=60, source_address=("127.0.0.2", 0))
        try:
            connection.request("GET", f"/yum/baseos/{quote(path, safe='/+~^')}")
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, f"{answer.status} for {path}"
        finally:
            connection.close()
        return body


@dataclass(eq=False)
class Refresher(threading.Thread):
    """A dnf that refreshes all the time, now with an empty cache, now with an old one."""

    client: Dnf
    ended: threading.Event = field(default_factory=threading.Event)
    rounds: int = 0
    versions: set[str] = field(default_factory=set)
    failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def run(self) -> None:
        ways = (
            ("--refresh", "install", "beat"),
            ("--refresh", "--setopt=keepcache=0", "install", "--downloadonly", "beat"),
            ("--refresh", "reinstall", "beat"),
            ("--refresh", "makecache"),
            ("--refresh", "update"),
        )
        while not self.ended.is_set():
            done = self.client.run(*ways[self.rounds % len(ways)], check=False)
            # The package may have been replaced: then there is nothing to reinstall.
            expected = "reinstall" in done.args and "not available" in done.stdout + done.stderr
            if (done.returncode != 0 and not expected) or "Error" in done.stderr:
                text = f"{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
                if not expected:
                    self.failures.append(f"round {self.rounds}: {done.args[-3:]}: {text}")
            self.versions.update(n for n in self.client.installed() if n.startswith("beat-"))
            self.rounds += 1


def _beat(live: Live, cache: RpmCache, key: GpgHome, folder: Path, publications: int) -> None:
    beats = [Package("beat", f"1.{number}") for number in range(publications + 1)]
    built = cache.get(*beats, key=key)
    live.repo.update(add=[built[0]])
    live.zones.cross()
    client = Dnf(folder / "client")
    client.use_text(live.setup)
    client.install("beat")
    (folder / "reader").mkdir()
    reader, refresher = Reader(live, key, folder / "reader"), Refresher(client)
    reader.start()
    refresher.start()
    try:
        for number in range(1, publications + 1):
            rounds = refresher.rounds
            live.repo.update(add=[built[number]], remove=[beats[number - 1].filename])
            live.zones.cross()
            assert reader.is_alive()
            until = time.monotonic() + 30
            while refresher.rounds == rounds and time.monotonic() < until:
                time.sleep(0.01)
    finally:
        for each in (reader, refresher):
            each.ended.set()
            each.join(180)
        client.close()
    assert refresher.failures == []
    assert reader.failures == []
    assert refresher.rounds >= publications
    assert len(reader.seen) >= publications * 2 // 3
    client.update()
    assert client.installed() == names(beats[-1])
    assert len(refresher.versions) >= publications // 3


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_no_client_fails_while_100_publications_follow_each_other(
    live: Live, rpm_cache: RpmCache, vendor_key: GpgHome, tmp_path: Path
) -> None:
    _beat(live, rpm_cache, vendor_key, tmp_path, 100)
