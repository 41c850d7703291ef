"""A small upstream and an empty store, for trials of what fills the store from a folder."""

from __future__ import annotations

from pathlib import Path

from manifests.zone.model import Connection, Repository, Upstream
from store.seam import Seam
from store.store import Store

CONTENT = {"a/one.txt": b"one" * 100, "two.txt": b"two" * 100}
LEDGER = "store/ledger.sqlite"


def setup(root: Path) -> None:
    """An upstream, and a store that knows nothing yet."""
    for name, data in CONTENT.items():
        place = root / "upstream" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    Store.open(root / "store", files=Seam()).close()


def settings(root: Path) -> Repository:
    return Repository(
        name="tools",
        format="files",
        upstream=Upstream(urls=(f"{(root / 'upstream').as_uri()}/",)),
        connection=Connection(retries=0),
    )
