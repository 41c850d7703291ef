"""Putting frames down behind the back of who reads them.

Receiving and hashing take one core, writing and fsync wait for a disk: side by side the
slower of both counts, not their sum. A large frame is not copied for that: it keeps the
buffer in which it came, and the reader goes on in another one.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cds.tcp.frames import Decoder, Frame, new_buffer
from cds.tcp.landing import Landing

WAITING = 8
"""Frames that wait for the disk at most; then who reads waits, and so does who sends.
Fewer let the network stand still whenever the disk stops for a moment."""

_SMALL = 64 << 10
"""Bytes of a body up to which a copy is cheaper than to move what stands behind it."""


class WriteBehind:
    """Hands the frames of one connection to ``landing``, in order, in a thread of its own.

    ``landed`` is called there for each new part. One thread may call ``put`` and ``close``.
    Memory is one buffer of ``frames`` for each waiting frame.
    """

    def __init__(self, landing: Landing, landed: Callable[[Path], None]) -> None:
        self._landing = landing
        self._landed = landed
        self._frames: queue.Queue[tuple[Frame, bytearray | None] | None] = queue.Queue(WAITING)
        self._spare: deque[bytearray] = deque()
        self._thread: threading.Thread | None = None
        self._failure: BaseException | None = None

    @property
    def busy(self) -> bool:
        """Whether a part is under way, or frames wait."""
        return bool(self._frames.unfinished_tasks or self._landing.under_way)

    def put(self, frame: Frame, decoder: Decoder) -> None:
        """Take the frame that ``decoder`` has just given; wait while too many wait.

        Raises what ``landing`` raised at an earlier one.
        """
        if self._failure is not None:
            raise self._failure
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="landing", daemon=True)
            self._thread.start()
        if len(frame.body) <= _SMALL:
            kept = replace(frame, body=memoryview(bytes(frame.body)))
            self._frames.put((kept, None))
        else:
            spare = self._spare.pop() if self._spare else new_buffer()
            self._frames.put((frame, decoder.go_on_in(spare)))

    def close(self) -> None:
        """Return when all that was taken is put down; raises as ``put``."""
        if self._thread is not None:
            self._frames.put(None)
            self._thread.join()
            self._thread = None
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while (found := self._frames.get()) is not None:
            frame, buffer = found
            try:
                # After a failure frames are only let go of: who reads must not wait for us.
                path = None if self._failure is not None else self._landing.take(frame)
                if path is not None:
                    self._landed(path)
            except BaseException as exc:  # noqa: BLE001 - it is raised where it can be told
                self._failure = exc
            if buffer is not None:
                self._spare.append(buffer)
            self._frames.task_done()
        self._frames.task_done()
