"""From a request to an answer: route, gate, format, body."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from aiohttp.http import RawRequestMessage

from manifests.errors import BlobMissing
from manifests.formats.base import Answer, Missing, SendBytes, SendEntry, SendListing
from manifests.formats.merging import Merge
from repo_server import pages, registry
from repo_server.bodies import Bodies, read_body
from repo_server.connection import Call
from repo_server.follow import Follower
from repo_server.lookup import look_up, prepare, signed_path
from repo_server.marks import Marks
from repo_server.merged import (
    Made,
    Maker,
    Refused,
    closest,
    earlier_editions,
    first_hit,
    live_editions,
)
from repo_server.misses import Miss, Misses, missed
from repo_server.ownpages import OwnPages
from repo_server.ready import (
    Ready,
    Reply,
    Span,
    bytes_reply,
    file_reply,
    stream_reply,
    text_reply,
)
from repo_server.replies import absent, made_by_format, refused
from repo_server.settings import Settings
from repo_server.site import Edition, Group, InGroup, InRepository, Page, Site
from repo_server.tally import Tally
from repo_server.target import Target, parse_target
from store.store import Store

#: How long after a switch a client may still ask for the signature of the old index, seconds.
_SIGNATURE_GRACE = 300.0
_T = TypeVar("_T")
_ROWS = 500
_CONDITIONS = ("Range", "If-None-Match", "If-Modified-Since", "If-Range")


class RepoService:
    """Answers the requests of one worker."""

    def __init__(
        self, store: Store, settings: Settings, follower: Follower, marks: Marks, tally: Tally
    ) -> None:
        self._store = store
        self._settings = settings
        self._follower = follower
        self._marks = marks
        self._bodies = Bodies(settings.limits)
        # Look-ups touch the disk, and formats may compute: never on the event loop.
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="answers")
        self._own = OwnPages(store, settings, follower, tally, self._in_pool)
        self._misses = Misses()
        self._maker = Maker()
        self.limits = settings.limits
        self.access_log = settings.access_log
        self.tally = tally

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def take_misses(self) -> list[tuple[Miss, int]]:
        """What was missed since the last call, and how often."""
        return self._misses.take()

    def quick(
        self, message: RawRequestMessage, peer: str, place: str
    ) -> tuple[bytes, bytes] | None:
        """A small file that was asked for before: no look-up, no SQL, no task."""
        site = self._follower.site
        headers = message.headers
        ready = site.ready.get(site.key(message.path, headers.get("Host"), place))
        if ready is None or message.method != "GET" or self.access_log:
            return None
        if ready.accept and not registry.client_accepts(headers, ready.accept):
            return None
        for name in _CONDITIONS:
            if name in headers:
                return None
        body = ready.body if ready.body is not None else self._bodies.get(ready.digest)
        if body is None or not site.gate.allow("", ready.repository, ready.path, ready.digest):
            return None
        if ready.marks:
            self._marks.put(peer, ready.repository, ready.path, ready.identity)
        return ready.head, body

    async def answer(self, call: Call) -> Reply:
        """Answer one request. Raises StoreError."""
        target = parse_target(call.target)
        reply = await self._answer(call, target)
        if target is None or not registry.is_call(target.path):
            return reply
        return registry.worded(reply, head_only=call.method == "HEAD")

    async def _answer(self, call: Call, target: Target | None) -> Reply:
        head_only = call.method == "HEAD"
        if call.method not in ("GET", "HEAD"):
            return text_reply(405, "Only GET and HEAD are answered here.", Allow="GET, HEAD")
        if target is None:
            return text_reply(400, "This is not a path.", head_only=head_only)
        site = self._follower.site
        reply = await self._try(site, call, target)
        if isinstance(reply, Reply):
            return reply
        # Another worker may have told this client of what we have not seen yet.
        await self._follower.refresh()
        if self._follower.site is not site:
            reply = await self._try(self._follower.site, call, target)
            if isinstance(reply, Reply):
                return reply
        miss, nothing = reply
        self._misses.note(miss)
        return nothing

    async def _try(
        self, site: Site, call: Call, target: Target
    ) -> Reply | tuple[Miss | None, Reply]:
        """The answer, or what is missing and how to say so."""
        head_only = call.method == "HEAD"
        key = site.key(call.target, call.headers.get("Host"), call.place)
        known = site.ready.get(key)
        if known is not None:
            if not os.path.exists(known.file):  # noqa: PTH110 - called for most requests
                site.ready.pop(key, None)  # gc took a snapshot that was pinned by its URL
            elif not known.accept or registry.client_accepts(call.headers, known.accept):
                return await self._file(site, call, known)
        not_found = text_reply(404, "Nothing is here.", head_only=head_only)
        registered = registry.is_call(target.path)
        if target.empty_segment and not registered:
            return not_found
        route = None if registered else await self._in_pool(lambda: site.route(target.path))
        if route is None and not registered:
            return None, not_found
        if isinstance(route, Page):
            return await self._own.answer(site, call, route, target)
        try:
            if isinstance(route, InGroup):
                return await self._in_group(site, call, route, target)
            if isinstance(route, InRepository):
                return await self._in_repository(site, call, route, target)
            return await self._in_registry(site, call, target)
        except BlobMissing as error:
            # gc may have taken a past snapshot; what is live must be there.
            if isinstance(route, InRepository) and route.live is None:
                return None, not_found
            if self._follower.site is site:
                await self._follower.refresh()
            if self._follower.site is site:
                raise error
            return None, not_found

    # --- repositories -----------------------------------------------------------

    async def _in_repository(
        self, site: Site, call: Call, where: InRepository, target: Target
    ) -> Reply | tuple[Miss | None, Reply]:
        head_only = call.method == "HEAD"
        first = await self._edition_of_signature(site, call, where)
        if first is None:
            return None, text_reply(404, "Nothing is here.", head_only=head_only)
        answer, edition = await self._in_pool(
            lambda: look_up(self._store, self._settings, first, where, call, target)
        )
        if isinstance(answer, Missing):
            return missed(where, answer, edition), absent(answer, call)
        return await self._reply(site, call, [(where, answer, edition)])

    async def _in_registry(
        self, site: Site, call: Call, target: Target
    ) -> Reply | tuple[Miss | None, Reply]:
        """``/v2/``: what registries' clients ask."""
        found = await self._in_pool(
            lambda: registry.find(self._store, self._settings, site, call, target)
        )
        if isinstance(found, Reply):
            return found
        where, answer, edition = found
        if isinstance(answer, Missing):
            return missed(where, answer, edition), absent(answer, call)
        return await self._reply(site, call, [(where, answer, edition)])

    async def _in_group(
        self, site: Site, call: Call, where: InGroup, target: Target
    ) -> Reply | tuple[Miss | None, Reply]:
        group = where.group
        merge = group.format.merge(where.path)
        if merge is not None:
            return await self._merged(site, call, where, merge)
        places = []
        for name, live in group.members.items():
            place = where.of(name, live)
            first = await self._edition_of_signature(site, call, place)
            if first is None:
                return None, text_reply(404, "Nothing is here.", head_only=call.method == "HEAD")
            places.append((place, first))
        hits = await self._in_pool(
            lambda: first_hit(self._store, self._settings, places, call, target)
        )
        answer = hits[0][1]
        if isinstance(answer, Missing):
            wanted = None
            if answer.want:
                member = await self._in_pool(lambda: closest(group, where.path))
                wanted = Miss(group.format.name, member, answer.want)
            return wanted, absent(answer, call)
        return await self._reply(site, call, hits)

    async def _reply(
        self, site: Site, call: Call, hits: Sequence[tuple[InRepository, Answer, Edition]]
    ) -> Reply:
        """What a format answered; several hits are one listing."""
        head_only = call.method == "HEAD"
        where, answer, edition = hits[0]
        if isinstance(answer, SendEntry):
            entry = answer
            ready = await self._in_pool(lambda: prepare(self._store, edition, where, entry))
            if self._may_be_remembered(where, edition, ready, entry):
                key = site.key(call.target, call.headers.get("Host"), call.place)
                site.remember(key, ready)
            return await self._file(site, call, ready)
        if isinstance(answer, SendListing):
            folder = answer.folder
            views = [
                (place.name, found.view)
                for place, _, found in hits
                if site.gate.allow("", place.name, folder, None)
            ]
            if not views:
                return refused(None, head_only=head_only)
            title = where.prefix + (f"{folder}/" if folder else "")
            rows = pages.listing(title, folder, views, site.gate)
            return stream_reply(self._stream(rows), pages.HTML, head_only=head_only)
        assert isinstance(answer, SendBytes)
        if not site.gate.allow("", where.name, where.path, None):
            return refused(None, head_only=head_only)
        return made_by_format(answer, call, where)

    async def _merged(
        self, site: Site, call: Call, where: InGroup, merge: Merge
    ) -> Reply | tuple[None, Reply]:
        """A file that is made of those of a group's members."""
        head_only = call.method == "HEAD"
        seen = 0
        if where.path != merge.source:  # the checksum of what this client got a moment ago
            seen = self._marks.get(call.peer, where.group.name, merge.source)
        try:
            made = await self._in_pool(
                lambda: self._make(site, where.group, where.path, merge, seen)
            )
        except Refused:
            return text_reply(451, "An operator denied this content.", head_only=head_only)
        if made is None:
            return None, text_reply(404, "Nothing is here.", head_only=head_only)
        if where.path == merge.source:
            self._marks.put(call.peer, where.group.name, merge.source, made.identity)
        return bytes_reply(
            200,
            made.body,
            merge.content_type,
            headers=call.headers,
            head_only=head_only,
            by_us=False,
            modified=made.modified,
        )

    def _make(self, site: Site, group: Group, path: str, merge: Merge, seen: int) -> Made | None:
        """The file of now, or of the earlier editions that ``seen`` stands for."""
        made = self._maker.make(site.gate, merge, path, live_editions(group))
        if seen and (made is None or made.identity != seen):
            for editions in earlier_editions(group, time.time() - _SIGNATURE_GRACE):
                with contextlib.suppress(BlobMissing, Refused):
                    earlier = self._maker.make(site.gate, merge, path, editions)
                    if earlier is not None and earlier.identity == seen:
                        return earlier
        return made

    async def _edition_of_signature(
        self, site: Site, call: Call, where: InRepository
    ) -> Edition | None:
        """The edition to look into: the live one, but for the signature of what this client
        got from another one a moment ago. None: this worker does not know that one yet."""
        live = where.live
        signed = signed_path(where.path)
        if live is None or signed is None:
            return where.edition
        seen = self._marks.get(call.peer, where.name, signed)
        if seen in (0, live.edition.identity):
            return live.edition
        oldest = time.time() - _SIGNATURE_GRACE
        for past in live.past:
            if past.identity == seen:
                return past if past.replaced >= oldest else live.edition
        await self._follower.refresh()
        return live.edition if self._follower.site is site else None

    def _may_be_remembered(
        self, where: InRepository, edition: Edition, ready: Ready, answer: SendEntry
    ) -> bool:
        """Not what depends on the client or on the time."""
        if where.live is None:
            return True
        if edition is not where.live.edition:
            return False
        return answer.immutable or (signed_path(where.path) is None and ready.modified != 0)

    async def _file(self, site: Site, call: Call, ready: Ready) -> Reply:
        head_only = call.method == "HEAD"
        if not site.gate.allow("", ready.repository, ready.path, ready.digest):
            return refused(ready.digest, head_only=head_only)
        if ready.marks:
            self._marks.put(call.peer, ready.repository, ready.path, ready.identity)
        reply = file_reply(ready, call.headers, head_only=head_only)
        whole = reply.status == 200 and isinstance(reply.body, Span)
        if not whole or ready.size > self.limits.small:
            return reply
        body = self._bodies.get(ready.digest)
        if body is None:
            body = await self._in_pool(lambda: read_body(ready))
            self._bodies.put(ready.digest, body)
        return Reply(200, reply.head, body, len(body))

    # --- machinery --------------------------------------------------------------

    async def _stream(self, rows: Iterator[str]) -> AsyncIterator[bytes]:
        while block := await self._in_pool(lambda: "".join(islice(rows, _ROWS))):
            yield block.encode("utf-8", "replace")

    async def _in_pool(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)
