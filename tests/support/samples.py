"""The repository that most tests use: small, but with everything that a vendor's has."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

from tests.support import kickstart, metadata
from tests.support.gpg import GpgHome
from tests.support.rpms import Package, RpmCache
from tests.support.yumrepo import Checksum, Compression, Layout, YumRepo

GREETING = Package("greeting", "1.0")
HELLO = Package("hello", "1.0", requires=("greeting >= 1.0",))
"""Needs ``GREETING``."""
HELLO_NEW = Package("hello", "1.1", requires=("greeting >= 1.0",))
"""What ``release_update`` adds, with an advisory."""
SPARE = Package("spare", "3.2", "7")
"""Needed by nobody: the one that goes away upstream."""
ODD = Package("libodd+c++", "1.0~rc1^git5", "2.el9", arch="x86_64", epoch=1)
"""Its name, version and epoch have all that URLs and parsers trip over."""
TOOL = Package("tool", "2.0", "1.module_el9", arch="x86_64")
"""Belongs to module stream ``tool:2``; hidden from clients until they enable it."""
PACKAGES = (GREETING, HELLO, SPARE, ODD, TOOL)
GROUP = "example-tools"
ADVISORY = "EXSA-2024:0001"


class Options(TypedDict, total=False):
    """The options of ``YumRepo`` that tests vary."""

    checksum: Checksum
    compression: Compression
    layout: Layout
    base_url: str


def vendor_repo(
    root: Path,
    cache: RpmCache,
    key: GpgHome | None,
    *,
    tree: bool = False,
    **options: Unpack[Options],
) -> YumRepo:
    """Publish ``PACKAGES`` with a group, a module, a product, signed if there is a ``key``.

    ``tree`` adds the kick-start tree.
    """
    repo = YumRepo(root, key=key, **options)
    repo.comps = metadata.comps(["hello", "greeting"], group=GROUP)
    repo.extras["modules"] = metadata.modules([TOOL])
    repo.extras["productid"] = metadata.PRODUCT_ID
    repo.add(*cache.get(*PACKAGES, key=key))
    if tree:
        kickstart.add_tree(root)
    return repo.publish()


def release_update(repo: YumRepo, cache: RpmCache) -> None:
    """The vendor's next day: hello 1.1 with a security advisory, and ``SPARE`` is gone."""
    repo.extras["updateinfo"] = metadata.updateinfo([HELLO_NEW], advisory=ADVISORY)
    repo.update(add=cache.get(HELLO_NEW, key=repo.key), remove=[SPARE.filename])
