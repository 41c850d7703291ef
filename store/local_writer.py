"""One blob that is being written into a local folder."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from manifests import errors
from manifests.digest import Digest
from manifests.durable import DurableFile
from store.hashing import SideHash
from store.seam import BLOCK, told

_MANY = 4096
"""Chunks gathered at most, since tiny ones weigh more than their bytes."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A blob under its temporary name. ``file`` is None where the seam did not write it."""

    digest: Digest
    temporary: Path
    file: DurableFile | None


class Owner(Protocol):
    """What a writer needs of its batch."""

    def create_temporary(self, writer: LocalWriter | None) -> DurableFile:
        """A new file that the batch removes unless it becomes a blob."""

    def add(self, pending: Pending, writer: LocalWriter | None = None) -> None:
        """Take over a complete temporary file."""

    def drop(self, path: Path, file: DurableFile | None, writer: LocalWriter | None) -> None:
        """Remove a temporary file."""


class LocalWriter:
    """One blob on its way; see :class:`store.blobs.BlobWriter`."""

    def __init__(
        self, owner: Owner, expected: Digest | None, size: int | None, limit: int | None
    ) -> None:
        self._owner = owner
        self._expected = expected
        self._promised = size
        self._limit = limit
        self._size = 0
        self._waiting: list[bytes] = []
        self._gathered = 0
        self._hash = SideHash()
        self._file: DurableFile | None = None  # the batch may end this while it is begun
        self._file = owner.create_temporary(self)

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        """Append; small chunks are gathered into blocks."""
        self._grow(len(chunk))
        # The helper thread reads the bytes later, when the caller may have reused a buffer.
        data = chunk if isinstance(chunk, bytes) else bytes(chunk)
        if not self._waiting and len(data) >= BLOCK // 4:
            self._put(data)
            return
        self._waiting.append(data)
        self._gathered += len(data)
        if self._gathered >= BLOCK or len(self._waiting) >= _MANY:
            self._put(self._take())

    def copy_range(self, source_fd: int, offset: int, length: int) -> None:
        """Append from an open file; read once, since every byte must be hashed anyway."""
        if self._waiting:
            self._put(self._take())
        end = offset + length
        while offset < end:
            with told(Path(f"descriptor {source_fd}")):
                block = os.pread(source_fd, min(BLOCK, end - offset), offset)
            if not block:
                raise errors.StoreError(
                    f"the source ended {end - offset} bytes early", where=self._expected or ""
                )
            self._grow(len(block))
            self._put(block)
            offset += len(block)

    def _grow(self, by: int) -> None:
        self._size += by
        if self._limit is not None and self._size > self._limit:
            raise errors.OversizedIndex(
                f"more than the {self._limit} bytes that are allowed",
                where=self._expected or "",
            )
        if self._promised is not None and self._size > self._promised:
            raise errors.BlobDamaged(
                f"more than the promised {self._promised} bytes", where=self._expected or ""
            )

    def _take(self) -> bytes:
        block = b"".join(self._waiting)
        self._waiting = []
        self._gathered = 0
        return block

    def _put(self, data: bytes) -> None:
        if self._file is None:
            raise ValueError("this blob was finished or aborted")
        view = memoryview(data)
        for start in range(0, len(data), BLOCK):
            block = view[start : start + BLOCK]
            self._hash.update(block)
            self._file.write(block)

    def finish(self) -> tuple[Digest, int]:
        """Check what came and hand it to the batch; raises ``BlobDamaged``."""
        if self._file is None:
            raise ValueError("this blob was finished or aborted")
        try:
            if self._waiting:
                self._put(self._take())
            digest = self._hash.digest()
            if self._promised is not None and self._size != self._promised:
                raise errors.BlobDamaged(
                    f"{self._size} bytes came, {self._promised} were promised",
                    where=self._expected or digest,
                )
            check(digest, self._expected)
        except BaseException:
            self.abort()
            raise
        file, self._file = self._file, None
        self._owner.add(Pending(digest, file.path, file), self)
        return digest, self._size

    def abort(self) -> None:
        """Remove what was written; once only."""
        if self._file is not None:
            file, self._file = self._file, None
            self._hash.digest()
            self._owner.drop(file.path, file, self)


def check(found: Digest, expected: Digest | None) -> None:
    """Raise ``BlobDamaged`` if another digest was expected."""
    if expected is not None and found != expected:
        raise errors.BlobDamaged(f"the bytes have the digest {found}", where=expected)
