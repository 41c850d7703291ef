"""Bad input: each kind is refused by its own class, and nothing is lost or published."""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manifests import canonical
from manifests.bundle import Index, IndexEntry, Location, Manifest, Parity, TextRef, read_head
from manifests.digest import sha256_of
from manifests.errors import ForeignRoot, ForkedStream, SluiceError, TrustError, WireError
from manifests.state import StateRow, StateTable
from manifests.tree import MAX_PATH_BYTES
from manifests.trust import TrustState
from sluice.ceremonies import StreamKeys
from store.seam import Seam
from tests.crossing.test_bundles import ONE, TWO, another_inside, many, noise, zones
from tests.support.crossing import NOW, Inside, Outside, reasons
from tests.support.forge import forge, tree_text
from transfer.admit import fork_key
from transfer.arrivals import Report, Verdict
from transfer.known import load_known
from transfer.missing import MOST_BUNDLES, outstanding

SMALL = {"a": b"some bytes", "b": b""}


def spoil(part: Path, target: Path, change: Callable[[bytearray], object]) -> None:
    data = bytearray(part.read_bytes())
    change(data)
    target.write_bytes(data)


def refused(inside: Inside, report: Report, *classes: str) -> None:
    """Nothing was published, and the reasons are these."""
    assert reasons(report.outcomes) == sorted(classes)
    assert report.exit_code == 3
    assert inside.store.ledger.generation() == 0
    for outcome in report.outcomes:
        assert "\n" not in outcome.reason


def accepts_the_control(inside: Inside, *parts: Path, files: object = ONE) -> None:
    """What was not spoiled still crosses."""
    inside.bring(*parts)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == files


# Signatures and time


def unsigned(copies: dict[str, bytes]) -> None:
    document = json.loads(copies["targets.json"])
    document["signatures"] = []
    copies["targets.json"] = canonical.dumps(document)


def rebuild(part: Path, target: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Write ``part`` with other documents in its head."""
    from manifests.bundle import Copies, build_head

    data = part.read_bytes()
    head = read_head(io.BytesIO(data))
    assert head is not None
    assert head.record is not None
    assert head.copies is not None
    documents = dict(head.copies.members())
    change(documents)
    roots = [documents[name] for name in documents if name.startswith("root/")]
    copies = Copies(
        documents["manifest.json"], documents["targets.json"], tuple(roots), documents["parts.tsv"]
    )
    record = replace(head.record, manifest=sha256_of(copies.manifest))
    target.write_bytes(build_head(record, copies) + data[head.record.offset :])


def another_manifest(documents: dict[str, bytes]) -> None:
    manifest = Manifest.parse(documents["manifest.json"])
    documents["manifest.json"] = replace(manifest, stored=1).encode()


def loosely_written(documents: dict[str, bytes]) -> None:
    document = json.loads(documents["targets.json"])
    documents["targets.json"] = json.dumps(document).encode()


def another_table(documents: dict[str, bytes]) -> None:
    documents["parts.tsv"] = documents["parts.tsv"].replace(b"sha256", b"sha255")


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (unsigned, "Unsigned"),
        (another_manifest, "Unsigned"),
        (loosely_written, "NotCanonical"),
        (another_table, "DamagedPart"),
    ],
)
def test_what_was_not_signed_is_refused(
    tmp_path: Path, change: Callable[[dict[str, bytes]], None], name: str
) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    parts = out.bundle()
    rebuild(parts[0], inside.inbox / "bad", change)
    refused(inside, inside.receive(), name)
    accepts_the_control(inside, *parts)


def test_a_foreign_root_is_refused(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    (tmp_path / "evil").mkdir()
    evil = Outside(tmp_path / "evil")
    evil.snapshot("base", TWO)
    inside.bring(*evil.bundle(), rename=True)
    report = inside.receive()
    refused(inside, report, "ForeignRoot")
    out.snapshot("base", ONE)
    accepts_the_control(inside, *out.bundle())


def test_a_root_for_another_stream_is_no_pin(tmp_path: Path) -> None:
    _, inside = zones(tmp_path)
    keys = StreamKeys(Seam(), "other", tmp_path / "other")
    keys.create(NOW)
    inside.pinned = keys.export_root()
    with pytest.raises(ForeignRoot, match="speaks for the stream other"):
        inside.receive()


def test_a_bundle_from_the_future_is_held_until_the_clock_is_right(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    inside.now = NOW - timedelta(days=30)
    report = inside.receive()
    assert [hold.kind for hold in report.holds] == ["clock"]
    assert "2030-01-01" in report.holds[0].reason
    assert "2029-12-02" in report.holds[0].reason
    assert (report.exit_code, inside.content("base")) == (3, None)
    with inside.store.ledger.read() as tx:
        raw = tx.trust_state("hq")
    assert raw is not None
    assert TrustState.from_bytes(raw).time_floor is None
    inside.now = NOW
    report = inside.receive()
    assert (report.exit_code, report.holds) == (0, [])
    assert inside.content("base") == ONE


def test_an_expired_bundle_gives_its_blobs_and_changes_no_state(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    old = out.bundle()
    inside.now = NOW + timedelta(days=400)
    inside.bring(*old)
    report = inside.receive()
    assert [hold.kind for hold in report.holds] == ["expired"]
    assert inside.content("base") is None
    out.now = inside.now
    out.snapshot("base", ONE | {"c": b"new"})
    inside.bring(*out.bundle())
    report = inside.receive()
    assert (report.exit_code, report.holds) == (0, [])
    assert inside.content("base") == ONE | {"c": b"new"}


def test_expiry_unpublishes_nothing(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    inside.receive()
    inside.now += timedelta(days=4000)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == ONE


# Forks


def test_a_fork_stops_the_stream_until_a_new_epoch(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    assert inside.receive().exit_code == 0
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copytree(tmp_path / "out" / "keys", restored / "keys")
    other = Outside(restored)
    other.snapshot("base", TWO)
    inside.bring(*other.bundle(), rename=True)
    before = sorted(inside.inbox.iterdir())
    with pytest.raises(ForkedStream, match="sequence 1 has two manifests"):
        inside.receive()
    assert sorted(inside.inbox.iterdir()) == before
    out.snapshot("base", TWO)
    inside.bring(*out.bundle())
    with pytest.raises(ForkedStream):
        inside.receive()
    assert inside.content("base") == ONE
    with inside.store.ledger.read() as tx:
        assert tx.hold(fork_key("hq")) is not None
        assert [e.kind for e in tx.last_events(1)] == ["stream.forked"]
    # The way out: clear the hold and start a new epoch.
    with inside.store.ledger.write() as tx:
        tx.clear_hold(fork_key("hq"))
    for path in inside.inbox.iterdir():
        path.unlink()
    out.keys.renew(out.now, new_epoch=True)
    inside.bring(*out.bundle())
    assert inside.receive().exit_code == 0
    assert inside.content("base") == TWO


# Damage


def test_a_damaged_head_costs_nothing(tmp_path: Path) -> None:
    """The payload is recognised by the part table of another part."""
    out, inside = zones(tmp_path, part_size=128 << 10)
    out.snapshot("base", many(0, 20))
    parts = out.bundle()
    inside.bring(parts[0])
    for part in parts[1:]:
        spoil(
            part,
            inside.inbox / f"x{part.name}",
            lambda data: data.__setitem__(slice(0, 1536), bytes(1536)),
        )
    report = inside.receive()
    assert (report.exit_code, reasons(report.outcomes)) == (0, [])
    assert inside.content("base") == many(0, 20)


def test_parts_with_exchanged_heads_are_told_by_their_payload(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    out.snapshot("base", many(0, 20))
    parts = out.bundle()
    inside.bring(*parts)
    plain = [
        p for p in sorted(inside.inbox.iterdir()) if b"manifest.json" not in p.read_bytes()[:4096]
    ]
    one, two = (
        (bytearray(path.read_bytes()) for path in plain[:2]) if len(plain) > 1 else (b"", b"")
    )
    if len(plain) > 1:
        one[:4096], two[:4096] = two[:4096], one[:4096]
        plain[0].write_bytes(one)
        plain[1].write_bytes(two)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == many(0, 20)


@pytest.mark.parametrize("keep", [0, 100, 4096, 0.3, 0.6, 0.9])
def test_a_truncated_part_is_refused_or_waits(tmp_path: Path, keep: float) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", {"a": noise(1, 200_000)})
    [part] = out.bundle()
    size = int(keep * part.stat().st_size) if isinstance(keep, float) else keep
    spoil(part, inside.inbox / "short", lambda data: data.__delitem__(slice(size, None)))
    report = inside.receive()
    [outcome] = report.outcomes
    assert inside.content("base") is None
    if size < 4096:
        assert outcome.verdict is Verdict.FOREIGN if size == 0 else Verdict.BAD
    else:
        assert outcome.verdict is Verdict.BAD
    accepts_the_control(inside, part, files={"a": noise(1, 200_000)})


def test_a_bad_part_spoils_nothing_else(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    files = many(0, 20)
    out.snapshot("base", files)
    parts = out.bundle()
    inside.bring(*parts[:2], *parts[3:])
    spoil(parts[2], inside.inbox / "bad", lambda data: data.__setitem__(100_000, data[100_000] ^ 1))
    report = inside.receive()
    assert reasons(report.outcomes) == ["DamagedPart"]
    assert "bundle 1/1, part 3" in str(next(o.error for o in report.outcomes if o.error))
    assert inside.content("base") is None
    kept = sum(inside.store.blobs.has(sha256_of(data)) for data in files.values())
    assert kept >= 17, "good blobs of bad parts are kept"
    inside.bring(parts[2])
    report = inside.receive()
    assert report.exit_code == 0
    assert inside.content("base") == files


def test_mixed_parts_of_two_bundles_are_told_apart(tmp_path: Path) -> None:
    out, inside = zones(tmp_path, part_size=128 << 10)
    out.snapshot("base", many(0, 12))
    first = out.bundle()
    out.snapshot("base", many(6, 12))
    second = out.bundle(full=True)
    assert len(first) == len(second) > 2
    for number, (one, two) in enumerate(zip(first, second, strict=True)):
        inside.bring(one if number % 2 else two)
    report = inside.receive()
    assert report.exit_code == 3
    assert reasons(report.outcomes) == []
    assert inside.content("base") is None
    inside.bring(*first, *second, rename=True)
    assert inside.receive().exit_code == 0
    assert inside.content("base") == many(6, 12)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    for name, data in {"note.txt": b"hello", "empty": b"", "large": noise(1, 300_000)}.items():
        (inside.inbox / name).write_bytes(data)
    out.snapshot("base", ONE)
    inside.bring(*out.bundle())
    report = inside.receive()
    assert report.exit_code == 0
    assert {p.name for p in inside.inbox.iterdir()} == {"note.txt", "empty", "large"}


@given(st.binary(min_size=1, max_size=3000), st.integers(0, 5000))
@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_noise_in_the_inbox_harms_nothing(tmp_path: Path, data: bytes, place: int) -> None:
    root = tmp_path / "zones"
    if not root.exists():
        root.mkdir()
        out, _ = zones(root)
        out.snapshot("base", ONE)
        shutil.copyfile(out.bundle()[0], root / "part")
        (root / "pinned").write_bytes(out.keys.export_root())
    folder = Path(str(root / f"in-{sha256_of(data)[:8]}-{place}"))
    folder.mkdir(exist_ok=True)
    inside = Inside(folder, (root / "pinned").read_bytes())
    part = bytearray((root / "part").read_bytes())
    part[place : place + len(data)] = data
    (inside.inbox / "noise").write_bytes(data)
    (inside.inbox / "spoiled").write_bytes(part)
    report = inside.receive()
    assert inside.content("base") in (None, ONE)
    assert all(isinstance(o.error, (TrustError, WireError, type(None))) for o in report.outcomes)


# Every byte


BUNCH = 64
"""So many bytes of padding are flipped together: nobody reads them."""


def _flipped(data: bytes, *places: int) -> bytes:
    broken = bytearray(data)
    for place in places:
        broken[place] ^= 1 << (place % 8)
    return bytes(broken)


def _signed_bytes(part: bytes) -> tuple[set[int], set[int]]:
    """The places of all bytes of signed documents, and of their tar headers."""
    head = read_head(io.BytesIO(part))
    assert head is not None
    assert head.copies is not None
    signed: set[int] = set()
    headers: set[int] = set()
    for _, document in head.copies.members():
        at = part.index(document)
        signed |= {*range(at, at + len(document))}
        headers |= {*range(at - 512, at)}
    return signed, headers


def test_every_byte_of_a_minimal_bundle_flipped_in_turn(tmp_path: Path) -> None:
    """Refused, or harmless: published rightly or not at all.

    Flips of the signed documents, of blobs and of the index must all be refused:
    they are brought at once. Of the others, which must be harmless, some are tried
    (tar headers and hints one by one, padding in bunches); `make soak` tries them all.
    """
    _flip_every_byte(tmp_path, tried=20)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_every_byte_without_exception(tmp_path: Path) -> None:
    _flip_every_byte(tmp_path, tried=1 << 30)


def _flip_every_byte(tmp_path: Path, tried: int) -> None:
    out, inside = zones(tmp_path)
    out.snapshot("base", SMALL)
    [part] = out.bundle()
    data = part.read_bytes()
    groups = _covered_bytes(out, data)
    covered = {place for member in groups for place in member}
    signed, headers = _signed_bytes(data)
    harmless = sorted({*range(len(data))} - covered - signed - headers)
    chance = random.Random(1)
    # A tar header is read in one spelling only, so its bytes are all alike.
    brought = signed | set(chance.sample(sorted(headers), min(tried * 4, len(headers))))
    for place in brought:
        (inside.inbox / f"{place:06}").write_bytes(_flipped(data, place))
    report = inside.receive()
    assert {o.verdict for o in report.outcomes} == {Verdict.BAD}
    assert all(o.error is not None for o in report.outcomes)
    with inside.store.ledger.read() as tx:
        assert (tx.trust_state("hq"), tx.bundles()) == (None, [])
    shutil.rmtree(inside.root / "quarantine")
    for number, member in enumerate(groups):
        # One inside for each blob: it keeps the good blobs of bad parts.
        other = another_inside(tmp_path, out, f"covered{number}")
        for place in member:
            (other.inbox / f"{place:06}").write_bytes(_flipped(data, place))
        report = other.receive()
        assert reasons(report.outcomes) == ["DamagedPart"] * len(member)
        assert other.content("base") is None
        accepts_the_control(other, part, files=SMALL)
    trials = _trials(data, harmless)
    for number, places in enumerate(chance.sample(trials, min(tried, len(trials)))):
        fresh = _copy_of_fresh(inside, tmp_path / f"fresh{number % 2}")
        (fresh.inbox / "part").write_bytes(_flipped(data, *places))
        report = fresh.receive()
        assert [o.verdict for o in report.outcomes] == [Verdict.DONE], places
        assert fresh.content("base") == SMALL, places
        fresh.store.close()
    accepts_the_control(inside, part, files=SMALL)


def _trials(part: bytes, harmless: list[int]) -> list[list[int]]:
    """What to flip at once: each byte of a tar header or of a hint alone, padding in bunches."""
    padding = [
        place
        for place in harmless
        if part[place] == 0 and part[place // 512 * 512 + 257 :][:5] != b"ustar"
    ]
    alone = sorted({*harmless} - {*padding})
    bunches = [padding[start : start + BUNCH] for start in range(0, len(padding), BUNCH)]
    assert len(alone) > 6 * 512, "two headers of the head, four of the payload, and the hints"
    return [*([place] for place in alone), *bunches]


def _covered_bytes(out: Outside, part: bytes) -> list[range]:
    """The places in the file of the bytes of the index and of each blob."""
    head = read_head(io.BytesIO(part))
    assert head is not None
    assert head.record is not None
    assert head.copies is not None
    manifest = Manifest.parse(head.copies.manifest)
    with Index.map(out.store.blobs.path(manifest.index.digest)) as index:
        locations = [at for entry in index.entries() for at in entry.locations]
    starts = [
        (head.record.offset + at.offset, at.length)
        for at in (*manifest.index.locations, *locations)
    ]
    return [range(start, start + length) for start, length in starts if length]


def _copy_of_fresh(inside: Inside, folder: Path) -> Inside:
    """An inside that has received nothing, without the cost of making a ledger."""
    if folder.exists():
        shutil.rmtree(folder)
    template = folder.with_name("template")
    if not template.exists():
        template.mkdir()
        Inside(template, inside.pinned).store.close()
    shutil.copytree(template, folder)
    return Inside(folder, inside.pinned)


# Signed, and still not true


BAD_PATHS = {
    "absolute": "/etc/passwd",
    "parent": "a/../../b",
    "dot": "a/./b",
    "empty segment": "a//b",
    "trailing slash": "a/",
    "empty": "",
    "control": "a\x01b",
    "newline": "a\nb",
    "delete": "a\x7fb",
    "line separator": "a\u2028b",
    "not UTF-8": "a\udcff",
    "too long": "x" * (MAX_PATH_BYTES + 1),
}


@pytest.mark.parametrize("path", BAD_PATHS.values(), ids=BAD_PATHS.keys())
def test_trees_with_bad_paths_are_held(tmp_path: Path, path: str) -> None:
    out, inside = zones(tmp_path)
    good = tree_text(("a", b"good"))
    forge(
        out,
        inside.inbox / "part",
        [("base", tree_text((path, b"bad"))), ("extra", good)],
        [b"bad", b"good"],
    )
    report = inside.receive()
    assert report.exit_code == 3
    assert [(h.repository, h.kind) for h in report.holds] == [("base", "unusable")]
    assert "\n" not in report.holds[0].reason
    assert inside.content("base") is None
    assert inside.content("extra") == {"a": b"good"}


def test_trees_out_of_order_or_open_are_held(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    one, two = tree_text(("b", b"x"), ("a", b"x")), tree_text(("a", b"x"))[:-1]
    forge(out, inside.inbox / "part", [("base", one), ("extra", two)], [b"x"])
    report = inside.receive()
    assert {h.kind for h in report.holds} == {"unusable"}
    assert report.published == []


def test_a_lying_size_in_a_tree_is_missing_content(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"four")).replace(b"\t4\n", b"\t5\n")
    forge(out, inside.inbox / "part", [("base", text)], [b"four"])
    report = inside.receive()
    assert [(h.kind, h.detail["items"]) for h in report.holds] == [("incomplete", ["a"])]


def test_a_sequence_beyond_all_counting_is_no_list_of_all_before_it(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"here"), ("b", b"gone"))
    last = 10**15
    forge(
        out, inside.inbox / "part", [("base", text)], [b"here"],
        sequence=last, previous=sha256_of(b"before"),
    )  # fmt: skip
    report = inside.receive()
    assert report.accepted == [f"1/{last}"]
    assert report.missing == [*range(1, MOST_BUNDLES + 1)]
    assert [h.kind for h in inside.receive().holds] == ["incomplete"]
    with inside.store.ledger.read() as tx:
        (gap,) = [event.detail for event in tx.events() if event.kind == "bundle.gap"]
        assert gap == {"first": 1, "last": last - 1, "count": last - 1}
        raw = tx.trust_state("hq")
        assert raw is not None
        known = [*load_known(inside.store, tx, "hq").values()]
        found = outstanding(tx, known, TrustState.from_bytes(raw))
    assert [number for number, _ in found.bundles] == report.missing


def test_a_lying_tree_size_is_held(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"four"))
    rows = [StateRow("base", "files", 1, sha256_of(text), len(text) + 1)]
    forge(out, inside.inbox / "part", [("base", text)], [b"four"], rows=rows)
    report = inside.receive()
    assert [h.kind for h in report.holds] == ["unusable"]


def swap(entries: list[IndexEntry]) -> list[IndexEntry]:
    """Promise the second blob's digest where the first one's bytes lie."""
    one, two = entries[-2:]
    return [
        *entries[:-2],
        replace(one, digest=two.digest, stored=two.digest),
        replace(two, digest=one.digest, stored=one.digest),
    ]


def test_an_index_that_promises_other_bytes(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"one!"), ("b", b"two!"))
    forge(out, inside.inbox / "part", [("base", text)], [b"one!", b"two!"], lines=swap)
    report = inside.receive()
    assert reasons(report.outcomes) == ["DamagedPart"]
    assert "not what the signed index promises" in report.outcomes[0].reason
    assert inside.content("base") is None
    assert not inside.store.blobs.has(sha256_of(b"one!"))


def test_an_unknown_codec_holds_its_blob_and_nothing_else(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    good = tree_text(("a", b"good"))

    def lines(entries: list[IndexEntry]) -> list[IndexEntry]:
        first = replace(entries[0], codec="brand-new", digest=sha256_of(b"unknown"), size=77)
        return [first, *entries[1:]]

    rows = [
        StateRow("base", "files", 1, sha256_of(b"unknown"), 77),
        StateRow("extra", "files", 1, sha256_of(good), len(good)),
    ]
    forge(
        out, inside.inbox / "part", [("base", b"encoded"), ("extra", good)], [b"good"],
        lines=lines, rows=rows,
    )  # fmt: skip
    report = inside.receive()
    assert "brand-new" in report.holds[0].reason
    assert inside.content("extra") == {"a": b"good"}


def test_a_delta_that_does_not_give_the_promised_tree(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    base = tree_text(("a", b"good"))
    delta = b"-a\n"

    def lines(entries: list[IndexEntry]) -> list[IndexEntry]:
        lie = replace(
            entries[1], codec="tree-delta", base=sha256_of(base), digest=sha256_of(b"x"), size=1
        )
        return [entries[0], lie, *entries[2:]]

    rows = [
        StateRow("base", "files", 1, sha256_of(base), len(base)),
        StateRow("extra", "files", 1, sha256_of(b"x"), 1),
    ]
    forge(
        out, inside.inbox / "part", [("base", base), ("extra", delta)], [b"good"],
        lines=lines, rows=rows,
    )  # fmt: skip
    report = inside.receive()
    assert [h.repository for h in report.holds] == ["extra"]
    assert "its delta does not fit" in report.holds[0].reason
    assert inside.content("base") == {"a": b"good"}


@pytest.mark.parametrize(
    "index",
    [
        lambda text: text[:-1],
        lambda text: text + text,
        lambda text: text.replace(b"\traw\t", b"\tRAW\t"),
        lambda _: b"",
        lambda text: text[text.index(b"\n") + 1 :],
    ],
    ids=["open", "twice", "words", "empty", "short"],
)
def test_a_signed_index_that_is_malformed(tmp_path: Path, index: Callable[[bytes], bytes]) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"good"))
    first = forge(out, inside.inbox / "part", [("base", text)], [b"good"], index=index)
    report = inside.receive()
    assert reasons(report.outcomes) == ["MalformedManifest"]
    assert inside.content("base") is None
    # It must not pass the second time either, now that the index is a blob.
    shutil.copyfile(inside.root / "quarantine" / "part", inside.inbox / "again")
    assert reasons(inside.receive().outcomes) == ["MalformedManifest"]
    forge(
        out, inside.inbox / "next", [("base", text)], [b"good"],
        sequence=2, previous=first.digest,
    )  # fmt: skip
    inside.receive()
    assert inside.content("base") == {"a": b"good"}


@pytest.mark.parametrize(
    "change",
    [
        lambda m: replace(m, parity=Parity(1, 1, "none-such")),
        lambda m: replace(m, parity=Parity(2)),
        lambda m: replace(m, stream="other"),
        lambda m: replace(m, epoch=2),
        lambda m: replace(m, sequence=2, previous=sha256_of(b"")),
        lambda m: replace(m, part_table=TextRef(sha256_of(b"other"), 5)),
    ],
    ids=["parity", "parts", "stream", "epoch", "sequence", "table"],
)
def test_signed_manifests_that_do_not_hold_together(
    tmp_path: Path, change: Callable[[Manifest], Manifest]
) -> None:
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"good"))

    def spoiled(manifest: Manifest) -> Manifest:
        return change(manifest)

    forge(out, inside.inbox / "part", [("base", text)], [b"good"], change=spoiled)
    try:
        report = inside.receive()
    except SluiceError as error:
        assert isinstance(error, (TrustError, WireError))
    else:
        assert all(isinstance(o.error, (TrustError, WireError)) for o in report.outcomes) or (
            report.accepted == ["1/2"]
        )
    if (report := inside.receive()).accepted != ["1/2"]:
        assert inside.content("base") is None or report.missing == []


def test_an_index_location_in_the_index_is_only_text(tmp_path: Path) -> None:
    """A blob may name bytes of the index; they are what they are."""
    out, inside = zones(tmp_path)
    text = tree_text(("a", b"good"))
    forge(
        out,
        inside.inbox / "part",
        [("base", text)],
        [b"good"],
        change=lambda m: replace(
            m, index=replace(m.index, locations=(Location(1, 0, m.index.size),))
        ),
    )
    report = inside.receive()
    assert reasons(report.outcomes) == ["DamagedPart"]
    assert inside.content("base") is None


def test_names_in_the_archive_write_nothing(tmp_path: Path) -> None:
    """Whatever a part calls its members, nothing outside the store is touched."""
    out, inside = zones(tmp_path)
    out.snapshot("base", ONE)
    [part] = out.bundle()
    data = part.read_bytes()
    name = sha256_of(ONE["a"]).encode()
    at = data.index(name + b"\0" * 36)
    evil = b"../" * 20 + b"evil"
    spoil(part, inside.inbox / "part", lambda d: d.__setitem__(slice(at, at + len(evil)), evil))
    assert inside.receive().exit_code == 0
    assert inside.content("base") == ONE
    assert not list(tmp_path.rglob("evil*"))


def test_state_tables_of_twenty_thousand_repositories_are_capped() -> None:
    rows = tuple(
        StateRow(f"r{number:05}", "files", 1, sha256_of(b""), 0) for number in range(20_000)
    )
    manifest = Manifest(
        "hq", 1, 1, None, NOW, "full", StateTable(rows), StateTable(()),
        TextRef(sha256_of(b""), 0), TextRef(sha256_of(b""), 0), 0, 0, Parity(1),
    )  # fmt: skip
    with pytest.raises(WireError, match="at most 1000000"):
        manifest.encode()


def test_another_inside_is_not_disturbed(tmp_path: Path) -> None:
    out, inside = zones(tmp_path)
    other = another_inside(tmp_path, out, "in2")
    out.snapshot("base", ONE)
    parts = out.bundle()
    inside.bring(*parts)
    other.bring(*parts)
    assert inside.receive().exit_code == other.receive().exit_code == 0
