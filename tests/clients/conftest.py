"""A vendor's repository that crossed twice and is served, for all who only read it."""

from __future__ import annotations

import dataclasses
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import samples
from tests.support.dnf import Dnf
from tests.support.gpg import GpgHome
from tests.support.rpms import RpmCache
from tests.support.rsyncd import Rsyncd
from tests.support.yumrepo import YumRepo
from tests.support.zones import Serving, Zones


@dataclasses.dataclass
class Site:
    """A server after two crossings, the upstream it stands for, and a client from before."""

    repo: YumRepo
    zones: Zones
    server: Serving
    setup: str
    """The ``.repo`` file, as the server gave it out after the first crossing."""
    veteran: Dnf


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory, rpm_cache: RpmCache, vendor_key: GpgHome
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    repo = samples.vendor_repo(
        folder / "vendor", rpm_cache, vendor_key, layout="letters", tree=True
    )
    key = str(vendor_key.export(folder / "vendor.asc"))
    with Rsyncd({"baseos": repo.root}) as daemon:
        zones = Zones(
            folder / "zones",
            {"baseos": {"format": "yum", "upstream": daemon.url("baseos"), "signed_by": key}},
            inside={"require": {"baseos": {"signed_by": key, "check_packages": True}}},
        )
        zones.cross()
        with zones.serving() as server:
            with urllib.request.urlopen(f"{server.url}/setup/baseos.repo", timeout=60) as answer:
                setup = answer.read().decode()
            veteran = Dnf(folder / "veteran")
            veteran.use_text(setup)
            veteran.install("hello", "spare")
            samples.release_update(repo, rpm_cache)
            zones.cross()
            yield Site(repo, zones, server, setup, veteran)
            veteran.close()


@pytest.fixture
def client(site: Site, tmp_path: Path) -> Iterator[Dnf]:
    made = Dnf(tmp_path / "client")
    made.use_text(site.setup)
    yield made
    made.close()
