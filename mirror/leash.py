"""Child processes that end with us, however we end.

A SIGKILL leaves us no time to tell them, and a signal that arrives while a child is being
started finds nobody who knows it yet. So the kernel tells them: prctl(2), PR_SET_PDEATHSIG.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM)

# Loaded here: between fork and exec nothing may be imported or looked up.
_prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)


def tie(parent: int) -> None:
    """In a child between fork and exec: SIGTERM ends it when the thread that made it ends.

    ``parent`` is the process that made it. Elsewhere than on Linux nothing happens.
    """
    if _prctl is not None:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)


def start(command: Sequence[str], **options: Any) -> subprocess.Popen[bytes]:
    """``subprocess.Popen(command, **options)``; SIGTERM ends it when the calling thread ends.

    Elsewhere than on Linux it is an ordinary child. Raises what Popen raises.
    """
    parent = os.getpid()
    # What Python does around a fork swallows exceptions, also those of signal handlers.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _STOPPING)

    def prepare() -> None:
        tie(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        return subprocess.Popen(command, preexec_fn=prepare, **options)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
