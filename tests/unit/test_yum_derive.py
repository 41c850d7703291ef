"""Derived metadata: what a client reads of a folder of packages, made anew or taken over."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import createrepo_c
import pytest

from manifests.errors import MalformedIndex
from manifests.formats import format_named
from manifests.formats.base import Derived, Severity, Spec
from tests.support import metadata
from tests.support.formats import MemoryView
from tests.support.rpms import Package, build

YUM = format_named("yum")
FACTS = {".sluice/facts.json": b'{"metadata": "derived"}\n'}
ALPHA = Package("alpha+x", "1.0~rc1", "1^git", requires=("beta >= 1",), summary="A & B <x>")
BETA = Package("beta", "2.0", epoch=3, arch="x86_64")
GAMMA = Package("gamma", "1")


@pytest.fixture(scope="module")
def rpms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    built = build([ALPHA, BETA, GAMMA], tmp_path_factory.mktemp("rpms"))
    return {f"Packages/{path.name}": path.read_bytes() for path in built}


def derived(view: MemoryView, previous: Derived | None = None, signer: object = None) -> MemoryView:
    files = {}
    for path, content in YUM.derive(view, previous, signer):  # type: ignore[arg-type]
        assert path not in files
        files[path] = content.read_bytes() if isinstance(content, Path) else content
    return MemoryView(files)


def read(overlay: MemoryView, base: MemoryView, folder: Path) -> list[createrepo_c.Package]:
    """What createrepo_c's own reader finds, after our own check found nothing missing."""
    served = MemoryView({**base.files, **overlay.files, ".sluice/facts.json": b"{}"})
    assert [p for p in YUM.check(Spec("r"), served) if p.severity is Severity.REQUIRED] == []
    for path, data in overlay.files.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    reader = createrepo_c.RepositoryReader.from_path(str(folder))
    return sorted(reader.iter_packages(), key=lambda package: str(package.name))


def plain(overlay: MemoryView, kind: str) -> bytes:
    (path,) = [path for path in overlay.files if path.endswith(f"-{kind}")]
    data = overlay.files[path]
    return gzip.decompress(data) if path.endswith(".gz") else data


def test_a_plain_folder_of_packages_becomes_a_repository(
    rpms: dict[str, bytes], tmp_path: Path
) -> None:
    folder = MemoryView(rpms)
    facts = dict(YUM.facts(Spec("r"), folder))
    assert facts == FACTS
    base = MemoryView({**rpms, **facts})
    overlay = derived(base)
    found = read(overlay, base, tmp_path)
    assert [p.nevra() for p in found] == [ALPHA.nevra, BETA.nevra, GAMMA.nevra]
    assert found[0].summary == "A & B <x>"
    assert ("beta", "GE", "0", "1", None, False) in [tuple(r) for r in found[0].requires]
    assert {p.location_href for p in found} == set(rpms)
    assert found[0].files
    kinds = sorted(path.rpartition("-")[2] for path in overlay.files)
    assert kinds == ["filelists.xml.gz", "other.xml.gz", "primary.xml.gz", "repodata/repomd.xml"]
    assert b"<revision>1700000000<" in overlay.files["repodata/repomd.xml"]


def test_the_same_tree_gives_the_same_bytes(rpms: dict[str, bytes]) -> None:
    view = MemoryView({**rpms, **FACTS})
    assert derived(view).files == derived(MemoryView({**rpms, **FACTS})).files


def test_an_unchanged_set_is_taken_over_and_a_changed_one_opens_only_what_is_new(
    rpms: dict[str, bytes], tmp_path: Path
) -> None:
    paths = sorted(rpms)
    old = MemoryView({**{p: rpms[p] for p in paths[:2]}, **FACTS})
    first = derived(old)
    same = MemoryView({**old.files, "README": b"new"})
    again = derived(same, Derived(old, first))
    assert again.files == first.files
    assert not [path for path in same.opened if path.endswith(".rpm")]

    new = MemoryView({**{p: rpms[p] for p in paths[1:]}, **FACTS})
    second = derived(new, Derived(old, first))
    assert [path for path in new.opened if path.endswith(".rpm")] == [paths[2]]
    fresh = derived(MemoryView(new.files))
    for kind in ("primary.xml.gz", "filelists.xml.gz", "other.xml.gz"):
        assert plain(second, kind) == plain(fresh, kind)
    assert [p.name for p in read(second, new, tmp_path)] == ["beta", "gamma"]


def test_revisions_only_grow(rpms: dict[str, bytes]) -> None:
    paths = sorted(rpms)
    one = MemoryView({paths[0]: rpms[paths[0]], **FACTS})
    two = MemoryView({**rpms, **FACTS})
    first = derived(one)
    second = derived(two, Derived(one, first))
    back = derived(one, Derived(two, second))
    revisions = [
        int(each.files["repodata/repomd.xml"].split(b"<revision>")[1].split(b"<")[0])
        for each in (first, second, back)
    ]
    assert revisions == [1700000000, 1700000001, 1700000002]


def test_carried_indexes_fit_what_is_there(rpms: dict[str, bytes], tmp_path: Path) -> None:
    kept = {path: data for path, data in rpms.items() if "gamma" not in path}
    advisories = metadata.updateinfo([ALPHA, GAMMA]).replace(
        b"</updates>", metadata.updateinfo([GAMMA], advisory="GONE").split(b"<updates>")[1]
    )
    raw = {
        f"updateinfo/{'a' * 64}-updateinfo.xml.gz": gzip.compress(advisories),
        "group/comps.xml": metadata.comps(["alpha+x"]),
        "group_gz/comps.xml.gz": gzip.compress(metadata.comps(["alpha+x"])),
        "modules/modules.yaml": b"document: modulemd\n",
        "productid/productid": metadata.PRODUCT_ID,
        "upstream/repomd.xml": b"<repomd/>",
    }
    base = MemoryView({**kept, **FACTS, **{f".sluice/yum/{k}": v for k, v in raw.items()}})
    overlay = derived(base)
    read(overlay, base, tmp_path)
    assert plain(overlay, "comps.xml") == plain(overlay, "comps.xml.gz") == raw["group/comps.xml"]
    assert plain(overlay, "modules.yaml.gz") == raw["modules/modules.yaml"]
    assert plain(overlay, "productid") == metadata.PRODUCT_ID
    info = plain(overlay, "updateinfo.xml.gz")
    assert b"GONE" not in info and b"gamma" not in info
    (target,) = tmp_path.glob("repodata/*-updateinfo.xml.gz")
    (record,) = createrepo_c.UpdateInfo(str(target)).updates
    assert record.id == "EXSA-2024:0001" and record.severity == "Important"
    assert [p.name for c in record.collections for p in c.packages] == ["alpha+x"]
    assert [r.id for r in record.references] == ["CVE-2024-0001"]


def test_a_signer_signs_what_is_served(rpms: dict[str, bytes]) -> None:
    class Signer:
        def armored(self, data: bytes) -> bytes:
            return b"signed " + data

    view = MemoryView({**rpms, **FACTS})
    first = derived(view, None, Signer())
    for each in (first, derived(view, Derived(view, first), Signer())):
        assert list(each.files["repodata/repomd.xml.asc"].split(b" ", 1)) == [
            b"signed", each.files["repodata/repomd.xml"],
        ]  # fmt: skip


def test_an_unreadable_package_ends_derivation_unless_it_was_accepted(
    rpms: dict[str, bytes],
) -> None:
    broken = {**rpms, "bad.rpm": rpms[sorted(rpms)[0]][:500], **FACTS}
    with pytest.raises(MalformedIndex, match=r"bad\.rpm"):
        derived(MemoryView(broken))
    row = {"path": "bad.rpm", "reason": "broken", "by": "x", "at": "y"}
    broken[".sluice/exceptions.json"] = json.dumps([row]).encode()
    assert b'packages="3"' in plain(derived(MemoryView(broken)), "primary.xml.gz")


def test_verbatim_trees_derive_nothing(rpms: dict[str, bytes]) -> None:
    assert derived(MemoryView(rpms)).files == {}
