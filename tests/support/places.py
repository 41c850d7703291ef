"""Where a command can be stopped: every place of its main thread, found by one run of it.

Python looks for signals where a function begins and when a call of C code returns; a
profile function is called at both, and a signal that is raised there is handled at once.
"""

from __future__ import annotations

import inspect
import signal
import sys
from collections import Counter
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

Place = tuple[str, str, int, str]
"""File, qualified name, offset of the instruction, ``call`` or ``c_return``."""

# A generator that goes on would be left without running its clean-up: no signal does that.
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class Passed:
    """Notes the places that this thread passes, and how often."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[int, int, str]] = Counter()
        self._codes: dict[int, CodeType] = {}

    def begin(self) -> None:
        sys.setprofile(self._note)

    def end(self) -> list[tuple[Place, int]]:
        sys.setprofile(None)
        found = []
        for (number, offset, event), count in self._seen.items():
            code = self._codes[number]
            found.append(((code.co_filename, code.co_qualname, offset, event), count))
        return sorted(found)

    def _note(self, frame: FrameType, event: str, _value: Any) -> None:
        code = frame.f_code
        if event == "c_return" or (event == "call" and not code.co_flags & _RESUMED):
            number = id(code)
            self._codes[number] = code  # holds it, so that no other gets its number
            self._seen[number, frame.f_lasti, event] += 1


def signal_at(place: Place, turn: int, by: signal.Signals, done: Callable[[], object]) -> None:
    """Raise ``by`` when this thread passes ``place`` for the ``turn``-th time.

    ``done`` is called right before.
    """
    file, name, offset, kind = place
    passed = 0

    def look(frame: FrameType, event: str, _value: Any) -> None:
        nonlocal passed
        if frame.f_lasti != offset or event != kind:
            return
        code = frame.f_code
        if code.co_qualname == name and code.co_filename == file:
            passed += 1
            if passed == turn:
                sys.setprofile(None)
                done()
                signal.raise_signal(by)

    sys.setprofile(look)
