"""Child processes that end with us, however we end.

A SIGKILL leaves us no time to tell them, and a signal that arrives while a child is being
started finds nobody who knows it yet. So the kernel tells them: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1

# Loaded here: between fork and exec nothing may be imported or looked up.
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


def leash() -> Callable[[], None]:
    """For ``preexec_fn``: the child gets SIGTERM when the calling thread ends.

    Elsewhere than on Linux it does nothing.
    """
    parent = os.getpid()

    def tie() -> None:
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != parent:  # it ended before the kernel knew
                os._exit(1)

    return tie
