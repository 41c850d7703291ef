"""Repositories whose metadata is made inside, signed there; and mirrors of our mirror."""

from __future__ import annotations

import bz2
import shutil
import sqlite3
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import DnfFactory
from tests.support import metadata, samples, tools, yum34
from tests.support.dnf import DnfRepo
from tests.support.gpg import GpgHome
from tests.support.nginx import Nginx
from tests.support.rpms import Package, RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.samples import GREETING, HELLO, HELLO_NEW, ODD, SPARE, TOOL
from tests.support.served import read_folder
from tests.support.yumrepo import YumRepo
from tests.support.zones import Serving, Zones

OTHER = "EXSA-2024:0002"
"""An advisory of ``SPARE`` alone, which the filters leave out."""
CHOICE: dict[str, object] = {
    "include": ["hello", "greeting", "libodd*", "spare", "tool"],
    "exclude": ["spare-3*"],
    "arches": ["x86_64"],
    "newest": 1,
}
CHOSEN = (GREETING, HELLO_NEW, ODD, TOOL)
"""What ``CHOICE`` leaves of the vendor's packages; a module's are exempt from ``newest``."""


@dataclass
class Chosen:
    repo: YumRepo
    zones: Zones
    server: Serving
    key: GpgHome
    """The key with which the inside signs what it makes."""
    vendor: str
    """The vendor's public key, a file."""

    def base(self, name: str) -> str:
        return f"{self.server.url}/yum/{name}"

    def setup(self, name: str) -> str:
        url = f"{self.server.url}/setup/{name}.repo"
        with urllib.request.urlopen(url, timeout=60) as answer:
            text: str = answer.read().decode()
        return text


def get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        content: bytes = answer.read()
    return content


def short(*packages: Package) -> list[str]:
    return sorted(package.filename.removesuffix(".rpm") for package in packages)


@pytest.fixture(scope="module")
def chosen(
    tmp_path_factory: pytest.TempPathFactory, rpm_cache: RpmCache, vendor_key: GpgHome
) -> Iterator[Chosen]:
    folder = tmp_path_factory.mktemp("chosen")
    repo = samples.vendor_repo(folder / "up/vendor", rpm_cache, vendor_key, tree=True)
    two = metadata.updateinfo([SPARE], advisory=OTHER).split(b"<updates>")[1]
    one = metadata.updateinfo([HELLO_NEW, SPARE], advisory=samples.ADVISORY)
    repo.extras["updateinfo"] = one.replace(b"</updates>", two)
    repo.update(add=rpm_cache.get(HELLO_NEW, key=vendor_key))
    plain = folder / "up/plain"
    for package in rpm_cache.get(GREETING, HELLO, ODD, key=vendor_key):
        (plain / "el9/tools").mkdir(parents=True, exist_ok=True)
        shutil.copy(package, plain / "el9/tools")
    vendor = str(vendor_key.export(folder / "vendor.asc"))
    with (
        Nginx(folder / "up") as web,
        Rsyncd({"up": folder / "up"}) as daemon,
        GpgHome.create("Inside <inside@example.org>", algorithm="ed25519") as own,
    ):
        signed: dict[str, object] = {"format": "yum", "signed_by": vendor}
        repositories = {
            "by-rsync": signed | CHOICE | {"upstream": daemon.url("up", "vendor/")},
            "by-http": signed | CHOICE | {"upstream": f"{web.url}vendor/"},
            "noarch": {
                "format": "yum",
                "upstream": daemon.url("up", "vendor/"),
                "arches": "noarch",
            },
            "plain": {"format": "yum", "upstream": daemon.url("up", "plain/")},
            "baseos": signed | {"upstream": daemon.url("up", "vendor/")},
        }
        (folder / "own.secret").write_bytes(own.secret_key())
        zones = Zones(
            folder / "zones",
            repositories,
            inside={
                "repository_key": str(folder / "own.secret"),
                "require": {name: {"signed_by": vendor} for name in repositories},
            },
        )
        zones.cross()
        with zones.serving() as server:
            yield Chosen(repo, zones, server, own, vendor)


def test_both_ways_to_mirror_choose_the_same_and_make_the_same(chosen: Chosen) -> None:
    by_rsync, by_http = (chosen.base(name) for name in ("by-rsync", "by-http"))
    assert get(f"{by_rsync}/repodata/repomd.xml") == get(f"{by_http}/repodata/repomd.xml")
    found = yum34.read(by_http)
    assert sorted(found.packages) == sorted(package.nevra for package in CHOSEN)


@pytest.mark.parametrize("name", ["by-rsync", "by-http"])
def test_dnf_uses_what_was_chosen_with_all_checks(
    chosen: Chosen, dnf: DnfFactory, name: str
) -> None:
    setup = chosen.setup(name)
    assert {"gpgcheck=1", "repo_gpgcheck=1"} <= set(setup.splitlines())
    client = dnf()
    client.use_text(setup)
    client.install("hello", "libodd+c++")
    assert client.installed() == short(GREETING, HELLO_NEW, ODD)
    assert TOOL.nevra not in client.available()
    client.module("install", "tool:2/common")
    assert samples.GROUP in client.group("list", "--ids").stdout
    advisories = client.updateinfo("list", "--all").stdout
    assert samples.ADVISORY in advisories
    assert OTHER not in advisories
    assert "spare" not in advisories


def test_dnf_uses_a_plain_folder_of_packages(chosen: Chosen, dnf: DnfFactory) -> None:
    client = dnf()
    client.use_text(chosen.setup("plain"))
    client.install("hello", "libodd+c++")
    assert client.installed() == short(GREETING, HELLO, ODD)
    found = yum34.read(chosen.base("plain"))
    assert found.packages[ODD.nevra] == f"el9/tools/{ODD.filename}"


def test_an_architecture_alone_keeps_what_has_none(chosen: Chosen) -> None:
    found = yum34.read(chosen.base("noarch"))
    kept = [p for p in (GREETING, HELLO, HELLO_NEW, SPARE, ODD, TOOL) if p.arch == "noarch"]
    assert sorted(found.packages) == sorted(package.nevra for package in kept)
    assert found.advisories[OTHER] == [SPARE.filename]


def test_metadata_that_was_tampered_with_is_refused(chosen: Chosen, dnf: DnfFactory) -> None:
    client = dnf(
        DnfRepo(
            "plain", f"{chosen.base('plain')}/", gpgcheck=True, repo_gpgcheck=True,
            gpgkey=Path(chosen.vendor).as_uri(),
        )
    )  # fmt: skip
    # The vendor did not sign what we made: only our own key vouches for it.
    assert client.install("hello", check=False).returncode != 0
    assert client.installed() == []


@pytest.mark.parametrize("name", ["by-http", "plain", "noarch"])
def test_a_client_as_old_as_yum_3_4_reads_what_we_make(
    chosen: Chosen, name: str, tmp_path: Path
) -> None:
    found = yum34.read(chosen.base(name))
    assert GREETING.nevra in found.packages
    if name != "plain":
        assert found.groups == [samples.GROUP]
    if name == "by-http":
        assert found.advisories == {samples.ADVISORY: [HELLO_NEW.filename]}
    # An older createrepo_c turns it into the databases that yum 3.4 works with.
    repodata = tmp_path / "repodata"
    repodata.mkdir()
    repomd = get(f"{chosen.base(name)}/repodata/repomd.xml")
    (repodata / "repomd.xml").write_bytes(repomd)
    for href in repomd.decode().split('href="')[1:]:
        path = href.partition('"')[0]
        (tmp_path / path).write_bytes(get(f"{chosen.base(name)}/{path}"))
    tools.run([tools.need("sqliterepo_c"), "--local-sqlite", tmp_path])
    (database,) = repodata.glob("*primary.sqlite.bz2")
    plain = tmp_path / "primary.sqlite"
    plain.write_bytes(bz2.decompress(database.read_bytes()))
    with sqlite3.connect(plain) as connection:
        rows = connection.execute("select name, epoch, version, release, arch from packages")
        listed = {f"{n}-{e}:{v}-{r}.{a}" for n, e, v, r, a in rows}
    assert listed == set(found.packages)


def test_our_mirror_is_mirrored_by_dnf(chosen: Chosen, dnf: DnfFactory, tmp_path: Path) -> None:
    for name in ("baseos", "by-http"):
        client = dnf()
        client.use_text(chosen.setup(name))
        client.reposync(tmp_path)
        copy = dnf()
        setup = chosen.setup(name).splitlines()
        base = (tmp_path / name).as_uri()
        copy.use_text(
            "\n".join(f"baseurl={base}" if x.startswith("baseurl=") else x for x in setup)
        )
        copy.install("hello", "libodd+c++")
        assert copy.installed() == short(GREETING, HELLO_NEW, ODD)


def test_our_mirror_is_mirrored_by_another_outside(
    chosen: Chosen, dnf: DnfFactory, tmp_path: Path
) -> None:
    own = str(chosen.key.export(tmp_path / "own.asc"))
    pinned = {"format": "yum", "upstream": f"{chosen.server.url}/yum/baseos@1/"}
    zones = Zones(
        tmp_path / "zones",
        {
            "baseos": {
                "format": "yum",
                "upstream": f"{chosen.base('baseos')}/",
                "signed_by": chosen.vendor,
            },
            "by-http": {"format": "yum", "upstream": f"{chosen.base('by-http')}/"}
            | {"signed_by": own},
            "pinned": pinned | {"signed_by": chosen.vendor},
        },
        inside={
            "require": {
                "baseos": {"signed_by": chosen.vendor, "check_packages": True},
                "by-http": {"signed_by": [own, chosen.vendor], "check_packages": True},
            }
        },
    )
    zones.cross()
    first = chosen.zones.status()["repositories"]["baseos"]["publication"]
    second = zones.status()["repositories"]
    # The very same tree, the installer's files included.
    assert second["baseos"]["publication"]["tree"] == first["tree"]
    assert second["pinned"]["publication"]["files"] == first["files"]
    assert "unchanged" in zones.out("sync", "baseos").out
    with zones.serving(workers=1) as server:
        for name in ("baseos", "by-http"):
            client = dnf()
            client.use_text(get(f"{server.url}/setup/{name}.repo").decode())
            client.install("hello", "libodd+c++")
            assert client.installed() == short(GREETING, HELLO_NEW, ODD)
        kernel = get(f"{server.url}/yum/baseos/images/pxeboot/vmlinuz")
        assert kernel == read_folder(chosen.repo.root)["images/pxeboot/vmlinuz"]


def test_updates_and_rollback_never_look_older_to_yum(
    chosen: Chosen, rpm_cache: RpmCache, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    base = chosen.base("by-rsync")
    first = yum34.read(base)
    client = dnf()
    client.use_text(chosen.setup("by-rsync"))
    client.install("hello")
    newest = Package("hello", "1.2", requires=("greeting >= 1.0",))
    chosen.repo.update(add=rpm_cache.get(newest, key=vendor_key), remove=[HELLO_NEW.filename])
    chosen.zones.cross("by-rsync")
    client.update()
    assert client.installed() == short(GREETING, newest)
    assert client.updateinfo("list", "--all").stdout.count("EXSA") == 0
    second = yum34.read(base, first)
    assert newest.nevra in second.packages
    assert HELLO_NEW.nevra not in second.packages
    assert second.advisories == {}

    chosen.zones.within("rollback", "by-rsync", "1")
    until = time.monotonic() + 60
    while True:
        third = yum34.read(base, first)
        if third.packages == first.packages or time.monotonic() > until:
            break
        time.sleep(0.1)
    assert third.packages == first.packages
    assert third.timestamp > second.timestamp
    assert HELLO_NEW.nevra in client.available()
    client.run("--refresh", "downgrade", "hello")
    assert client.installed() == short(GREETING, HELLO_NEW)
