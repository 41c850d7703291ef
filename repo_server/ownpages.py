"""The pages of the server itself: home, health, figures, and everything below ``/setup/``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar
from urllib.parse import quote

from manifests.exposition import CONTENT_TYPE
from repo_server import pages, setup
from repo_server.connection import Call
from repo_server.follow import Follower
from repo_server.images import images_page
from repo_server.ready import Reply, bytes_reply, text_reply
from repo_server.replies import moved
from repo_server.settings import Settings
from repo_server.site import Page, Site
from repo_server.tally import Tally
from repo_server.target import Target
from store.store import Store

_T = TypeVar("_T")


class InPool(Protocol):
    """Runs what touches the disk or computes, off the event loop."""

    def __call__(self, work: Callable[[], _T]) -> Awaitable[_T]: ...


class OwnPages:
    """Answers what no repository does."""

    def __init__(
        self, store: Store, settings: Settings, follower: Follower, tally: Tally, in_pool: InPool
    ) -> None:
        self._store = store
        self._settings = settings
        self._follower = follower
        self._tally = tally
        self._in_pool = in_pool

    async def answer(
        self, site: Site, call: Call, page: Page, target: Target
    ) -> Reply | tuple[None, Reply]:
        """The page; in a pair if it is not here, which is nobody's want."""
        head_only = call.method == "HEAD"
        base = setup.base_url(self._settings, call.headers.get("Host"), call.local)
        if page.kind == "folder":
            return moved(quote(target.path, safe="/@") + "/")
        if page.kind == "health":
            said = (200, "ok") if self._follower.well else (503, "the ledger cannot be read")
            return text_reply(*said, head_only=head_only)
        if page.kind == "home":
            return _html(call, await self._in_pool(lambda: pages.home(site, self._store)))
        if page.kind == "metrics":
            return bytes_reply(200, self._tally.text().encode(), CONTENT_TYPE, head_only=head_only)
        if page.kind == "format":
            return _html(call, pages.of_format(site, page.name))
        if page.kind == "images":
            return _html(call, await self._in_pool(lambda: images_page(site, page.name, base)))
        if not page.name:
            return _html(call, pages.setup(site, base))
        file = setup.find(site, page.name)
        if file is None:
            return None, text_reply(404, "Nothing is here.", head_only=head_only)
        asked = setup.asked(base, target.query)
        if asked is None:
            return text_reply(400, "This is not a query.", head_only=head_only)
        made = await self._in_pool(lambda: file.make(asked))
        if isinstance(made, setup.Refusal):
            reply = text_reply(made.status, made.text, head_only=head_only)
            return (None, reply) if made.status == 404 else reply
        return bytes_reply(
            200,
            made,
            file.content_type,
            headers=call.headers,
            extra={"Vary": "Host"},
            head_only=head_only,
        )


def _html(call: Call, text: str) -> Reply:
    return bytes_reply(
        200,
        text.encode(),
        pages.HTML,
        headers=call.headers,
        head_only=call.method == "HEAD",
    )
