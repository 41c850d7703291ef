"""Bundles from one store to another: what must arrive, and when."""

from __future__ import annotations

import json
import random
import subprocess
import tarfile
from datetime import timedelta
from pathlib import Path

import pytest

from manifests import canonical
from manifests.bundle import Manifest, read_head
from manifests.errors import (
    BlobDamaged,
    ConfigError,
    HeldError,
    NoSpace,
    SignatureInvalid,
    StoreBusy,
    UsageError,
)
from manifests.formats.base import Problem, Severity
from sluice.ceremonies import StreamKeys
from store.records import BundleRecord
from store.seam import Seam
from tests.support.crossing import FileArrival, Files, Inside, Outside
from transfer.arrivals import Verdict
from transfer.pack import plan, reject
from transfer.receive import receive
from transfer.recreate import recreate
from transfer.release import release
from transfer.rollback import roll_back

ONE = {"a": b"a" * 10, "b/c": b"c" * 5000, "empty": b""}
TWO = {"a": b"another", "b/c": b"c" * 5000, "d": b"d"}


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def many(first: int, count: int, size: int = 30_000) -> dict[str, bytes]:
    return {f"f{n:03}": noise(n, size) for n in range(first, first + count)}


def zones(tmp_path: Path, **outside: object) -> tuple[Outside, Inside]:
    (tmp_path / "out").mkdir()
    out = Outside(tmp_path / "out", **outside)  # type: ignore[arg-type]
    return out, another_inside(tmp_path, out)


def another_inside(tmp_path: Path, out: Outside, name: str = "in", **options: object) -> Inside:
    (tmp_path / name).mkdir()
    return Inside(tmp_path / name, out.keys.export_root(), **options)  # type: ignore[arg-type]


def verdicts(report: object) -> set[Verdict]:
    return {outcome.verdict for outcome in report.outcomes}  # type: ignore[attr-defined]


def manifest_of(part: Path) -> Manifest:
    with part.open("rb") as file:
        head = read_head(file)
    assert head is not None
    assert head.copies is not None
    return Manifest.parse(head.copies.manifest)


# The way across


def test_a_repository_crosses_whole(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    report = inside.receive()
    assert inside.content("base") == ONE
    assert verdicts(report) == {Verdict.DONE}
    assert report.exit_code == 0
    assert inside.checked == [("files", "base")]


def test_many_parts_and_then_a_small_update(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    files = many(0, 30) | {"large": noise(99, 700_000)}
    out.snapshot("base", files)
    out.snapshot("extra", {"same": files["f001"]})
    parts = out.bundle()
    assert len(parts) > 12
    assert all(part.stat().st_size <= 128 << 10 for part in parts)
    inside.bring(*parts, rename=True)
    report = inside.receive()
    assert (report.exit_code, verdicts(report)) == (0, {Verdict.DONE})
    assert inside.content("base") == files
    assert inside.content("extra") == {"same": files["f001"]}
    del files["f003"]
    files["new"] = b"new"
    out.snapshot("base", files)
    parts = out.bundle()
    assert manifest_of(parts[0]).blobs == 2, "one new blob and the delta of a tree"
    assert manifest_of(parts[0]).stored < 500
    inside.bring(*parts)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == files
    assert out.pack() is None, "nothing changed"


def test_a_part_is_an_ordinary_tar_file(tmp_path: Path) -> None:
    out, _ = zones(tmp_path)
    snapshot = out.snapshot("base", ONE)
    [part] = out.bundle()
    listed = subprocess.run(["tar", "tvf", part], check=True, capture_output=True, text=True)
    assert not listed.stderr
    names = [line.split()[-1] for line in listed.stdout.splitlines()]
    assert names[:6] == [
        "PART",
        "manifest.json",
        "targets.json",
        "root/1.root.json",
        "parts.tsv",
        "PAD",
    ]
    assert snapshot.tree in names
    with tarfile.open(part) as archive:
        body = archive.extractfile(snapshot.tree)
        assert body is not None
        assert body.read().startswith(b"a\t")


def test_parts_can_be_made_again_byte_for_byte(tmp_path: Path) -> None:
    """Also after the outside moved on, as long as the bundle is in the resend window."""
    out, _ = zones(tmp_path, part_size=128 << 10, resend_window=1)
    files = many(0, 10) | {"large": noise(99, 300_000)}
    out.snapshot("base", files)
    out.bundle()
    out.snapshot("base", files | {"new": noise(5, 400_000), "f001": b"changed"})
    parts = out.bundle()
    assert len(parts) > 3
    out.snapshot("base", {"other": b"x"})
    out.bundle()
    with out.store.ledger.read() as tx:
        bundle = tx.bundle("hq", 1, 2)
    assert bundle is not None
    for number, part in enumerate(parts, 1):
        recreate(out.store, bundle, number, tmp_path / "again")
        assert (tmp_path / "again").read_bytes() == part.read_bytes()
        (tmp_path / "again").unlink()


def test_two_outsides_with_equal_content_write_equal_payloads(tmp_path: Path) -> None:
    payloads = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        out = Outside(tmp_path / name)
        out.snapshot("base", ONE)
        manifest = manifest_of(out.bundle()[0])
        payloads.append((manifest.part_table.digest, manifest.index.digest))
    assert payloads[0] == payloads[1]


@pytest.mark.parametrize("order", ["sorted", "reversed", "one by one", "one by one, backwards"])
def test_parts_may_come_in_any_order(tmp_path: Path, order: str) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    files = many(0, 5) | {"large": noise(99, 500_000)}
    out.snapshot("base", files)
    parts = out.bundle()
    parts = parts[::-1] if order.endswith(("reversed", "backwards")) else parts
    if order.startswith("one"):
        for part in parts:
            inside.bring(part)
            assert inside.content("base") is None
            report = inside.receive()
            assert Verdict.BAD not in verdicts(report)
    else:
        inside.bring(*parts)
        report = inside.receive()
    assert inside.content("base") == files
    assert report.exit_code == 0
    assert list(inside.inbox.iterdir()) == []


def test_what_is_missing_is_said_exactly(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    out.snapshot("base", ONE)
    out.snapshot("extra", many(0, 20))
    parts = out.bundle()
    inside.bring(*parts[:3], *parts[4:])
    report = inside.receive()
    assert report.exit_code == 3
    assert inside.content("base") == ONE, "a gap holds what it touches, all else goes on"
    assert inside.content("extra") is None
    [hold] = report.holds
    assert hold.repository == "extra"
    assert hold.detail["parts"]["1/1"] == [4]  # type: ignore[index]
    missing = hold.detail["items"]
    assert hold.detail["total"] == len(missing) > 2  # type: ignore[arg-type]
    waiting = [o.part for o in report.outcomes if o.verdict is Verdict.WAITING]
    assert waiting == [3, 5], "their blobs go on in the missing part"
    inside.bring(parts[3])
    report = inside.receive()
    assert (report.exit_code, report.holds) == (0, [])
    assert inside.content("extra") == many(0, 20)
    assert list(inside.inbox.iterdir()) == []


# Late, twice, never


def test_duplicates_and_late_bundles_end_well_and_change_nothing(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    first = out.bundle()
    out.snapshot("base", TWO)
    second = out.bundle(full=True)
    inside.bring(*second)
    report = inside.receive()
    assert (report.missing, report.accepted) == ([1], ["1/2"])
    assert inside.content("base") == TWO
    generation = inside.store.ledger.generation()
    inside.bring(*second, *first, rename=True)
    report = inside.receive()
    assert (report.exit_code, report.late) == (0, ["1/1"])
    assert verdicts(report) == {Verdict.DONE}
    assert report.published == []
    inside.bring(*second, *first)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == TWO
    assert inside.store.ledger.generation() == generation


def test_a_late_bundle_completes_a_newer_snapshot(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    bundles = []
    files: Files = {}
    for number in range(3):
        files = {**files, f"f{number}": noise(number, 1000)}
        out.snapshot("base", files)
        bundles.append(out.bundle())
    inside.bring(*bundles[2])
    report = inside.receive()
    assert report.exit_code == 3
    assert "delta against tree" in report.holds[0].reason
    inside.bring(*bundles[0])
    inside.receive()
    assert inside.content("base") is None, "the newest state counts, and it is not complete"
    inside.bring(*bundles[1])
    report = inside.receive()
    assert report.exit_code == 0
    assert inside.content("base") == files


def test_two_insides_one_misses_a_bundle_and_is_healed_by_the_next(tmp_path: Path) -> None:
    out, lucky = zones(tmp_path, resend_window=1)
    unlucky = another_inside(tmp_path, out, "in2")
    for number in range(4):
        out.snapshot("base", {f"f{n}": noise(n, 500) for n in range(number, number + 4)})
        parts = out.bundle()
        lucky.bring(*parts)
        assert lucky.receive().exit_code == 0
        if number != 1:
            unlucky.bring(*parts)
            report = unlucky.receive()
            assert report.exit_code == 0
            assert report.missing == ([2] if number == 2 else [])
    assert unlucky.content("base") == lucky.content("base")


def test_without_a_window_a_gap_is_held_until_a_full_bundle(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    for number in range(3):
        out.snapshot("base", many(number, 3))
        parts = out.bundle()
        if number != 1:
            inside.bring(*parts)
            report = inside.receive()
    assert report.exit_code == 3
    assert inside.content("base") == many(0, 3), "what was published stays"
    inside.bring(*out.bundle(full=True))
    report = inside.receive()
    assert report.exit_code == 0
    assert inside.content("base") == many(2, 3)


def test_a_full_bundle_needs_no_past(tmp_path: Path) -> None:
    out, _ = zones(tmp_path)
    for number in range(3):
        out.snapshot("base", many(number, 3))
        out.bundle()
    fresh = another_inside(tmp_path, out, "fresh")
    fresh.bring(*out.bundle(full=True))
    assert fresh.receive().exit_code == 0
    assert fresh.content("base") == many(2, 3)


def test_the_base_never_lies_behind_the_promised_floor(tmp_path: Path) -> None:
    """A window that grows later must not rely on what insides were allowed to forget."""
    out, _ = zones(tmp_path)
    for number in range(3):
        out.snapshot("base", many(number, 2))
        parts = out.bundle()
    assert manifest_of(parts[0]).retain == {"base": 3}
    out.resend_window = 2
    out.snapshot("base", many(9, 2))
    manifest = manifest_of(out.bundle()[0])
    assert [row.serial for row in manifest.base.rows] == [3]
    assert manifest.retain == {"base": 3}


# Publishing


def test_a_check_that_fails_holds_the_snapshot_alone(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    out.snapshot("extra", TWO)
    inside.problems["base"] = [Problem("a", "is not what the index promises")]
    inside.problems["extra"] = [Problem("b", "an advice", Severity.ADVICE)]
    inside.bring(*out.bundle())
    report = inside.receive()
    assert report.exit_code == 3
    assert inside.content("base") is None
    assert inside.content("extra") == TWO
    assert [h.reason for h in report.holds] == [
        "snapshot 1 is not complete in itself: a: is not what the index promises"
    ]
    inside.problems.clear()
    report = inside.receive()
    assert (report.exit_code, inside.content("base")) == (0, ONE)


def test_upstream_signatures_are_demanded_again(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.refuse["base"] = SignatureInvalid("not signed by the pinned key", where="repomd.xml")
    inside.bring(*out.bundle())
    report = inside.receive()
    assert report.exit_code == 3
    assert report.holds[0].reason.startswith("SignatureInvalid: repomd.xml")
    assert inside.content("base") is None


def test_together_waits_for_all(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, together=[("base", "extra")])
    for name in ("base", "extra", "files"):
        out.snapshot(name, ONE)
    inside.bring(*out.bundle())
    assert inside.receive().exit_code == 0
    for name in ("base", "extra", "files"):
        out.snapshot(name, TWO)
    inside.problems["extra"] = [Problem("a", "torn")]
    inside.bring(*out.bundle())
    report = inside.receive()
    assert [(h.repository, h.kind) for h in report.holds] == [
        ("base", "together"),
        ("extra", "check"),
    ]
    assert (inside.content("base"), inside.content("extra")) == (ONE, ONE)
    assert inside.content("files") == TWO
    inside.problems.clear()
    assert inside.receive().exit_code == 0
    assert (inside.content("base"), inside.content("extra")) == (TWO, TWO)


def test_all_that_is_ready_goes_live_at_once(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    for name in ("base", "extra", "files"):
        out.snapshot(name, ONE)
    inside.bring(*out.bundle())
    before = inside.store.ledger.generation()
    assert len(inside.receive().published) == 3
    assert inside.store.ledger.generation() == before + 1


def test_rename_and_restriction(tmp_path: Path) -> None:
    out, _ = zones(tmp_path)
    inside = another_inside(
        tmp_path, out, "in2", rename={"base": "el9-base"}, repositories=("base",)
    )
    out.snapshot("base", ONE)
    out.snapshot("extra", TWO)
    inside.bring(*out.bundle())
    assert inside.receive().exit_code == 0
    assert inside.content("el9-base") == ONE
    assert inside.content("base") is inside.content("extra") is None
    assert inside.checked == [("files", "el9-base")]


def test_a_rollback_stays_until_a_newer_snapshot_arrives(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    for files in (ONE, TWO):
        out.snapshot("base", files)
        parts = out.bundle()
        inside.bring(*parts)
        inside.receive()
    deriver = inside.judges().deriver
    roll_back(inside.store, "base", 1, deriver=deriver, now=inside.now)
    inside.bring(*parts)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == ONE
    out.snapshot("extra", ONE)
    inside.bring(*out.bundle())
    inside.receive()
    assert inside.content("base") == ONE, "a bundle without a newer snapshot of it"
    out.snapshot("base", {"three": b"3"})
    inside.bring(*out.bundle())
    inside.receive()
    assert inside.content("base") == {"three": b"3"}
    with pytest.raises(UsageError, match="snapshot 9 is not kept"):
        roll_back(inside.store, "base", 9, deriver=deriver, now=inside.now)


def test_a_repository_that_left_the_stream_keeps_its_last_publication(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    out.snapshot("extra", TWO)
    inside.bring(*out.bundle())
    inside.receive()
    out.repositories = ("base",)
    out.snapshot("base", TWO)
    inside.bring(*out.bundle())
    report = inside.receive()
    assert (report.exit_code, report.holds) == (0, [])
    assert inside.content("extra") == TWO


def test_snapshots_below_the_floor_are_forgotten_but_for_a_few(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    for number in range(8):
        out.snapshot("base", many(number, 1, 100))
        inside.bring(*out.bundle())
        assert inside.receive().exit_code == 0
    with inside.store.ledger.read() as tx:
        assert [s.snapshot.serial for s in tx.snapshots("hq", "base")] == [8, 7, 6, 5, 4]


# Drafts


def test_a_rejected_draft_leaves_no_hole(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    draft = out.pack()
    assert draft is not None
    with pytest.raises(HeldError, match="waits for its release"):
        out.pack()
    assert reject(out.store, "hq", out.spool, draft.id)
    assert list((out.spool / "hq").iterdir()) == []
    inside.bring(*out.bundle())
    report = inside.receive()
    assert report.accepted == ["1/1"]
    with out.store.ledger.read() as tx:
        keys = {pin.key for pin in tx.pins()}
    account = next(key for key in keys if key.startswith("changes:hq:1:1:"))
    assert keys == {"bundle:hq:1:1:blobs", "bundle:hq:1:1:lists", account}


def test_two_people_release(tmp_path: Path) -> None:
    """The first signature is kept and waits; the second releases the same bytes."""
    out, _ = zones(tmp_path)
    keys = StreamKeys(Seam(), "hq", tmp_path / "keys")
    keys.create(out.now, keep={"targets": 2}, thresholds={"targets": 2})
    out.keys = keys
    inside = another_inside(tmp_path, out, "in2")
    out.snapshot("base", ONE)
    draft = out.pack()
    assert draft is not None

    def sign(manifest: bytes, sequence: int, document: bytes | None) -> bytes:
        if document is not None:
            return keys.countersign(document)
        whole = json.loads(keys.sign_release(manifest, sequence, out.now))
        del whole["signatures"][1]  # the other key lies elsewhere
        return canonical.dumps(whole)

    def attempt() -> BundleRecord:
        return release(
            out.store, "hq", out.spool, draft.id, sign, roots=keys.chain(), now=out.now
        )  # fmt: skip

    with pytest.raises(HeldError, match="signed by 1 of the 2"):
        attempt()
    with out.store.ledger.read() as tx:
        assert tx.bundles("hq") == []
    out.now += timedelta(hours=5)
    inside.bring(*out.parts(attempt()))
    assert inside.receive().exit_code == 0
    assert inside.content("base") == ONE


def test_a_new_epoch_starts_again_in_full(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    inside.receive()
    out.keys.renew(out.now, new_epoch=True)
    out.snapshot("base", TWO)
    parts = out.bundle()
    assert manifest_of(parts[0]).kind == "full"
    inside.bring(*parts)
    report = inside.receive()
    assert (report.exit_code, report.accepted) == (0, ["2/1"])
    assert inside.content("base") == TWO


def test_plan_says_what_pack_would_do_and_keeps_nothing(tmp_path: Path) -> None:
    out, _ = zones(tmp_path)
    out.snapshot("base", ONE)
    before = set(out.store.blobs.digests())
    planned = plan(out.store, out.config, roots=out.keys.chain(), now=out.now)
    assert (planned.changed, planned.kind, planned.blobs) == (True, "full", 4)
    assert set(out.store.blobs.digests()) == before
    parts = out.bundle()
    assert sum(part.stat().st_size for part in parts) <= planned.bytes
    planned = plan(out.store, out.config, roots=out.keys.chain(), now=out.now)
    assert (planned.changed, planned.blobs) == (False, 0)


def test_a_damaged_blob_is_never_sent(tmp_path: Path) -> None:
    out, _ = zones(tmp_path)
    out.snapshot("base", {"good": b"good", "folder/bad": b"0123456789"})
    with out.store.ledger.read() as tx:
        stored = tx.newest_snapshot("", "base")
    assert stored is not None
    entry = out.store.tree(stored.snapshot.tree).lookup("folder/bad")
    assert entry is not None
    path = out.store.blobs.path(entry.digest)
    path.chmod(0o644)
    path.write_bytes(b"0123456780")
    with pytest.raises(BlobDamaged, match="base:folder/bad"):
        out.pack()
    with out.store.ledger.read() as tx:
        assert tx.drafts("hq") == []
    path.write_bytes(b"0123456789")
    assert out.bundle()
    assert len(list((out.spool / "hq").iterdir())) == 1, "what the failed pack left is gone"


def test_too_small_parts_are_a_mistake_of_configuration(tmp_path: Path) -> None:
    out, _ = zones(tmp_path, part_size=32 << 10)
    out.snapshot("base", ONE)
    with pytest.raises(ConfigError, match="signed metadata"):
        out.pack()


def test_no_space_is_said_before_anything_is_written(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    out.store.reserve_free = 1 << 60
    with pytest.raises(NoSpace, match="packing for hq needs"):
        out.pack()
    assert not (out.spool / "hq").exists()
    out.store.reserve_free = 0
    inside.bring(*out.bundle())
    inside.store.reserve_free = 1 << 60
    with pytest.raises(NoSpace, match="importing hq needs"):
        inside.receive()
    inside.store.reserve_free = 0
    assert inside.receive().exit_code == 0


def test_only_one_import_of_a_stream_at_a_time(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    parts = [FileArrival(path) for path in inside.inbox.iterdir()]

    class Meddler(FileArrival):
        """Tries a second import while the first one reads."""

        def open(self):  # type: ignore[no-untyped-def]
            import threading

            def second() -> None:
                with pytest.raises(StoreBusy):
                    inside.receive()
                busy.append(True)

            thread = threading.Thread(target=second)
            thread.start()
            thread.join()
            return super().open()

    busy: list[bool] = []
    report = receive(
        inside.store,
        inside.config,
        [Meddler(part.path) for part in parts],
        pinned_root=inside.pinned,
        judges=inside.judges(),
        now=inside.now,
    )
    assert report.exit_code == 0
    assert busy
    assert inside.content("base") == ONE


def test_parts_of_an_older_bundle_wait_as_long_as_its_snapshot_may_be_built_on(
    tmp_path: Path,
) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10, resend_window=1)
    bundles = []
    for day in range(4):
        out.snapshot("base", many(20 * day, 10))
        bundles.append(out.bundle(full=True))
    rest = bundles[1][1:]
    assert rest
    inside.bring(*bundles[2])
    assert inside.receive().exit_code == 0
    inside.bring(*rest)
    report = inside.receive()
    assert (report.exit_code, report.holds) == (0, [])
    assert {path.name for path in inside.inbox.iterdir()} == {path.name for path in rest}
    inside.bring(*bundles[3])
    assert inside.receive().exit_code == 0
    assert inside.content("base") == many(60, 10)
    assert list(inside.inbox.iterdir()) == [], "older than the window: nobody asks for it"
