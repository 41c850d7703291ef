"""Writing the indexes of a yum repository so that every client since yum 3.4 reads them.

SHA-256, gzip without a time stamp, names by content, no SQLite and no zchunk.
The same input gives the same bytes.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

_REPOMD = """<?xml version="1.0" encoding="UTF-8"?>
<repomd xmlns="http://linux.duke.edu/metadata/repo" xmlns:rpm="http://linux.duke.edu/metadata/rpm">
  <revision>{revision}</revision>
{records}</repomd>
"""
_RECORD = """  <data type={type}>
    <checksum type="sha256">{digest}</checksum>
{opened}    <location href={href}/>
    <timestamp>{revision}</timestamp>
    <size>{size}</size>
{open_size}  </data>
"""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished index. Sizes are in bytes; ``open_digest`` is empty for a plain file."""

    type: str
    href: str
    path: Path
    digest: str
    size: int
    open_digest: str = ""
    open_size: int = 0

    def record(self, revision: int) -> str:
        """The ``data`` element of repomd.xml."""
        opened = open_size = ""
        if self.open_digest:
            opened = f'    <open-checksum type="sha256">{self.open_digest}</open-checksum>\n'
            open_size = f"    <open-size>{self.open_size}</open-size>\n"
        return _RECORD.format(
            type=quoteattr(self.type),
            digest=self.digest,
            opened=opened,
            href=quoteattr(self.href),
            revision=revision,
            size=self.size,
            open_size=open_size,
        )


class IndexWriter:
    """Writes one index file into ``folder``; ``name`` is its end, without ``.gz``."""

    def __init__(self, folder: Path, type_: str, name: str, *, packed: bool = True) -> None:
        self._type = type_
        self._name = name + (".gz" if packed else "")
        self._path = folder / f"{type_}.new"
        self._file = self._path.open("wb")
        self._packer = zlib.compressobj(6, zlib.DEFLATED, 16 + zlib.MAX_WBITS) if packed else None
        self._hash, self._open_hash = hashlib.sha256(), hashlib.sha256()
        self._size = self._open_size = 0

    def write(self, data: bytes) -> None:
        if self._packer is not None:
            self._open_hash.update(data)
            self._open_size += len(data)
            data = self._packer.compress(data)
        self._put(data)

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._file.write(data)

    def close(self) -> Made:
        if self._packer is not None:
            self._put(self._packer.flush())
        self._file.close()
        digest = self._hash.hexdigest()
        return Made(
            self._type,
            f"repodata/{digest}-{self._name}",
            self._path,
            digest,
            self._size,
            self._open_hash.hexdigest() if self._packer is not None else "",
            self._open_size,
        )


def repomd_text(made: Iterable[Made], revision: int) -> bytes:
    """repomd.xml over ``made``, every time stamp being ``revision``."""
    records = "".join(each.record(revision) for each in made)
    return _REPOMD.format(revision=revision, records=records).encode()
