"""Real metadata is proved complete as it comes, and real clients use what we derive of it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest

from manifests.formats import format_named
from manifests.formats.base import Severity, Spec
from tests.conftest import DnfFactory
from tests.support import kickstart, metadata, samples
from tests.support.dnf import DnfRepo
from tests.support.formats import MemoryView, drive, view_of
from tests.support.gpg import GpgHome
from tests.support.rpms import RpmCache
from tests.support.samples import GREETING, HELLO, HELLO_NEW, ODD, SPARE, TOOL
from tests.support.yumrepo import Checksum, Compression, Layout, YumRepo

YUM = format_named("yum")


def required(view: MemoryView) -> list[str]:
    found = YUM.check(Spec("r"), view)
    return [problem.path for problem in found if problem.severity is Severity.REQUIRED]


def published(base: MemoryView, folder: Path) -> str:
    """Lay out the tree with its derived overlay, as a server would show it; its URL."""
    overlay = YUM.derive(base, None, None)
    made = {p: c.read_bytes() if isinstance(c, Path) else c for p, c in overlay}
    for path, data in {**base.files, **made}.items():
        if not path.startswith(".sluice/"):
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
    return folder.as_uri()


@pytest.mark.parametrize(
    ("checksum", "compression", "layout"),
    [
        ("sha1", "gz", "flat"),
        ("sha256", "zstd", "letters"),
        ("sha512", "xz", "letters"),
        ("sha256", "bz2", "flat"),
    ],
)
def test_a_vendors_repository_is_complete_and_each_loss_is_found(
    tmp_path: Path,
    rpm_cache: RpmCache,
    checksum: Checksum,
    compression: Compression,
    layout: Layout,
) -> None:
    repo = samples.vendor_repo(
        tmp_path / "repo", rpm_cache, None, tree=True, checksum=checksum,
        compression=compression, layout=layout,
    )  # fmt: skip
    whole = view_of(repo.root)
    assert list(YUM.check(Spec("r"), whole)) == []
    for path in (path for path in whole.files if path.endswith(".rpm") or "repodata/" in path):
        left = MemoryView({key: data for key, data in whole.files.items() if key != path})
        if not path.endswith("repomd.xml"):
            assert required(left) == [path]
    run = drive(YUM.crawl(Spec("r"), None), _listed(whole.files))
    assert run.files == whole.files


def _listed(files: dict[str, bytes]) -> dict[str, bytes]:
    """The files as a web server shows them: quoted, and with listings of two folders."""
    shown = {quote(path, safe="/~+^"): data for path, data in files.items()}
    folders = {path.rpartition("/")[0] for path in kickstart.FILES}
    folders |= {folder.partition("/")[0] for folder in folders}
    for folder in folders:
        inside = {path[len(folder) + 1 :] for path in files if path.startswith(f"{folder}/")}
        names = {name.split("/")[0] + ("/" if "/" in name else "") for name in inside}
        shown[f"{folder}/"] = "".join(f'<a href="{name}">x</a>' for name in names).encode()
    return shown


def test_dnf_installs_from_a_filtered_repository(
    tmp_path: Path, rpm_cache: RpmCache, vendor_key: GpgHome, dnf: DnfFactory
) -> None:
    repo = samples.vendor_repo(tmp_path / "up", rpm_cache, vendor_key)
    repo.extras["updateinfo"] = metadata.updateinfo([HELLO_NEW, SPARE])
    repo.update(add=rpm_cache.get(HELLO_NEW, key=vendor_key))
    spec = Spec("r", newest=1, exclude=("spare",))
    run = drive(YUM.crawl(spec, None), _listed(view_of(repo.root).files))
    assert required(run.view) == []
    url = published(run.view, tmp_path / "served")
    client = dnf(
        DnfRepo("t", url, gpgcheck=True, gpgkey=vendor_key.export(tmp_path / "k").as_uri())
    )
    client.install("hello", "libodd+c++")
    assert client.installed() == sorted(
        f"{p.name}-{p.version}-{p.release}.{p.arch}" for p in (GREETING, HELLO_NEW, ODD)
    )
    assert TOOL.nevra not in client.available()
    assert "tool" in client.module("list").stdout
    assert samples.GROUP in client.group("list", "--ids").stdout
    client.module("enable", "tool:2")
    assert sorted(client.available()) == sorted(p.nevra for p in (GREETING, HELLO_NEW, ODD, TOOL))
    assert "spare" not in client.updateinfo("list", "--all").stdout
    assert samples.ADVISORY in client.updateinfo("list", "--all").stdout


def test_dnf_installs_from_a_plain_folder(
    tmp_path: Path, rpm_cache: RpmCache, dnf: DnfFactory
) -> None:
    files = {path.name: path.read_bytes() for path in rpm_cache.get(GREETING, HELLO)}
    view = MemoryView(files)
    base = MemoryView({**files, **dict(YUM.facts(Spec("r"), view))})
    client = dnf(DnfRepo("t", published(base, tmp_path / "served")))
    client.install("hello")
    assert len(client.installed()) == 2


def test_xml_base_to_another_host_is_found_in_real_metadata(
    tmp_path: Path, rpm_cache: RpmCache
) -> None:
    repo = YumRepo(tmp_path / "repo", base_url="https://repo.example.org/x/")
    repo.add(*rpm_cache.get(GREETING))
    problems = list(YUM.check(Spec("r"), view_of(repo.publish().root)))
    assert ["https://repo.example.org/x/" in problem.what for problem in problems] == [True]
