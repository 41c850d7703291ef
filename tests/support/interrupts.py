"""A stop at every place where Python may take a signal, one run of the work for each."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

_LEAVES = {
    code
    for name, code in dis.opmap.items()
    if name in ("CALL", "CALL_FUNCTION_EX") or "JUMP_BACKWARD" in name
}
"""After these, and where a function begins, the interpreter looks for signals."""

_MOST = 20_000


class Stop(SystemExit):
    """What a signal's handler raises."""


def stop_everywhere(
    work: Callable[[], object],
    stopped: Callable[[], None] = lambda: None,
    within: Callable[[CodeType], bool] = lambda code: True,
) -> int:
    """Run ``work`` as often as it can be stopped, each time at the next place.

    ``within`` chooses the functions to stop in. ``stopped`` is called after each run.
    AssertionError if a stop does not come out of ``work`` as it went in. Returns how many
    places there were.
    """
    for number in range(1, _MOST):
        place, ended = _stopped_at(number, work, within)
        assert not place or isinstance(ended, Stop), (place, ended)
        if ended is not None and not place:
            raise ended
        del ended  # its frames hold on to what they had
        stopped()
        if not place:
            return number - 1
    raise AssertionError(f"more than {_MOST} places")


def _stopped_at(
    number: int, work: Callable[[], object], within: Callable[[CodeType], bool]
) -> tuple[str, BaseException | None]:
    passed = 0
    place = ""
    last: dict[int, int] = {}

    def trace(frame: FrameType, event: str, _value: Any) -> Any:
        nonlocal passed, place
        if event == "call":
            if not within(frame.f_code):
                return None
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
            last.pop(id(frame), None)
        elif event == "opcode" and not place:
            operation = frame.f_code.co_code[frame.f_lasti]
            before = last.get(id(frame))
            last[id(frame)] = operation
            if operation == dis.opmap["RESUME"] or before in _LEAVES:
                passed += 1
                if passed == number:
                    place = f"{frame.f_code.co_qualname}, line {frame.f_lineno}"
                    raise Stop(143)
        return trace

    outer = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except BaseException as exc:  # noqa: BLE001 - whatever came of it is the answer
        return place, exc
    finally:
        sys.settrace(outer)
    return place, None
