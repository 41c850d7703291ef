"""The wire: every value survives its text, and no bytes do anything but fail cleanly."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.bundle import (
    BLOCK,
    END,
    WIRES,
    EventHead,
    Fragment,
    HeadPlan,
    Index,
    IndexEntry,
    Layout,
    Location,
    Manifest,
    Parity,
    PartRecord,
    PartRow,
    TextRef,
    build_head,
    check_index,
    encode_parts,
    head_room,
    member_header,
    padding,
    parse_parts,
    read_head,
)
from manifests.bundle.head import Copies
from manifests.bundle.index import parse_line
from manifests.bundle.tar import parse_header
from manifests.digest import Digest, sha256_of
from manifests.errors import MalformedManifest, NotCanonical, SluiceError, WrongVersion
from manifests.state import StateRow, StateTable
from tests.support.soaking import examples

digests = st.binary(max_size=8).map(sha256_of)
names = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,10}", fullmatch=True)
numbers = st.integers(0, 2**53 - 1)
times = st.datetimes(
    min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
).map(lambda moment: moment.replace(microsecond=0))
rows = st.builds(
    StateRow, names, st.just("yum"), st.integers(1, 2**53 - 1), digests, st.integers(0, 2**53 - 2)
)
tables = st.lists(rows, max_size=4, unique_by=lambda row: row.repository).map(StateTable.of)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    parts = draw(st.integers(1, 9))
    locations = tuple(
        draw(st.lists(st.builds(Location, st.integers(1, parts), numbers, st.integers(0, 2**40))))
    )
    sequence = draw(st.integers(1, 2**40))
    kind = draw(st.sampled_from(["full", "delta", "heartbeat"]))
    made = Manifest(
        stream=draw(names),
        epoch=draw(st.integers(1, 99)),
        sequence=sequence,
        previous=None if sequence == 1 else draw(digests),
        created=draw(times),
        kind=kind,
        state=draw(tables),
        base=StateTable(()) if kind == "full" else draw(tables),
        part_table=TextRef(draw(digests), draw(numbers)),
        index=TextRef(draw(digests), sum(at.length for at in locations), locations),
        blobs=draw(numbers),
        stored=draw(numbers),
        parity=Parity(parts),
        events=draw(st.none() | st.builds(EventHead, numbers, digests)),
        retain=draw(st.dictionaries(names, st.integers(1, 2**53 - 1), max_size=3)),
        together=tuple(draw(st.lists(st.lists(names, max_size=3).map(tuple), max_size=2))),
        orders=tuple(draw(st.lists(st.text(max_size=5), max_size=2))),
    ).in_wire(draw(st.sampled_from(WIRES)))
    told = draw(st.none() | st.builds(TextRef, digests, numbers))
    return replace(made, provenance=told) if made.wire > 1 else made


@given(manifests())
def test_a_manifest_survives_its_bytes(manifest: Manifest) -> None:
    assert Manifest.parse(manifest.encode()) == manifest


@given(manifests(), st.data())
def test_a_changed_manifest_is_another_or_none(manifest: Manifest, data: st.DataObject) -> None:
    raw = bytearray(manifest.encode())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        again = Manifest.parse(bytes(raw))
    except SluiceError:
        return
    assert again.encode() == raw


def test_another_wire_is_named_by_its_version() -> None:
    for data in (b'{"wire":3}', b'{"wire":true}', b'{"wire":"1"}'):
        with pytest.raises(WrongVersion, match="which reads 1 and 2"):
            Manifest.parse(data)
    with pytest.raises(WrongVersion, match=r"wire version 3, written by sluice 9\.1;") as caught:
        Manifest.parse(b'{"wire":3,"writer":"sluice 9.1"}')
    assert caught.value.remedy.startswith("install sluice 9.1 here")
    with pytest.raises(WrongVersion, match="wire version 3; this"):
        Manifest.parse(b'{"wire":3,"writer":"\\u001b[2J"}')


@given(
    st.lists(
        st.builds(
            PartRow,
            st.just(1),
            st.integers(1, 2**40).map(lambda n: n * BLOCK),
            st.integers(0, 2**40).map(lambda n: n * BLOCK),
            digests,
        ),
        min_size=1,
        max_size=5,
    )
)
def test_a_part_table_survives_its_text(made: list[PartRow]) -> None:
    table = tuple(
        PartRow(number, row.offset, row.length, row.digest) for number, row in enumerate(made, 1)
    )
    assert parse_parts(encode_parts(table), len(table)) == table
    with pytest.raises(MalformedManifest):
        parse_parts(encode_parts(table), len(table) + 1)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_cleanly(data: bytes) -> None:
    for read in (
        lambda: Manifest.parse(data),
        lambda: parse_parts(data, 1),
        lambda: list(check_index([data], [PartRow(1, 4096, 4096, sha256_of(b""))])),
    ):
        try:
            read()
        except SluiceError as error:
            assert "\n" not in str(error)
        else:
            assert data == b""
    assert read_head(io.BytesIO(data)) is None


sizes = st.lists(st.integers(0, 200_000), min_size=1, max_size=20)


def _lay_out(lengths: list[int], plan: HeadPlan, part_size: int) -> list[list[Fragment]]:
    layout = Layout(part_size, plan)
    return [list(layout.place(length)) for length in lengths]


@given(sizes, st.integers(1, 3))
@settings(max_examples=examples(50))
def test_parts_are_tar_files_within_their_size(lengths: list[int], stride: int) -> None:
    """Everything is placed once, nothing overlaps, and Python's own tar reads each part."""
    part_size, plan = 64 << 10, HeadPlan(16 << 10, stride)
    parts: dict[int, bytearray] = {}
    blobs = [bytes([number % 251]) * length for number, length in enumerate(lengths)]
    entries = []
    for blob, fragments in zip(blobs, _lay_out(lengths, plan, part_size), strict=True):
        digest = sha256_of(blob)
        entries.append(
            IndexEntry(
                digest, len(blob), "raw", None, digest, len(blob), tuple(f.at for f in fragments)
            )
        )
        for fragment in fragments:
            payload = parts.setdefault(fragment.at.part, bytearray())
            piece = blob[fragment.start : fragment.start + fragment.at.length]
            payload += member_header(fragment.name(digest), len(piece))
            assert len(payload) == fragment.at.offset
            payload += piece + bytes(padding(len(piece)))
    table = [
        PartRow(part, plan.size(part), len(payload), sha256_of(payload))
        for part, payload in sorted(parts.items())
    ]
    assert [row.part for row in table] == list(range(1, len(table) + 1))
    text = b"".join(entry.line() for entry in entries)
    assert list(check_index([text], table)) == entries
    index = Index(text)
    for row in table:
        wanted = [e for e in entries if any(at.part == row.part for at in e.locations)]
        assert list(index.of_part(row.part)) == wanted
        record = PartRecord(
            "hq", 1, 1, row.part, len(table), row.offset, row.length, entries[0].digest
        )
        file = build_head(record, None) + parts[row.part] + END
        assert len(file) <= part_size
        with tarfile.open(fileobj=io.BytesIO(file)) as archive:
            members = archive.getmembers()
            assert [m.name for m in members][:2] == ["PART", "PAD"]
            assert sum(m.size for m in members[2:]) == sum(
                at.length for e in wanted for at in e.locations if at.part == row.part
            )
        head = read_head(io.BytesIO(file))
        assert head is not None
        assert head.record == record


def _copies() -> Copies:
    return Copies(b'{"m":1}', b'{"t":1}', (b'{"r":1}', b'{"r":2}'), b"1\ttable\n")


def _record(copies: Copies) -> PartRecord:
    room = head_room([len(data) for _, data in copies.members()])
    return PartRecord("hq", 1, 7, 2, 3, room, 1024, sha256_of(b"manifest"))


def test_a_head_gives_back_its_copies_and_fills_its_room() -> None:
    copies = _copies()
    record = _record(copies)
    head = build_head(record, copies)
    assert len(head) == record.offset
    found = read_head(io.BytesIO(head))
    assert found is not None
    assert (found.record, found.copies, found.problem) == (record, copies, None)
    with tarfile.open(fileobj=io.BytesIO(head + END)) as archive:
        assert archive.getnames() == [
            "PART",
            "manifest.json",
            "targets.json",
            "root/1.root.json",
            "root/2.root.json",
            "parts.tsv",
            "PAD",
        ]


def test_each_damaged_byte_of_a_head_costs_at_most_one_member() -> None:
    """Whatever byte is wrong, reading neither raises nor makes anything up."""
    copies = _copies()
    head = build_head(_record(copies), copies)
    for place in range(len(head)):
        broken = bytearray(head)
        broken[place] ^= 0x20
        found = read_head(io.BytesIO(broken))
        assert found is not None
        if found.record != _record(copies):
            assert found.copies == copies


def test_lying_sizes_are_not_read() -> None:
    """A head that announces four gigabytes costs nothing."""
    head = member_header("PART", 1 << 32) + bytes(1024)
    assert read_head(io.BytesIO(head)) is None
    head = member_header("manifest.json", 2_000_000) + bytes(2_001_024)
    assert read_head(io.BytesIO(head)) is None


@pytest.mark.parametrize(
    "line",
    [
        "{d}\t5\traw\t-\t{d}\t5\t00001:0000000000512:0000000004\n",  # does not add up
        "{d}\t5\traw\t-\t{d}\t6\t00001:0000000000512:0000000006\n",  # raw, yet two sizes
        "{d}\t5\traw\t{d}\t{d}\t5\t00001:0000000000512:0000000005\n",  # raw with a base
        "{d}\t5\ttree-delta\t-\t{d}\t5\t00001:0000000000512:0000000005\n",  # a delta without one
        "{d}\t5\traw\t-\t{d}\t5\t1:512:5\n",  # another spelling
        "{d}\t05\traw\t-\t{d}\t5\t00001:0000000000512:0000000005\n",
        "{d}\t5\tRAW\t-\t{d}\t5\t00001:0000000000512:0000000005\n",
        "{d}\t5\traw\t-\t{d}\t5\t00001:0000000000512:0000000005",
        "{d}\t5\traw\t-\t{d}\t5\t00001:0000000000512:99999999999999999999\n",
        "../x\t5\traw\t-\t{d}\t5\t00001:0000000000512:0000000005\n",
    ],
)
def test_bad_index_lines_are_refused(line: str) -> None:
    with pytest.raises(MalformedManifest):
        parse_line(line.format(d=sha256_of(b"")).encode())


def _entry(seed: bytes, *locations: Location) -> IndexEntry:
    digest = sha256_of(seed)
    size = sum(at.length for at in locations)
    return IndexEntry(digest, size, "raw", None, digest, size, locations)


@pytest.mark.parametrize(
    "entries",
    [
        [_entry(b"a", Location(1, 512, 4000))],
        [_entry(b"a", Location(3, 512, 5))],
        [_entry(b"a", Location(0, 512, 5))],
        [_entry(b"a", Location(1, 512, 100)), _entry(b"b", Location(1, 600, 5))],
        [_entry(b"a", Location(2, 512, 5)), _entry(b"b", Location(1, 512, 5))],
        [_entry(b"a", Location(1, 512, 5), Location(1, 512, 5))],
    ],
    ids=["outside", "no such part", "part zero", "overlap", "backwards", "twice"],
)
def test_locations_lie_in_order_inside_their_payloads(entries: list[IndexEntry]) -> None:
    """So no few bytes can be unfolded into many blobs."""
    rows = [PartRow(part, 4096, 2048, sha256_of(b"")) for part in (1, 2)]
    with pytest.raises(MalformedManifest):
        list(check_index([b"".join(entry.line() for entry in entries)], rows))


def test_tar_headers_are_read_in_exactly_one_spelling() -> None:
    header = member_header(Digest("a" * 64), 5)
    assert parse_header(header) == ("a" * 64, 5)
    for place in range(len(header)):
        broken = bytearray(header)
        broken[place] ^= 1
        assert parse_header(bytes(broken)) is None
    assert tarfile.TarInfo.frombuf(header, "ascii", "strict").size == 5


def test_not_canonical_is_told_from_malformed() -> None:
    with pytest.raises(NotCanonical):
        Manifest.parse(b'{"wire": 1}')
    with pytest.raises(MalformedManifest):
        Manifest.parse(b"\xff")
