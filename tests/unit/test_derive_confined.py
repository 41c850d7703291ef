"""yum metadata is derived in the confined child and signed by its parent."""

from pathlib import Path

import pytest

from manifests import errors
from manifests.formats.base import Spec
from manifests.tree import PRIVATE, Entry
from store.checks import check_tree, derive_overlay, private_files
from store.openpgp import RepositoryKey, verify_detached
from store.store import Store
from store.views import laid_over
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, build


def test_a_plain_folder_of_packages(tmp_path: Path, vendor_key: GpgHome) -> None:
    packages = build([Package("one"), Package("two")], tmp_path / "rpms")
    secret = tmp_path / "key.asc"
    secret.write_bytes(vendor_key.secret_key())
    spec = Spec("apps")
    with Store.open(tmp_path / "store") as store, store.locks.shared():
        with store.blobs.batch() as batch:
            entries = [Entry(path.name, *batch.put_file(path)) for path in sorted(packages)]
        plain = store.keep_tree(entries)
        with store.blobs.batch() as batch:
            facts = private_files(store, "yum", spec, plain.digest, batch)
            tree = store.keep_tree(laid_over(entries, facts), batch)
        assert all(entry.path.startswith(PRIVATE) for entry in facts)
        assert check_tree(store, "yum", spec, tree.digest).complete
        signer = RepositoryKey(secret)
        overlay = derive_overlay(store, "yum", spec, tree.digest, signer=signer)
        assert overlay is not None
        view = store.view(tree.digest, overlay.digest)
        verify_detached(
            view.local("repodata/repomd.xml"),
            view.open("repodata/repomd.xml.asc").read(),
            [signer.public().armored],
        )
        again = derive_overlay(
            store, "yum", spec, tree.digest, previous=(tree.digest, overlay.digest)
        )
        assert again is not None
        one = store.view(tree.digest, again.digest).lookup("repodata/repomd.xml")
        assert one == view.lookup("repodata/repomd.xml")


def test_a_hostile_package_holds_only_its_repository(tmp_path: Path) -> None:
    spec = Spec("apps")
    with Store.open(tmp_path / "store") as store, store.locks.shared():
        with store.blobs.batch() as batch:
            entries = [Entry("bad-1-1.noarch.rpm", *batch.put_bytes(b"\xed\xab\xee\xdb" * 500))]
            plain = store.keep_tree(entries, batch)
        with store.blobs.batch() as batch:
            facts = private_files(store, "yum", spec, plain.digest, batch)
            tree = store.keep_tree(laid_over(entries, facts), batch)
        with pytest.raises(errors.MalformedIndex, match="apps"):
            derive_overlay(store, "yum", spec, tree.digest)
