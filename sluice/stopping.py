"""How a command is stopped: by SIGTERM or Ctrl-C, wherever it is, and for sure.

The signal becomes an exception that unwinds what is under way: locks are released,
temporary files go. Python drops exceptions in a few places (``__del__``, callbacks of
weak references), and clean-up that is itself hurt may put another error in its place.
So the wish is remembered, and ``check`` raises it again before anything is said or
decided that may be only its consequence.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from manifests.errors import is_stop

_PATIENCE = 1.0
"""Seconds after which a second signal ends the process at once, without clean-up."""

_MOMENT = 0.01
"""Seconds after which a stop that was dropped comes again."""

_asked: int = 0
_since: float = 0.0
_missed: bool = False
# The signal that came, when, and whether Python dropped what it raised; signals belong to the
# whole process, so there is one.
_unraisable = sys.unraisablehook


def heed() -> None:
    """From here on SIGTERM and Ctrl-C stop the command, once more if it came before."""
    global _asked, _missed, _unraisable
    _asked, _missed = 0, False
    if threading.current_thread() is threading.main_thread():  # no other may
        if sys.unraisablehook is not _dropped:
            _unraisable, sys.unraisablehook = sys.unraisablehook, _dropped
        signal.signal(signal.SIGTERM, _stop)
        # Who starts us in the background may have asked that Ctrl-C is not for us.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, _stop)
    # SQLAlchemy logs whatever passes through while it takes a connection back, also a stop.
    if logging.lastResort is not None:
        logging.lastResort.addFilter(_is_no_stop)


def _is_no_stop(record: logging.LogRecord) -> bool:
    return not (record.exc_info and is_stop(record.exc_info[1]))


def check() -> None:
    """Raise SystemExit or KeyboardInterrupt if a stop was asked for."""
    if _asked:
        _unwind(_asked)


def leave(code: object) -> None:
    """The last thing that the program does, before it ends with ``code``.

    After a stop it ends here, whatever threads still wait for a peer or a disk: what must
    be in order was put in order by unwinding. A stop that comes from here on ends it as the
    system does; Python's own clean-up would answer with a traceback.
    """
    global _missed
    _missed = False
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
    for number in (signal.SIGTERM, signal.SIGINT):
        # An event loop that ends leaves Python's own handler of Ctrl-C.
        if signal.getsignal(number) in (_stop, signal.default_int_handler):
            signal.signal(number, signal.SIG_DFL)
    if _asked and code == 128 + _asked:
        os._exit(128 + _asked)


def _stop(number: int, _frame: FrameType | None) -> None:
    global _asked, _since, _missed
    now = time.monotonic()
    if _asked and not _missed:
        # Impatience, or the same wish by two ways at once: clean-up is not disturbed by it.
        if now - _since < _PATIENCE:
            return
        os._exit(128 + number)  # as by SIGKILL, which harms nothing
    _asked, _since, _missed = number, now, False
    _unwind(number)


def _dropped(what: sys.UnraisableHookArgs) -> None:
    """A stop that Python drops comes again in a moment, at a place where it can be raised."""
    global _missed
    if _asked and is_stop(what.exc_value):
        _missed = True
        # Not a threading.Thread: this may be in the middle of that module's own work.
        _thread.start_new_thread(_again, ())
    else:
        _unraisable(what)


def _again() -> None:
    time.sleep(_MOMENT)
    if _missed:
        os.kill(os.getpid(), _asked)


def _unwind(number: int) -> NoReturn:
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
