"""The part table: where each part's payload lies in its file, and its digest."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from manifests.bundle.manifest import MAX_NUMBER, MAX_PARTS
from manifests.bundle.tar import BLOCK
from manifests.digest import Digest
from manifests.errors import MalformedManifest

ALGORITHM: Final = "sha256"
MAX_ROW: Final = 5 + 6 + 16 + 16 + 64 + 5
"""Bytes of the longest row."""
MAX_TABLE: Final = MAX_PARTS * MAX_ROW

_ROW = re.compile(
    r"([1-9][0-9]{0,4})\t(sha256)\t([1-9][0-9]{0,15})\t(0|[1-9][0-9]{0,15})\t([0-9a-f]{64})\n"
)


@dataclass(frozen=True, slots=True)
class PartRow:
    """The payload of part number ``part``: ``length`` bytes at ``offset`` in the file."""

    part: int
    offset: int
    length: int
    digest: Digest

    def line(self) -> str:
        return f"{self.part}\t{ALGORITHM}\t{self.offset}\t{self.length}\t{self.digest}\n"


def encode_parts(rows: Iterable[PartRow]) -> bytes:
    """The text of a part table."""
    return "".join(row.line() for row in rows).encode("ascii")


def parse_parts(data: bytes, count: int) -> tuple[PartRow, ...]:
    """Read the table of ``count`` parts; raises MalformedManifest."""
    rows: list[PartRow] = []
    for number, line in enumerate(data.splitlines(keepends=True), 1):
        match = _ROW.fullmatch(line.decode("ascii", "replace"))
        if match is None or int(match[1]) != number or number > count:
            raise MalformedManifest("not a row of a part table", where=f"part table, line {number}")
        offset, length = int(match[3]), int(match[4])
        if offset % BLOCK or length % BLOCK or offset + length > MAX_NUMBER:
            raise MalformedManifest(
                "a payload that does not lie on tar blocks", where=f"part table, line {number}"
            )
        rows.append(PartRow(number, offset, length, Digest(match[5])))
    if len(rows) != count:
        raise MalformedManifest(f"{len(rows)} rows for {count} parts", where="part table")
    return tuple(rows)
