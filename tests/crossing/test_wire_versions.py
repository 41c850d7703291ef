"""Two versions of the wire: whichever zone is upgraded first, nothing is lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.bundle import Manifest
from manifests.bundle import manifest as wire_module
from manifests.errors import UsageError
from manifests.version import VERSION
from tests.support.crossing import Inside, Outside, reasons
from transfer.arrivals import Verdict
from transfer.heartbeat import beat

ORIGIN = {"upstream": "https://repo.example.org/base/", "actor": "alice", "signature": "good"}


def pair(folder: Path, wire: int = 2) -> tuple[Outside, Inside]:
    outside = Outside(folder / "out", wire=wire)
    return outside, Inside(folder / "in", outside.keys.export_root())


def only_wire_1(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(wire_module, "WIRES", (1,))


def manifest_of(outside: Outside, sequence: int) -> Manifest:
    with outside.store.ledger.read() as tx:
        bundle = tx.bundle("hq", 1, sequence)
    assert bundle is not None
    return Manifest.parse(outside.store.small(bundle.manifest, 1 << 20))


@pytest.mark.parametrize("wire", [1, 2])
def test_a_stream_is_written_in_the_wire_that_it_asks_for(
    tmp_path: Path, wire: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = pair(tmp_path, wire)
    outside.snapshot("base", {"a": b"first"}, origin=ORIGIN)
    inside.bring(*outside.bundle())
    bundle = beat(
        outside.store, "hq", outside.spool,
        lambda raw, number: outside.keys.sign_release(raw, number, outside.now, role="timestamp"),
        roots=outside.keys.chain(), wire=wire, now=outside.now,
    )  # fmt: skip
    assert bundle is not None
    inside.bring(*outside.parts(bundle))
    sealed, heartbeat = manifest_of(outside, 1), manifest_of(outside, 2)
    assert (sealed.wire, heartbeat.wire) == (wire, wire)
    assert (sealed.provenance is not None) == (wire == 2) and heartbeat.provenance is None
    if wire == 1:
        only_wire_1(monkeypatch)  # a reader of the older kind
    report = inside.receive()
    assert reasons(report.outcomes) == [] and report.accepted == ["1/1", "1/2"]
    assert inside.content("base") == {"a": b"first"}


def test_an_inside_that_is_upgraded_later_imports_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = pair(tmp_path)
    outside.snapshot("base", {"a": b"first"}, origin=ORIGIN)
    inside.bring(*outside.bundle())
    with monkeypatch.context() as patch:
        only_wire_1(patch)
        report = inside.receive()
        assert [o.verdict for o in report.outcomes] == [Verdict.WAITING]
        [hold] = report.holds
        assert hold.kind == "wire" and f"written by sluice {VERSION}" in hold.reason
        assert f"install sluice {VERSION} here" in hold.remedy
        assert inside.content("base") is None
    report = inside.receive()
    assert report.holds == [] and [o.verdict for o in report.outcomes] == [Verdict.DONE]
    assert inside.content("base") == {"a": b"first"}


def test_an_outside_that_went_ahead_goes_back_to_the_older_wire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outside, inside = pair(tmp_path, wire=1)
    outside.snapshot("base", {"a": b"first"})
    inside.bring(*outside.bundle())
    inside.receive()
    outside.wire = 2
    outside.snapshot("base", {"a": b"second"}, origin=ORIGIN)
    inside.bring(*outside.bundle())
    outside.wire = 1
    outside.snapshot("base", {"a": b"third"}, origin=ORIGIN)
    inside.bring(*outside.bundle(full=True))
    with monkeypatch.context() as patch:
        only_wire_1(patch)
        report = inside.receive()
        assert "wire" in {hold.kind for hold in report.holds}
        assert inside.content("base") == {"a": b"third"}
    report = inside.receive()
    assert report.late == ["1/2"] and list(inside.inbox.iterdir()) == []
    assert inside.content("base") == {"a": b"third"}


def test_a_draft_of_a_newer_wire_is_not_released(tmp_path: Path) -> None:
    outside, _ = pair(tmp_path)
    outside.snapshot("base", {"a": b"first"})
    draft = outside.pack()
    assert draft is not None
    outside.wire = 1
    with pytest.raises(UsageError, match="packed with wire 2"):
        outside.release(draft)


def test_provenance_crosses_with_every_bundle_of_a_series(tmp_path: Path) -> None:
    outside, inside = pair(tmp_path)
    outside.part_size, outside.max_bundle = 1 << 16, 1 << 17
    outside.snapshot("base", {f"f{n}": bytes([n]) * 40_000 for n in range(8)}, origin=ORIGIN)
    made = 0
    while (draft := outside.pack()) is not None:
        inside.bring(*outside.parts(outside.release(draft)))
        made += 1
        assert manifest_of(outside, made).provenance is not None
        assert draft.blobs > 1, "a bundle of provenance alone would never end the series"
    assert made > 1
    inside.receive()
    assert len(inside.content("base") or {}) == 8
