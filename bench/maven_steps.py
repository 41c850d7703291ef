"""A made-up Maven repository, and the steps of ``bench_maven``, each a process of its own.

``python -m bench.maven_steps STEP FOLDER [WORD...]``; the last line of output is JSON: seconds by
the clock on the wall, and peak memory in bytes. An artifact is a JAR with its POM; four versions
of each, ten artifacts in a group.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from bench.common import PeakMemory
from manifests.digest import Digest
from manifests.formats.base import Spec
from manifests.formats.maven import statement
from manifests.formats.maven.layout import CHECKSUMS
from manifests.state import Snapshot
from manifests.tree import Entry, Tree, diff
from manifests.zone.model import Nexus, Repository, Upstream
from mirror.sync import sync
from store import checks
from store.blobs import BlobBatch
from store.records import StoredSnapshot
from store.store import KeptTree, Store

NAME = "bench"
UPSTREAM = "maven-releases"
_VERSIONS, _GROUP = 4, 10
_PAGE = 100
"""Assets on a page of the listing."""
_POM = """<?xml version="1.0" encoding="UTF-8"?>
<project xmlns="http://maven.example.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>{group}</groupId>
  <artifactId>{name}</artifactId>
  <version>{version}</version>
  <description>artifact number {number}</description>
  <dependencies>{dependencies}
  </dependencies>
</project>
"""
_DEPENDENCY = """
    <dependency>
      <groupId>org.example.group{0:05}</groupId>
      <artifactId>library{0}</artifactId>
      <version>1.{0}</version>
    </dependency>"""
_DEPENDENCIES = "".join(_DEPENDENCY.format(number) for number in range(8))


def files(artifacts: int, changed: int = -1, start: int = 0) -> Iterator[tuple[str, bytes]]:
    """Path and bytes of each file; the JAR with the number ``changed`` has other ones."""
    for number in range(start, artifacts):
        home = number // _VERSIONS
        group, name = f"org.example.group{home // _GROUP:05}", f"library{home % _GROUP}"
        version = f"1.{number % _VERSIONS}"
        base = f"{group.replace('.', '/')}/{name}/{version}/{name}-{version}"
        body = f"{number}{' changed' if number == changed else ''}\n".encode()
        yield f"{base}.jar", b"PK\x03\x04" + body.ljust(1000, b".")
        text = _POM.format(
            group=group, name=name, version=version, number=number, dependencies=_DEPENDENCIES
        )
        yield f"{base}.pom", text.encode()


# --- preparation --------------------------------------------------------------


def make(folder: Path, artifacts: int) -> None:
    """A store with the tree of a mirror and one with one artifact changed; the listing of their
    upstream as pages; FOLDER/trees names the two."""
    pages = folder / "www/pages"
    pages.mkdir(parents=True)
    with (
        Store.open(folder / "store") as store,
        store.locks.shared(),
        store.blobs.batch() as batch,
    ):
        entries: dict[str, Entry] = {}
        stated: dict[str, statement.Stated] = {}
        assets: list[dict[str, object]] = []
        for path, data in files(artifacts):
            sums = {kind: hashlib.new(kind, data).hexdigest() for kind in CHECKSUMS}
            stated[path] = ("sha1", sums["sha1"])
            entries[path] = Entry(path, *batch.put_bytes(data))
            assets.append({"path": path, "format": "maven2", "repository": UPSTREAM,
                           "checksum": sums, "fileSize": len(data)})  # fmt: skip
            if len(assets) == _PAGE:
                _page(pages, len(entries), assets, more=len(entries) < 2 * artifacts)
                assets.clear()
        if assets:
            _page(pages, len(entries) - len(assets) + _PAGE, assets, more=False)
        old = _keep(store, batch, entries, stated)
        path, data = next(iter(files(artifacts // 2 + 1, artifacts // 2, start=artifacts // 2)))
        entries[path] = Entry(path, *batch.put_bytes(data))
        stated[path] = ("sha1", hashlib.sha1(data, usedforsecurity=False).hexdigest())
        new = _keep(store, batch, entries, stated)
        batch.flush()
        now = datetime.now(UTC).replace(microsecond=0)
        snapshot = Snapshot(NAME, "maven", 1, old.digest, old.size, old.files, old.bytes, now)
        with store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot("", snapshot))
    (folder / "trees").write_text(f"{old.digest} {new.digest}")


def _keep(
    store: Store, batch: BlobBatch, entries: dict[str, Entry], stated: dict[str, statement.Stated]
) -> KeptTree:
    whole = dict(entries)
    for path, data in statement.write(stated):
        whole[path] = Entry(path, *batch.put_bytes(data))
    return store.keep_tree(sorted(whole.values(), key=lambda entry: entry.path.encode()), batch)


def _page(pages: Path, end: int, assets: list[dict[str, object]], *, more: bool) -> None:
    """The page that ends with the asset ``end``: named by the token that leads to it, if any."""
    token = f"{end:09}" if more else None
    name = f"{end - _PAGE:09}" if end > _PAGE else ""
    text = json.dumps({"items": assets, "continuationToken": token})
    (pages / f"{name}.json").write_text(text)


def _trees(folder: Path) -> tuple[Digest, Digest]:
    old, new = (folder / "trees").read_text().split()
    return Digest(old), Digest(new)


# --- steps --------------------------------------------------------------------


def no_change(folder: Path, url: str) -> None:
    """A sync of the repository that this Nexus lists."""
    nexus = Nexus(url=url, repository=UPSTREAM)
    repository = Repository(
        name=NAME, format="maven", upstream=Upstream(urls=(nexus.content,), nexus=nexus)
    )
    with Store.open(folder / "store") as store:
        report = sync(store, repository)
    print("changed" if report.changed else "unchanged")


def read_listing(folder: Path, url: str) -> None:
    """The least that a mirror of a Nexus does: ask for every page and read it."""
    server = HTTPConnection(urlsplit(url).netloc)
    token, assets = "", 0
    while token is not None:
        query = f"repository={UPSTREAM}" + (f"&continuationToken={token}" if token else "")
        server.request("GET", f"/service/rest/v1/assets?{query}")
        page = json.loads(server.getresponse().read())
        assets += len(page["items"])
        token = page["continuationToken"]
    print(assets)


def check(folder: Path) -> None:
    """The whole check, as it stands before a snapshot."""
    with Store.open(folder / "store") as store:
        found = checks.check_tree(store, "maven", Spec(NAME), _trees(folder)[0])
    if not found.complete:
        raise SystemExit(f"{found.problems[:3]}")


def derive(folder: Path, how: str) -> None:
    """The overlay of the second tree: ``anew``, ``step`` by step from that of the first, or
    ``first`` that one itself."""
    old, new = _trees(folder)
    before = folder / "overlay"
    with Store.open(folder / "store") as store, store.locks.shared():
        previous = None if how != "step" else (old, Digest(before.read_text()))
        tree = old if how == "first" else new
        kept = checks.derive_overlay(store, "maven", Spec(NAME), tree, previous=previous)
        assert kept is not None
        if how == "first":
            before.write_text(kept.digest)
    print(kept.digest)


def read_trees(folder: Path) -> None:
    """What differs between the two trees."""
    with Store.open(folder / "store") as store:
        old, new = _trees(folder)
        paths = [change.path for change in diff(_copied(store, old), _copied(store, new))]
    print(len(paths))


def _copied(store: Store, digest: Digest) -> Tree:
    return Tree(store.blobs.path(digest).read_bytes())


def main() -> int:
    step, folder, *words = sys.argv[1:]
    steps: dict[str, Callable[..., None]] = {
        "no-change": no_change, "read-listing": read_listing, "check": check,
        "derive": derive, "read-trees": read_trees,
    }  # fmt: skip
    work = partial(make, Path(folder), int(words[0])) if step == "make" else partial(
        steps[step], Path(folder), *words
    )  # fmt: skip
    with PeakMemory() as memory:
        started = time.perf_counter()
        work()
        spent = time.perf_counter() - started
    print(json.dumps({"seconds": spent, "memory": memory.peak.private}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
