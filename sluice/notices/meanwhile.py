"""Telling while a command goes on that may set holds, where no ``run`` looks every minute."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from manifests.errors import SluiceError
from sluice.context import Context
from sluice.errors import report
from sluice.notices.deliver import deliver
from sluice.running.standing import LOCK

_EVERY = 60.0
"""Seconds between two looks, as in ``run``."""
_FAREWELL = 2.0
"""Seconds that the end waits for a message that is on its way."""


@contextmanager
def telling(context: Context) -> Iterator[None]:
    """Tell what is due, at once and every minute, as long as the block goes on.

    A thread does it with a store of its own: nothing waits for it, and whatever fails there
    is said and tried again.
    """
    if not context.zone.notices.channels:
        yield
        return
    ended = threading.Event()
    own = Context(context.zone, context.files)
    thread = threading.Thread(target=_tell, args=(own, ended), name="notices", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(_FAREWELL)


def _tell(context: Context, ended: threading.Event) -> None:
    said = ""
    try:
        with closing(context.store) as store:
            while not ended.is_set():
                try:
                    # Its own duty tells then, and says what fails.
                    if not store.locks.busy(LOCK):
                        for problem in deliver(context):
                            report(problem, about="notices")
                    said = ""
                except SluiceError as error:
                    if str(error) != said:
                        said = str(error)
                        report(error, about="notices")
                ended.wait(_EVERY)
    except SluiceError as error:
        report(error, about="notices")
