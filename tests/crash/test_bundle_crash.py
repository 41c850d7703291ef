"""Pack, release and receive under kills, power cuts and refusing disks."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from manifests.bundle import Manifest, parse_parts, read_head
from manifests.digest import sha256_of
from manifests.durable import Durable
from store.records import DraftRecord
from store.seam import Seam
from tests.crash.harness import (
    NEEDS_SPACE,
    Scenario,
    assert_every_sync_needed,
    cut_power_at_each,
    fail_at_each,
    kill_at_each,
)
from tests.support.crossing import Inside, Outside
from transfer.pack import Draft

FILES = {"a": b"a" * 100, "b": b"b" * 3000}
MORE = FILES | {"c": b"new"}


def outside(root: Path, files: Durable) -> Outside:
    return Outside(root / "out", files=files)


def once(make: Callable[[Path], None]) -> Callable[[Path], None]:
    """``make`` as a setup that works once and copies the result from then on."""
    made: list[tempfile.TemporaryDirectory[str]] = []

    def setup(root: Path) -> None:
        if not made:
            made.append(tempfile.TemporaryDirectory())
            make(Path(made[0].name))
        shutil.copytree(made[0].name, root, dirs_exist_ok=True)

    return setup


def prepare_outside(root: Path) -> None:
    """A released bundle, and a snapshot that has not crossed."""
    (root / "out").mkdir()
    out = outside(root, Seam())
    out.snapshot("base", FILES)
    out.bundle()
    out.snapshot("base", MORE)
    out.store.close()


def pack_and_release(root: Path, files: Durable) -> None:
    out = outside(root, files)
    try:
        with out.store.ledger.read() as tx:
            drafts, bundles = tx.drafts("hq"), tx.bundles("hq")
        if len(bundles) == 2:
            with out.store.ledger.write() as tx:
                tx.set_meta("again", "nothing to do")
            return
        draft = Draft(drafts[0].id, "hq", "", 0, 0, 0, 0) if drafts else out.pack()
        assert draft is not None
        out.release(draft)
    finally:
        out.store.close()


def check_outside(root: Path, promised: list[str]) -> None:
    """Every bundle in the ledger lies whole in the spool, and its blobs are whole."""
    out = outside(root, Seam())
    try:
        with out.store.ledger.read() as tx:
            bundles = tx.bundles("hq")
        assert [b.sequence for b in bundles] in ([1], [2, 1])
        for bundle in bundles:
            digests = _payload_digests(out, bundle.sequence)
            for part, digest in zip(out.parts(bundle), digests, strict=True):
                data = part.read_bytes()
                with part.open("rb") as file:
                    head = read_head(file)
                assert head is not None
                assert head.record is not None
                assert head.copies is not None
                assert head.record.manifest == bundle.manifest
                payload = data[head.record.offset :][: head.record.length]
                assert sha256_of(payload) == digest
            out.store.blobs.verify(bundle.manifest)
        with out.store.ledger.read() as tx:
            drafts = tx.drafts("hq")
        for draft in drafts:
            _check_draft(out, draft)
    finally:
        out.store.close()


def _check_draft(out: Outside, draft: DraftRecord) -> None:
    """A draft that the ledger knows can be released: its payloads are whole."""
    manifest = Manifest.parse(str(draft.data["manifest"]).encode())
    table = out.store.small(manifest.part_table.digest, 1 << 20)
    for row in parse_parts(table, manifest.parity.parts):
        files = [
            p for p in (out.spool / "hq").iterdir() if not p.name.startswith("hq-0001-00000001")
        ]
        [part] = [p for p in files if p.name.endswith((f"{row.part:05}.draft", ".tar"))]
        data = part.read_bytes()
        assert sha256_of(data[row.offset :][: row.length]) == row.digest


def _payload_digests(out: Outside, sequence: int) -> list[str]:
    with out.store.ledger.read() as tx:
        return [part.digest for part in tx.parts("hq", 1, sequence)]


PACK = Scenario(
    pack_and_release, check_outside, once(prepare_outside), databases=("out/store/ledger.sqlite",)
)


def prepare_inside(root: Path) -> None:
    """An inside with the first bundle, and the second one in its inbox."""
    prepare_outside(root)
    out = outside(root, Seam())
    (root / "in").mkdir()
    inside = Inside(root / "in", out.keys.export_root())
    (root / "pinned").write_bytes(inside.pinned)
    with out.store.ledger.read() as tx:
        inside.bring(*out.parts(tx.bundles("hq")[0]))
    assert inside.receive().exit_code == 0
    inside.bring(*out.bundle())
    inside.store.close()
    out.store.close()
    shutil.rmtree(root / "out")


def receive_all(root: Path, files: Durable) -> None:
    inside = Inside(root / "in", (root / "pinned").read_bytes(), files=files)
    try:
        assert inside.receive().exit_code == 0
    finally:
        inside.store.close()


def check_inside(root: Path, promised: list[str]) -> None:
    """Published is the old or the new, each whole; what was finished is not needed."""
    inside = Inside(root / "in", (root / "pinned").read_bytes())
    try:
        content = inside.content("base")
        assert content in (FILES, MORE)
        for digest in inside.store.blobs.digests():
            inside.store.blobs.verify(digest)
        with inside.store.ledger.read() as tx:
            live = tx.publication("base")
            done = [p for p in tx.parts("hq", 1, 2) if p.state == "done"]
        assert live is not None
        assert (live.serial == 2) == (content == MORE)
        if not list(inside.inbox.iterdir()):
            assert done
        if done:
            # The part may be let go of: without it the work must still end well.
            for path in inside.inbox.iterdir():
                path.unlink()
            inside.receive()
            assert inside.content("base") == MORE
    finally:
        inside.store.close()


RECEIVE = Scenario(
    receive_all, check_inside, once(prepare_inside), databases=("in/store/ledger.sqlite",)
)


@pytest.mark.parametrize("scenario", [PACK, RECEIVE], ids=["pack", "receive"])
def test_kills_throughout(tmp_path: Path, scenario: Scenario) -> None:
    assert kill_at_each(scenario, tmp_path, every=7) > 3


@pytest.mark.soak
@pytest.mark.parametrize("scenario", [PACK, RECEIVE], ids=["pack", "receive"])
def test_a_kill_at_each_operation(tmp_path: Path, scenario: Scenario) -> None:
    assert kill_at_each(scenario, tmp_path) > 20


@pytest.mark.parametrize("scenario", [PACK, RECEIVE], ids=["pack", "receive"])
def test_power_cuts_throughout(tmp_path: Path, scenario: Scenario) -> None:
    assert cut_power_at_each(scenario, tmp_path, seeds=1, every=9) > 10


@pytest.mark.soak
@pytest.mark.parametrize("scenario", [PACK, RECEIVE], ids=["pack", "receive"])
def test_a_power_cut_at_each_operation(tmp_path: Path, scenario: Scenario) -> None:
    assert cut_power_at_each(scenario, tmp_path) > 50


@pytest.mark.parametrize("scenario", [PACK, RECEIVE], ids=["pack", "receive"])
def test_a_disk_that_refuses(tmp_path: Path, scenario: Scenario) -> None:
    assert fail_at_each(scenario, tmp_path, errno.ENOSPC, kinds=NEEDS_SPACE) > 5


def test_every_fsync_of_the_parts_is_needed(tmp_path: Path) -> None:
    """Of the store's own fsyncs its own tests speak."""
    needed = assert_every_sync_needed(PACK, tmp_path, lambda op, _: "hq" not in op.path.parts)
    assert needed >= 2
