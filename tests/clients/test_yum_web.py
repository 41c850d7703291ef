"""What reaches the inside server beside dnf: an installer, curl, wget, a browser."""

from __future__ import annotations

import configparser
import hashlib
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.conftest import Site
from tests.support import kickstart, tools
from tests.support.samples import ODD
from tests.support.served import read_folder

INSTALLER = ("--globoff", "--location", "--fail", "--show-error", "--silent")
"""How dracut of an installation medium calls curl."""


def curl(*words: object, check: bool = True) -> subprocess.CompletedProcess[str]:
    # Without -q a .curlrc of the machine would have its say.
    return tools.run([tools.need("curl"), "-q", *(str(word) for word in words)], check=check)


def head(text: str) -> dict[str, str]:
    """Field name in lower case -> value, of the last answer that curl printed."""
    block = [part for part in text.replace("\r", "").split("\n\n") if part][-1]
    lines = block.split("\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
    return {name.lower(): value for name, value in fields.items()} | {"status": lines[0]}


@pytest.fixture
def base(site: Site) -> str:
    return f"{site.server.url}/yum/baseos"


def test_an_installer_finds_every_file_of_the_treeinfo(base: str, site: Site) -> None:
    wanted = configparser.ConfigParser()
    wanted.read_string(curl(*INSTALLER, f"{base}/.treeinfo").stdout)
    sums = dict(wanted["checksums"])
    assert len(sums) == len(kickstart.FILES)
    images = {wanted["stage2"]["mainimage"]}
    for arch in wanted["general"]["platforms"].split(","):
        images |= set(wanted[f"images-{arch}"].values())
    assert images <= set(sums), "the boot images are not among the checksums"
    # ConfigParser folds names; the files' own case is what the upstream has.
    names = {path.lower(): path for path in read_folder(site.repo.root)}
    for folded, promised in sums.items():
        algorithm, _, value = promised.partition(":")
        url = f"{base}/{names[folded]}"
        body = subprocess.run(
            [tools.need("curl"), "-q", *INSTALLER, url], capture_output=True, check=True
        ).stdout
        assert hashlib.new(algorithm, body).hexdigest() == value, url


def test_an_installer_gets_its_second_stage_and_plain_refusals(base: str, tmp_path: Path) -> None:
    # What anaconda asks for beside the tree: optional images that may not be there.
    target = tmp_path / "install.img"
    curl(*INSTALLER, "--output", target, f"{base}/images/install.img")
    assert target.stat().st_size == kickstart.FILES["images/install.img"]
    for optional in ("images/updates.img", "images/product.img", "treeinfo", "LiveOS/squashfs.img"):
        done = curl(*INSTALLER, f"{base}/{optional}", check=False)
        assert done.returncode == 22
        assert "404" in done.stderr
    for path, content in kickstart.TEXTS.items():
        assert curl(*INSTALLER, f"{base}/{path}").stdout.encode() == content
    assert "<repomd" in curl(*INSTALLER, f"{base}/repodata/repomd.xml").stdout


def test_head_has_the_fields_of_get_and_no_body(base: str) -> None:
    url = f"{base}/images/install.img"
    got = head(curl("-sS", "-D", "-", "-o", "/dev/null", url).stdout)
    asked = head(curl("-sS", "--head", url).stdout)
    for name in ("status", "content-length", "content-type", "etag", "accept-ranges"):
        assert got[name] == asked[name]
    assert got["content-length"] == str(kickstart.FILES["images/install.img"])
    missing = curl("-sS", "--head", f"{base}/nothing").stdout
    assert " 404" in head(missing)["status"]


def test_a_download_that_broke_off_is_resumed(base: str, site: Site, tmp_path: Path) -> None:
    whole = (site.repo.root / "images/install.img").read_bytes()
    part = tmp_path / "install.img"
    part.write_bytes(whole[:30_000])
    url = f"{base}/images/install.img"
    told = curl("-sS", "-C", "-", "-o", part, "-w", "%{http_code} %{size_download}", url).stdout
    assert told == f"206 {len(whole) - 30_000}"
    assert part.read_bytes() == whole
    asked = curl("-sS", "-r", "10-19,30-39", "-D", "-", "-o", tmp_path / "many", url).stdout
    assert head(asked)["status"].split()[1] in ("200", "206")
    beyond = curl("-sS", "-r", "90000-", "-o", "/dev/null", "-w", "%{http_code}", url).stdout
    assert beyond == "416"


def test_an_unchanged_file_is_not_sent_again(base: str, tmp_path: Path) -> None:
    for path in ("repodata/repomd.xml", ".treeinfo", "images/efiboot.img"):
        url = f"{base}/{path}"
        etag = tmp_path / "etag"
        words = ("-sS", "-o", tmp_path / "body", "-w", "%{http_code} %{size_download}", url)
        assert curl("--etag-save", etag, *words).stdout.startswith("200 ")
        assert curl("--etag-compare", etag, *words).stdout == "304 0"
        other = curl("-H", 'If-None-Match: "something else"', *words).stdout
        assert other.startswith("200 ")


def test_odd_names_are_reached_plain_and_escaped(base: str, site: Site) -> None:
    path = f"Packages/l/{ODD.filename}"
    content = (site.repo.root / path).read_bytes()
    fully = "".join(f"%{byte:02x}" for byte in ODD.filename.encode())
    for written in (path, quote(path), quote(path, safe="/+~^"), f"Packages/l/{fully}"):
        body = subprocess.run(
            [tools.need("curl"), "-q", "-sS", "--fail", "--globoff", f"{base}/{written}"],
            capture_output=True,
            check=True,
        ).stdout
        assert body == content, written


def test_a_path_out_of_the_repository_leads_nowhere(base: str) -> None:
    for path in ("../../zone.yaml", "..%2f..%2fzone.yaml", "%2e%2e/zone.yaml", ".sluice/keys/"):
        words = ("-sS", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}")
        assert curl(*words, f"{base}/{path}").stdout in ("400", "404"), path


def test_a_browser_finds_its_way_from_the_home_page(site: Site) -> None:
    def page(path: str) -> str:
        return curl("-sS", "--fail", f"{site.server.url}{path}").stdout

    assert 'href="/yum/baseos/"' in page("/")
    assert 'href="/setup/baseos.repo"' in page("/")
    assert 'href="baseos/"' in page("/yum/")
    top = page("/yum/baseos/")
    assert 'href="Packages/"' in top
    assert ".sluice" not in top
    assert f'href="{quote(ODD.filename)}"' in page("/yum/baseos/Packages/l/")
    moved = curl("-sS", "-D", "-", "-o", "/dev/null", f"{site.server.url}/yum/baseos/Packages")
    assert head(moved.stdout)["location"].endswith("/yum/baseos/Packages/")


def test_wget_mirrors_the_listings_whole(base: str, site: Site, tmp_path: Path) -> None:
    tools.run(
        [
            tools.need("wget"), "--no-config", "-q", "-r", "-l", "inf", "-np", "-nH",
            "--cut-dirs=2", "-e", "robots=off", "-R", "index.html*", "-P", tmp_path, f"{base}/",
        ],
    )  # fmt: skip
    assert read_folder(tmp_path) == read_folder(site.repo.root)
