"""Keeping what a build asked for, under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from manifests.durable import Durable
from manifests.zone.model import Connection, Repository, Upstream
from mirror.maven.pull import Pull
from store.records import RootKind
from store.seam import Kind, Operation, Seam
from store.store import Store
from tests.crash.harness import (
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)
from tests.support.maven import artifact, place
from tests.support.mavenweb import MavenWeb

TOOL = "org.example:tool:1.0"
JAR, POM = place(TOOL, ".jar"), place(TOOL, ".pom")
FILES = artifact(TOOL)
LEDGER = "store/ledger.sqlite"
DONE = "captured"


def setup(root: Path) -> None:
    """A store that knows nothing yet."""
    Store.open(root / "store", files=Seam()).close()


def repository(url: str) -> Repository:
    upstream = Upstream(urls=(url,))
    return Repository(
        name="central",
        format="maven",
        upstream=upstream,
        connection=Connection(retries=0, timeout=20),
    )


def capture(url: str, root: Path, files: Durable) -> None:
    with (
        Store.open(root / "store", files=files) as store,
        Pull.opened(store, repository(url), pause=lambda _: None) as pull,
    ):
        for path in (POM, JAR):
            found = pull.get(path)
            assert found is not None
            # Whoever asked has its bytes by now, or soon: they must stay.
            files.committed(path)
        files.committed(DONE)


def check(root: Path, promised: list[str]) -> None:
    with Store.open(root / "store", files=Seam()) as store:
        with store.ledger.read() as tx:
            kept = {one.path: one for one in tx.all_fetched("central")}
            roots = {one.root for one in tx.roots("central") if one.kind is RootKind.CAPTURED}
        for path, one in kept.items():
            store.blobs.verify(one.digest)
            assert store.small(one.digest, 1 << 20) == FILES[path]
            assert one.stated.startswith("sha1 ")
        assert roots <= set(kept), "a root without its file"
        for path in FILES:
            assert path in roots or path not in promised
        assert DONE not in promised or roots == set(FILES)


@pytest.fixture(scope="module")
def scenario() -> Iterator[Scenario]:
    web = MavenWeb(FILES)
    with web.serving():
        yield Scenario(partial(capture, web.url), check, setup=setup, databases=(LEDGER,))


def test_what_was_captured_survives_kills(scenario: Scenario, tmp_path: Path) -> None:
    assert kill_at_each(scenario, tmp_path, every=8) > 2


def test_what_was_captured_survives_power_cuts(scenario: Scenario, tmp_path: Path) -> None:
    assert cut_power_at_each(scenario, tmp_path, seeds=1, finish=False, every=3) > 50


def test_a_refused_rename_or_link_is_told_and_harms_nothing(
    scenario: Scenario, tmp_path: Path
) -> None:
    assert fail_at_each(scenario, tmp_path, errno.ENOSPC, kinds=(Kind.RENAME, Kind.LINK)) >= 2


def _made_anew(operation: Operation, turn: int) -> bool:
    """Of folders that the next start makes again: ``scratch``, ``locks``, ``blobs/.tmp``."""
    place = operation.path
    return place.name in ("record", "store") or (place.name == "blobs" and turn == 1)


def test_every_fsync_of_a_capture_is_needed(scenario: Scenario, tmp_path: Path) -> None:
    assert assert_every_sync_needed(scenario, tmp_path, _made_anew) > 3


@pytest.mark.soak
def test_a_capture_goes_on_after_every_kill_cut_and_fault(
    scenario: Scenario, tmp_path: Path
) -> None:
    kill_at_each(scenario, tmp_path / "kills")
    cut_power_at_each(scenario, tmp_path / "cuts", seeds=1)
    fail_at_each(scenario, tmp_path / "full", errno.ENOSPC)
    fail_at_each(scenario, tmp_path / "broken", errno.EIO)
