"""A vendor's repository after its crossing: everything that dnf does with it.

Upstream is a signed repository with sub-folders behind an rsync daemon; clients use the
``.repo`` file of the inside server as it is, with all signature checks on.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.conftest import Site
from tests.support import samples
from tests.support.dnf import Dnf, rpm_query
from tests.support.rpms import Package
from tests.support.samples import GREETING, HELLO, HELLO_NEW, ODD, SPARE, TOOL
from tests.support.served import read_folder


def short(*packages: Package) -> list[str]:
    """As ``rpm -qa`` prints them."""
    return sorted(package.filename.removesuffix(".rpm") for package in packages)


def test_the_setup_file_asks_for_every_check(site: Site) -> None:
    lines = site.setup.splitlines()
    assert "[baseos]" in lines
    assert {"enabled=1", "gpgcheck=1", "repo_gpgcheck=1"} <= set(lines)
    assert f"baseurl={site.server.url}/yum/baseos/" in lines
    assert f"gpgkey={site.server.url}/setup/keys/baseos.asc" in lines
    expire = next(line for line in lines if line.startswith("metadata_expire="))
    assert int(expire.partition("=")[2]) <= 3600


def test_install_with_a_dependency_and_remove(client: Dnf) -> None:
    client.install("hello", "libodd+c++")
    assert client.installed() == short(GREETING, HELLO_NEW, ODD)
    client.remove("greeting")
    assert client.installed() == short(ODD)


def test_what_was_installed_before_is_updated_by_its_advisory(site: Site) -> None:
    veteran = site.veteran
    assert veteran.installed() == short(GREETING, HELLO, SPARE)
    listed = veteran.updateinfo("list").stdout
    assert samples.ADVISORY in listed
    assert "Important/Sec." in listed
    assert HELLO_NEW.filename.removesuffix(".rpm") in listed
    told = veteran.updateinfo("info", samples.ADVISORY).stdout
    assert "CVE-2024-0001" in told
    assert "A hole is closed." in told
    veteran.run("update", "--security")
    assert veteran.installed() == short(GREETING, HELLO_NEW, SPARE)
    assert samples.ADVISORY not in veteran.updateinfo("list").stdout
    assert SPARE.nevra not in veteran.available()


def test_modules_are_listed_enabled_and_installed(client: Dnf) -> None:
    assert TOOL.nevra not in client.available()
    listed = client.module("list").stdout
    assert "tool" in listed
    client.module("enable", "tool:2")
    client.module("install", "tool:2/common")
    assert client.installed() == short(TOOL)


def test_groups_are_listed_and_installed(client: Dnf) -> None:
    assert samples.GROUP in client.group("list", "--ids").stdout
    client.group("install", samples.GROUP)
    assert client.installed() == short(GREETING, HELLO_NEW)


def test_repoquery_sees_epochs_locations_and_odd_names(client: Dnf) -> None:
    assert sorted(client.available()) == sorted(p.nevra for p in (GREETING, HELLO, HELLO_NEW, ODD))
    words = ("--quiet", "repoquery", "--location", "libodd+c++")
    place = client.run(*words).stdout.strip()
    assert place.endswith(f"/yum/baseos/Packages/l/{ODD.filename}")
    needs = client.run("--quiet", "repoquery", "--whatrequires", "greeting").stdout
    assert HELLO_NEW.nevra in needs


def test_reposync_gives_the_upstream_byte_for_byte(site: Site, client: Dnf, tmp_path: Path) -> None:
    client.reposync(tmp_path / "copy")
    copy = read_folder(tmp_path / "copy/baseos")
    upstream = read_folder(site.repo.root)
    assert {path for path in upstream if path.endswith(".rpm")} <= set(copy)
    for path, content in copy.items():
        assert upstream[path] == content, path
    assert {path.partition("/")[0] for path in copy} == {"Packages", "repodata"}
    # What dnf itself has no use for (product certificate, the key) it does not download.
    missed = {path for path in upstream if path.startswith("repodata/") and path not in copy}
    assert all("productid" in path or path.endswith(".key") for path in missed), missed


@pytest.mark.parametrize("word", ["install", "download"])
def test_a_package_is_reached_by_every_way_to_write_its_name(
    client: Dnf, word: str, tmp_path: Path
) -> None:
    name = f"libodd+c++-{ODD.epoch}:{ODD.version}-{ODD.release}.{ODD.arch}"
    if word == "install":
        client.install(name)
        assert rpm_query(client.root, home=client.home) == short(ODD)
    else:
        client.run("--refresh", "install", "--downloadonly", f"--downloaddir={tmp_path}", name)
        assert (tmp_path / ODD.filename).is_file()


def test_the_inside_says_what_it_serves(site: Site) -> None:
    status = site.zones.status()
    live = status["repositories"]["baseos"]["publication"]
    assert live["serial"] == 2
    assert live["files"] > len(site.repo.packages())
    assert status["holds"] == []
