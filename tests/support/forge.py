"""Bundles that are signed by the right keys and yet say what no honest outside would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from manifests.bundle import (
    END,
    Copies,
    IndexEntry,
    Location,
    Manifest,
    Parity,
    PartRecord,
    PartRow,
    TextRef,
    build_head,
    encode_parts,
    member_header,
    padding,
)
from manifests.digest import Digest, sha256_of
from manifests.state import StateRow, StateTable
from tests.support.crossing import Outside

OFFSET = 48 << 10


def member(name: str, data: bytes) -> bytes:
    return member_header(name, len(data)) + data + bytes(padding(len(data)))


def raw_entry(data: bytes, offset: int) -> IndexEntry:
    """The honest line of a blob whose bytes lie at ``offset`` of part 1."""
    digest = sha256_of(data)
    return IndexEntry(
        digest, len(data), "raw", None, digest, len(data), (Location(1, offset, len(data)),)
    )


def forge(
    out: Outside,
    target: Path,
    trees: Sequence[tuple[str, bytes]],
    blobs: Sequence[bytes] = (),
    *,
    sequence: int = 1,
    previous: Digest | None = None,
    lines: Callable[[list[IndexEntry]], list[IndexEntry]] = list,
    index: Callable[[bytes], bytes] = bytes,
    change: Callable[[Manifest], Manifest] = lambda manifest: manifest,
    rows: Sequence[StateRow] | None = None,
) -> Manifest:
    """Write a signed bundle of one part to ``target``.

    ``trees`` are (repository, tree text); the hooks spoil index, state or manifest.
    """
    room = 64 << 10
    payload = bytearray()
    entries = []
    for data in [*(text for _, text in trees), *blobs]:
        entries.append(raw_entry(data, room + len(payload) + 512))
        payload += member(sha256_of(data), data)
    text = index(b"".join(entry.line() for entry in lines(entries)))
    whole = member(sha256_of(text), text)
    whole += member("PAD", bytes(room - len(whole) - 512)) + payload
    state = rows or [
        StateRow(repository, "files", sequence, sha256_of(tree), len(tree))
        for repository, tree in trees
    ]
    table = encode_parts([PartRow(1, OFFSET, len(whole), sha256_of(whole))])
    manifest = change(
        Manifest(
            stream="hq",
            epoch=1,
            sequence=sequence,
            previous=previous or (None if sequence == 1 else sha256_of(b"lost")),
            created=out.now,
            kind="full",
            state=StateTable.of(state),
            base=StateTable(()),
            part_table=TextRef(sha256_of(table), len(table)),
            index=TextRef(sha256_of(text), len(text), (Location(1, 512, len(text)),)),
            blobs=len(entries),
            stored=sum(entry.stored_size for entry in entries),
            parity=Parity(1),
        )
    )
    data = manifest.encode()
    document = out.keys.sign_release(data, manifest.sequence, out.now)
    copies = Copies(data, document, tuple(out.keys.chain()), table)
    record = PartRecord("hq", 1, manifest.sequence, 1, 1, OFFSET, len(whole), sha256_of(data))
    target.write_bytes(build_head(record, copies) + whole + END)
    return manifest


def tree_text(*lines: tuple[str, bytes]) -> bytes:
    """Tree text whose paths nobody checked."""
    return b"".join(
        path.encode("utf-8", "surrogateescape") + f"\t{sha256_of(data)}\t{len(data)}\n".encode()
        for path, data in lines
    )
