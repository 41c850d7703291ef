"""SHA-256 beside the writing of large data.

hashlib releases the interpreter for large buffers, so a helper thread hashes while the
caller reads and writes: on two cores the slower of both counts, not their sum.
"""

from __future__ import annotations

import hashlib
import queue
import threading

from manifests.digest import Digest

_INLINE = 4 << 20
"""Bytes up to which a thread is not worth its start."""

_AHEAD = 8
"""Blocks that may wait for the helper thread; with 1 MiB blocks, this many MiB."""


class SideHash:
    """Collects blocks into a digest. One thread at a time may call it."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._queue: queue.Queue[bytes | memoryview | None] | None = None
        self._thread: threading.Thread | None = None

    def update(self, block: bytes | memoryview) -> None:
        """Add ``block``, which must not change afterwards."""
        self._size += len(block)
        if self._queue is None:
            if self._size <= _INLINE:
                self._hash.update(block)
                return
            self._queue = queue.Queue(_AHEAD)
            self._thread = threading.Thread(target=self._run, args=(self._queue,), daemon=True)
            self._thread.start()
        self._queue.put(block)

    def _run(self, blocks: queue.Queue[bytes | memoryview | None]) -> None:
        while (block := blocks.get()) is not None:
            self._hash.update(block)

    def digest(self) -> Digest:
        """The digest of everything; also ends the helper thread, so call it in any case."""
        if self._queue is not None and self._thread is not None:
            self._queue.put(None)
            self._thread.join()
            self._queue = self._thread = None
        return Digest(self._hash.hexdigest())
