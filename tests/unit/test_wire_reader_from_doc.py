"""A reader of the wire that was written from docs/design.md alone.

It imports nothing of ours but to make the bundles: the chapter "On the wire, versions 1 and 2"
must be enough for a stranger. Section names in comments are those of the chapter.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.support.crossing import Outside

BLOCK = 512


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def must(condition: object, what: str) -> None:
    if not condition:
        raise ValueError(what)


def canonical(data: bytes) -> Any:  # "Canonical JSON"
    value = json.loads(data)
    must(json.dumps(value, sort_keys=True, separators=(",", ":")).encode() == data, "not canonical")
    return value


def signed_bytes(value: Any) -> bytes:  # "Release document": OLPC canonical JSON
    if isinstance(value, dict):
        items = (signed_bytes(name) + b":" + signed_bytes(value[name]) for name in sorted(value))
        return b"{" + b",".join(items) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(signed_bytes, value)) + b"]"
    if isinstance(value, str):
        return b'"' + value.replace("\\", "\\\\").replace('"', '\\"').encode() + b'"'
    return json.dumps(value).encode()


def members(data: bytes, start: int, end: int) -> Iterator[tuple[str, bytes]]:  # "Part file"
    while start < end:
        header = data[start : start + BLOCK]
        blanked = header[:148] + b" " * 8 + header[156:]
        must(b"%06o\0 " % sum(blanked) == header[148:156], "a bad tar header")
        size = int(header[124:135], 8)
        yield header[:100].rstrip(b"\0").decode(), data[start + BLOCK : start + BLOCK + size]
        start += BLOCK + size + -size % BLOCK


def verify(document: bytes, role: str, *roots: bytes) -> Any:  # "Root chain", "Release document"
    envelope = canonical(document)
    for root in roots:
        signed = json.loads(root)["signed"]
        good = set()
        for signature in envelope["signatures"]:
            if signature["keyid"] in signed["roles"][role]["keyids"]:
                public = signed["keys"][signature["keyid"]]["keyval"]["public"]
                key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
                key.verify(bytes.fromhex(signature["sig"]), signed_bytes(envelope["signed"]))
                good.add(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        must(len(good) >= signed["roles"][role]["threshold"], f"too few signatures of {role}")
    return envelope["signed"]


def read_tree(text: bytes) -> list[tuple[str, str, int]]:  # "Tree"
    rows = [line.split("\t") for line in text.decode().splitlines()]
    return [(path, digest, int(size)) for path, digest, size in rows]


def apply(base: bytes, delta: bytes) -> bytes:  # "Tree": a tree delta
    lines = {line.split(b"\t")[0]: line for line in base.splitlines(keepends=True)}
    for line in delta.splitlines(keepends=True):
        if line.startswith(b"-"):
            del lines[line[1:-1]]
        else:
            lines[line[1:].split(b"\t")[0]] = line[1:]
    return b"".join(lines[path] for path in sorted(lines))


def open_bundle(files: Iterable[bytes], pinned: bytes, blobs: dict[str, bytes]) -> dict[str, Any]:
    """Add the bundle's blobs to ``blobs``; its manifest. "What a reader checks"."""
    parts: dict[int, bytes] = {}
    head: dict[str, bytes] = {}
    for data in files:
        (_, first), *_ = members(data, 0, BLOCK)
        record = canonical(first)
        parts[record["part"]] = data
        found = dict(members(data, 0, record["offset"]))
        if "manifest.json" in found:
            head = found
    chain = [head[f"root/{n}.root.json"] for n in range(1, sum(n[:5] == "root/" for n in head) + 1)]
    must(chain[0] == pinned, "a foreign root")
    for old, new in zip([chain[0], *chain], chain, strict=False):
        verify(new, "root", old, new)
    release = verify(head["targets.json"], "targets", chain[-1])
    target = release["targets"]["manifest.json"]
    raw = head["manifest.json"]
    must((len(raw), sha256(raw)) == (target["length"], target["hashes"]["sha256"]), "manifest")
    manifest: dict[str, Any] = canonical(raw)
    must(manifest["sequence"] == release["version"], "sequence")
    must(sha256(head["parts.tsv"]) == manifest["part_table"]["digest"], "part table")
    payloads = {}
    for line in head["parts.tsv"].decode().splitlines():
        part, _, offset, length, digest = line.split("\t")
        payload = parts[int(part)][int(offset) : int(offset) + int(length)]
        must(sha256(payload) == digest, f"the payload of part {part}")
        must(len(parts[int(part)]) == int(offset) + int(length) + 1024, "the size of the file")
        payloads[int(part)] = payload

    def at(part: int, offset: int, length: int) -> bytes:
        return payloads[part][offset : offset + length]

    index = b"".join(at(*location) for location in manifest["index"]["locations"])
    must(sha256(index) == manifest["index"]["digest"], "index")
    count = total = 0
    for line in index.decode().splitlines():  # "Index"
        digest, size, codec, base, stored_digest, stored_size, places = line.split("\t")
        stored = b"".join(at(*map(int, place.split(":"))) for place in places.split(","))
        must((sha256(stored), len(stored)) == (stored_digest, int(stored_size)), "stored bytes")
        must(codec in ("raw", "tree-delta"), "codec")
        blob = stored if codec == "raw" else apply(blobs[base], stored)
        must((sha256(blob), len(blob)) == (digest, int(size)), "a blob")
        blobs[digest] = blob
        count, total = count + 1, total + len(stored)
    must((count, total) == (manifest["blobs"], manifest["stored"]), "the sums of the index")
    return manifest


def contents(manifest: dict[str, Any], blobs: dict[str, bytes]) -> dict[str, dict[str, bytes]]:
    return {
        name: {path: blobs[digest] for path, digest, size in read_tree(blobs[tree])}
        for name, _, _, tree, _ in manifest["state"]
    }


FIRST = {
    "a": b"",
    "b/ü": b"small",
    "large": bytes(range(256)) * 800,
    **{f"p{number}": b"%d" % number * 99 for number in range(40)},
}


def provenance(manifest: dict[str, Any], blobs: dict[str, bytes]) -> list[Any]:  # "Provenance"
    if manifest["provenance"] is None:
        return []
    text = blobs[manifest["provenance"]["digest"]]
    must(len(text) == manifest["provenance"]["size"], "the size of the provenance")
    return [canonical(line) for line in text.splitlines()]


@pytest.mark.parametrize("wire", [1, 2])
def test_the_chapter_is_enough_to_read_bundles(tmp_path: Path, wire: int) -> None:
    outside = Outside(
        tmp_path / "out", part_size=1 << 16, repositories=("base", "extra"), wire=wire
    )
    pinned = outside.keys.export_root()
    blobs: dict[str, bytes] = {}
    outside.snapshot("base", FIRST, origin={"upstream": "https://repo.example.org/base/"})
    outside.snapshot("extra", {"x": b"x"})
    files = [part.read_bytes() for part in outside.bundle()]
    assert len(files) > 3, "a blob must cross part borders"
    manifest = open_bundle(reversed(files), pinned, blobs)
    assert contents(manifest, blobs) == {"base": FIRST, "extra": {"x": b"x"}}
    assert manifest["wire"] == wire
    if wire == 1:
        assert not manifest.keys() & {"provenance", "writer"}
    else:
        [told] = provenance(manifest, blobs)
        assert (told["repository"], told["serial"]) == ("base", 1)
        assert told["upstream"] == "https://repo.example.org/base/"

    outside.keys.rotate("targets", outside.now)
    second = {**FIRST, "new": b"new", "b/ü": b"other"}
    del second["p7"]
    outside.snapshot("base", second)
    manifest = open_bundle([p.read_bytes() for p in outside.bundle()], pinned, blobs)
    assert manifest["kind"] == "delta" and manifest["sequence"] == 2
    assert contents(manifest, blobs) == {"base": second, "extra": {"x": b"x"}}


def test_the_reader_of_the_chapter_refuses_what_was_changed(tmp_path: Path) -> None:
    outside = Outside(tmp_path / "out", repositories=("base",))
    outside.snapshot("base", {"a": b"content of a file"})
    (data,) = [part.read_bytes() for part in outside.bundle()]
    pinned = outside.keys.export_root()
    open_bundle([data], pinned, {})
    for old in (b"content of a file", b'"kind":"full"', b'"sig":"', b"sha256\t"):
        where = data.rindex(old) + len(old)
        changed = data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]
        changed = changed if old != b"content of a file" else data.replace(old, old.swapcase())
        with pytest.raises((ValueError, InvalidSignature)):
            open_bundle([changed], pinned, {})
