"""Following the generation number, so that a switch or a denial reaches every cache.

Each worker asks the ledger a few times a second, and once more before it says that
something is not there: another worker may have told the client about it already.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

from manifests.errors import SluiceError
from repo_server.log import report
from repo_server.settings import Settings
from repo_server.site import Site
from store.store import Store

#: Without an answer of the ledger for so many seconds the worker calls itself ill.
PATIENCE = 15.0


class Follower:
    """Holds the newest ``site``. A request keeps the one that it began with.

    While the ledger cannot be read the last picture stays: a repository that is
    served goes on being served.
    """

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._lock = asyncio.Lock()
        self._begun = 0
        self._trouble = ""
        self._heard = time.monotonic()
        self.site = Site.load(store, settings)

    @property
    def well(self) -> bool:
        """Whether the ledger has been read lately."""
        return time.monotonic() - self._heard < PATIENCE

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            await asyncio.sleep(self._settings.limits.poll)
            await self.refresh()

    async def refresh(self) -> None:
        """Return when the ledger has been asked at least once since the call."""
        begun = self._begun
        async with self._lock:
            if self._begun > begun:
                return  # somebody else asked while we waited
            self._begun += 1
            loop = asyncio.get_running_loop()
            fresh = await loop.run_in_executor(self._pool, self._look)
        if fresh is not None:
            self.site = fresh

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _look(self) -> Site | None:
        try:
            changed = self._store.ledger.generation() != self.site.generation
            fresh = Site.load(self._store, self._settings) if changed else None
        except SluiceError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                report(f"{error}; what was published before is still served")
            return None
        if self._trouble:
            self._trouble = ""
            report("the ledger can be read again")
        self._heard = time.monotonic()
        return fresh
