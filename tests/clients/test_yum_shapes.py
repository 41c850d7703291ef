"""Repositories as vendors of twenty years have made them: each crosses and installs."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import createrepo_c
import pytest

from tests.conftest import DnfFactory
from tests.support import samples
from tests.support.dnf import DnfRepo
from tests.support.gpg import GpgHome
from tests.support.nginx import Nginx
from tests.support.rpms import RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.samples import GREETING, HELLO, ODD, Options
from tests.support.served import read_folder
from tests.support.yumrepo import YumRepo
from tests.support.zones import Serving, Zones

SHAPES: Mapping[str, tuple[str, Options]] = {
    "sha1-gz": ("rsync", {"checksum": "sha1", "compression": "gz", "layout": "letters"}),
    "sha512-xz": ("http", {"checksum": "sha512", "compression": "xz", "layout": "letters"}),
    "sha256-bz2": ("file", {"checksum": "sha256", "compression": "bz2", "layout": "flat"}),
    "sha256-zstd": ("http", {"checksum": "sha256", "compression": "zstd", "layout": "flat"}),
    "sha1-xz": ("http", {"checksum": "sha1", "compression": "xz", "layout": "flat"}),
}
"""Name -> how it is mirrored, what it is like."""


@dataclass
class Crossed:
    repos: dict[str, YumRepo]
    zones: Zones
    server: Serving
    elsewhere: Nginx
    """The host that the ``xml:base`` of the repository ``based`` names."""


@pytest.fixture(scope="module")
def crossed(
    tmp_path_factory: pytest.TempPathFactory, rpm_cache: RpmCache, vendor_key: GpgHome
) -> Iterator[Crossed]:
    folder = tmp_path_factory.mktemp("shapes")
    upstream = folder / "upstream"
    repos = {
        name: samples.vendor_repo(upstream / name, rpm_cache, vendor_key, **options)
        for name, (_, options) in SHAPES.items()
    }
    key = str(vendor_key.export(folder / "vendor.asc"))
    with Nginx(upstream) as web, Rsyncd({"all": upstream}) as daemon:
        places = {"http": web.url, "rsync": daemon.url("all"), "file": f"{upstream.as_uri()}/"}
        settings: dict[str, dict[str, object]] = {
            name: {"format": "yum", "upstream": f"{places[way]}{name}/", "signed_by": key}
            for name, (way, _) in SHAPES.items()
        }
        # A vendor whose index sends clients to the vendor's own public address.
        repos["based"] = based = YumRepo(upstream / "based", base_url=f"{web.url}based/")
        based.layout = "letters"
        based.add(*rpm_cache.get(GREETING, HELLO, ODD, key=vendor_key))
        based.publish()
        settings["based"] = {"format": "yum", "upstream": f"{web.url}based/"}
        settings["based"] |= {"metadata": "derived"}
        zones = Zones(
            folder / "zones",
            settings,
            inside={"require": {name: {"signed_by": key} for name in settings}},
        )
        zones.cross()
        with zones.serving() as server:
            yield Crossed(repos, zones, server, web)


def checked(crossed: Crossed, name: str) -> DnfRepo:
    """With all checks on, as a client writes it by hand."""
    return DnfRepo(
        name,
        f"{crossed.server.url}/yum/{name}/",
        gpgcheck=True,
        repo_gpgcheck=name != "based",
        gpgkey=f"{crossed.server.url}/setup/keys/{name}.asc",
    )


@pytest.mark.parametrize("name", SHAPES)
def test_dnf_installs_from_every_shape(crossed: Crossed, dnf: DnfFactory, name: str) -> None:
    client = dnf(checked(crossed, name))
    client.install("hello", "libodd+c++")
    expected = sorted(p.filename.removesuffix(".rpm") for p in (GREETING, HELLO, ODD))
    assert client.installed() == expected
    assert "tool" in client.module("list").stdout
    assert samples.GROUP in client.group("list", "--ids").stdout


@pytest.mark.parametrize("name", SHAPES)
def test_every_promise_of_the_index_is_kept(crossed: Crossed, name: str) -> None:
    base = f"{crossed.server.url}/yum/{name}/"

    def get(path: str) -> bytes:
        with urllib.request.urlopen(base + path, timeout=60) as answer:
            content: bytes = answer.read()
        return content

    upstream = read_folder(crossed.repos[name].root)
    repomd = crossed.repos[name].repomd
    assert get("repodata/repomd.xml") == repomd.read_bytes()
    assert get("repodata/repomd.xml.asc") == upstream["repodata/repomd.xml.asc"]
    for record in createrepo_c.Repomd(str(repomd)).records:
        content = get(record.location_href)
        assert hashlib.new(record.checksum_type, content).hexdigest() == record.checksum
    for path in crossed.repos[name].packages():
        assert get(path) == upstream[path]


def test_packages_that_the_index_puts_on_another_host_come_from_ours(
    crossed: Crossed, dnf: DnfFactory
) -> None:
    before = len(crossed.elsewhere.access())
    client = dnf(checked(crossed, "based"))
    client.install("hello", "libodd+c++")
    expected = sorted(p.filename.removesuffix(".rpm") for p in (GREETING, HELLO, ODD))
    assert client.installed() == expected
    assert crossed.elsewhere.access()[before:] == []


def test_an_index_that_sends_clients_elsewhere_is_held(
    crossed: Crossed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mirror.attempts._PAUSES", (0.01,))
    zones = crossed.zones
    zones.repositories["verbatim"] = {
        "format": "yum",
        "upstream": zones.repositories["based"]["upstream"],
    }
    zones.configure_outside()
    try:
        said = zones.out("sync", "verbatim", expect=3)
    finally:
        del zones.repositories["verbatim"]
        zones.configure_outside()
    assert f"lies elsewhere: {crossed.elsewhere.url}based/" in said.err
    assert "metadata: derived" in said.err
