"""Keys of every kind in one place, and images that the inside refuses or takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from manifests.digest import Digest
from manifests.errors import ConfigError, SignatureInvalid
from manifests.formats.base import KEYS, Signed, Spec
from manifests.tree import Entry
from manifests.zone.model import Signers
from mirror.checking import Confined, read_keys, signature_problems
from sluice.wiring import InsideChecks
from store import signatures
from store.checks import signatures as rows_of
from store.store import Store
from tests.support.cosign import Signer, signature_tag
from tests.support.gpg import GpgHome
from tests.support.images import Descriptor, Layout
from tests.support.imagetrees import tree

IMAGE = "team/app"
NAMED = f"registry.example.com/{IMAGE}"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "store") as store:
        yield store


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path / "layout")


@pytest.fixture(scope="module")
def gpg() -> Iterator[GpgHome]:
    with GpgHome.create("Example Vendor <vendor@example.org>") as home:
        yield home


def as_tree(layout: Layout, tags: dict[str, Descriptor], *more: Descriptor) -> dict[str, bytes]:
    """A repository with one image; ``more`` have no tag."""
    named = {f"{IMAGE}:{tag}": what for tag, what in tags.items()}
    return tree(layout, named, also={IMAGE: more})


def keep(store: Store, files: dict[str, bytes]) -> Digest:
    with store.blobs.batch() as batch:
        entries = [Entry(path, *batch.put_bytes(files[path])) for path in sorted(files)]
        return store.keep_tree(entries, batch).digest


class _Zone:
    """As much of an inside zone as ``require`` needs."""

    repository_key = None

    def __init__(self, *keys: Path) -> None:
        self.require = {"platform": Signers(signed_by=keys)}


def inside(store: Store, *keys: Path) -> InsideChecks:
    return InsideChecks(store, _Zone(*keys))  # type: ignore[arg-type]


def test_the_inside_takes_what_its_own_key_signed(
    store: Store, layout: Layout, tmp_path: Path
) -> None:
    signer, what, other = Signer(), layout.platforms(), layout.platforms("other\n")
    pinned = signer.write(tmp_path / "cosign.pub")
    tags = {"v1": what, signature_tag(what): signer.sign(layout, what, NAMED)}
    good = keep(store, as_tree(layout, tags))
    inside(store, pinned).signatures("oci", "platform", good)
    with pytest.raises(SignatureInvalid, match="v1: it is signed, but by no trusted key"):
        inside(store, Signer().write(tmp_path / "other.pub")).signatures("oci", "platform", good)
    bad = keep(store, as_tree(layout, {**tags, "v2": other}))
    with pytest.raises(SignatureInvalid, match=f"platform: {IMAGE}/_tags/v2: it is not signed"):
        inside(store, pinned).signatures("oci", "platform", bad)


def test_the_outside_asks_the_same(store: Store, layout: Layout, tmp_path: Path) -> None:
    signer, what = Signer("ed25519"), layout.image()
    tree = keep(store, as_tree(layout, {"v1": what}, signer.bundle(layout, what)))
    for one, count in ((signer, 0), (Signer(), 1)):
        keys = read_keys(Signers(signed_by=(one.write(tmp_path / "cosign.pub"),)))
        assert [path for path, _ in keys.files] == [f"{KEYS}{_fingerprint(one)}.pem"]
        found = signature_problems(
            store, Confined(store), "oci", Spec("platform"), tree, keys, packages=False, before=None
        )
        assert len(found) == count


def _fingerprint(signer: Signer) -> str:
    return signatures.read_keys(signer.public)[0].fingerprint


def test_rows_pass_through_the_confined_child(store: Store, layout: Layout) -> None:
    signer, what = Signer("rsa"), layout.image()
    tags = {"v1": what, signature_tag(what): signer.sign(layout, what, NAMED)}
    tree = keep(store, as_tree(layout, tags))
    rows = rows_of(store, "oci", Spec("platform"), tree)
    assert [row.path for row in rows] == [f"{IMAGE}/_tags/v1"]
    assert rows[0].signature.count(" ") == 2


def test_a_child_that_keeps_quiet_of_an_image_is_found_out(store: Store, layout: Layout) -> None:
    signer, what, other = Signer(), layout.image(), layout.image("other\n")
    tags = {"v1": what, signature_tag(what): signer.sign(layout, what, NAMED), "v2": other}
    tree = keep(store, as_tree(layout, tags))
    rows = [row for row in rows_of(store, "oci", Spec("platform"), tree) if "v2" not in row.path]
    found = list(signatures.verify_signed(store.view(tree), rows, [signer.public]))
    assert [problem.path for problem in found] == [f"{IMAGE}/_tags/v2"]


def test_keys_of_both_kinds_are_told_apart(gpg: GpgHome, tmp_path: Path) -> None:
    armored = gpg.export(tmp_path / "vendor.asc").read_bytes()
    (vendor,) = signatures.read_keys(armored)
    (image,) = signatures.read_keys(Signer().public)
    assert signatures.file_name(vendor) == f"{vendor.fingerprint.upper()}.asc"
    assert signatures.file_name(image) == f"{image.fingerprint}.pem"
    assert image.user_id == "(ECDSA P-256)"


def test_the_wrong_kind_of_key_is_said_in_words(
    store: Store, layout: Layout, gpg: GpgHome, tmp_path: Path
) -> None:
    armored = gpg.export(tmp_path / "vendor.asc").read_bytes()
    view = store.view(keep(store, as_tree(layout, {"v1": layout.image()})))
    with pytest.raises(ConfigError, match="needs a public key of cosign's"):
        list(signatures.verify_signed(view, [Signed(f"{IMAGE}/_tags/v1", "cosign")], [armored]))
    with pytest.raises(ConfigError, match="needs an OpenPGP key"):
        rows = [Signed("a.rpm", "rpm")]
        list(signatures.verify_signed(view, rows, [Signer().public]))
