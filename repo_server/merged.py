"""Several repositories served as one: the first hit wins, and some files are made anew.

What is made is kept by what it was made of, so a switch or a denial never meets an old one.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from manifests.digest import sha256_of
from manifests.errors import BlobDamaged, FormatError
from manifests.formats.base import Answer, Missing, SendListing
from manifests.formats.merging import Merge
from manifests.tree import Entry
from repo_server.connection import Call
from repo_server.gate import Gate
from repo_server.log import report
from repo_server.lookup import YOUNG, look_up
from repo_server.marks import identity
from repo_server.settings import Settings
from repo_server.site import Edition, Group, InRepository, Live
from repo_server.target import Target
from store.store import Store

#: Bytes of made files that are kept in memory.
_MEMORY = 16 << 20


@dataclass(frozen=True, slots=True)
class Made:
    """A file that was made. ``identity`` stands for what it was made of, ``modified`` is in
    seconds since 1970, 0 if that is not known."""

    body: bytes
    identity: int
    modified: int


class Refused(Exception):
    """The gate keeps back all that the file would be made of."""


class Maker:
    """Makes merged files, and remembers them."""

    def __init__(self) -> None:
        self._began = int(time.time())
        """A group may have been changed just before us, and no time in the store says so."""
        self._held: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._size = 0
        self._guard = threading.Lock()

    def make(
        self, gate: Gate, merge: Merge, path: str, editions: Sequence[tuple[str, Edition]]
    ) -> Made | None:
        """The file at ``path`` of these editions of a group's members, None if there is none.

        Raises Refused, BlobMissing, BlobDamaged.
        """
        sources: list[tuple[str, Edition, Entry]] = []
        denied = False
        for name, edition in editions:
            entry = edition.view.lookup(merge.source)
            if entry is None:
                continue
            if not gate.allow("", name, entry.path, entry.digest):
                denied = True
            elif entry.size > merge.limit:
                report("a file is too large to be merged", repository=name, path=entry.path)
            else:
                sources.append((name, edition, entry))
        if not sources:
            if denied:
                raise Refused
            return None
        key = (path, *(entry.digest for _, _, entry in sources))
        body = self._get(key)
        if body is None:
            body = _combine(merge, sources)
            self._put(key, body)
        if not body:
            return None
        newest = max(edition.published for _, edition, _ in sources)
        young = denied or time.time() - newest < YOUNG
        modified = 0 if young else max(int(newest), self._began)
        return Made(body, identity(merge.source, *key[1:]), modified)

    def _get(self, key: tuple[object, ...]) -> bytes | None:
        with self._guard:
            body = self._held.get(key)
            if body is not None:
                self._held.move_to_end(key)
            return body

    def _put(self, key: tuple[object, ...], body: bytes) -> None:
        with self._guard:
            if key in self._held:
                return
            self._held[key] = body
            self._size += len(body)
            while self._size > _MEMORY:
                _, gone = self._held.popitem(last=False)
                self._size -= len(gone)


def _combine(merge: Merge, sources: Sequence[tuple[str, Edition, Entry]]) -> bytes:
    bodies = [(name, _body(edition, entry)) for name, edition, entry in sources]
    try:
        return merge.make([body for _, body in bodies])
    except FormatError:
        pass  # which one it is, is found out below
    good = []
    for name, body in bodies:
        try:
            merge.make([body])
            good.append(body)
        except FormatError as error:
            report(f"{error}; left out of a group", repository=name, path=merge.source)
    return merge.make(good) if good else b""


def _body(edition: Edition, entry: Entry) -> bytes:
    with edition.view.open(entry.path) as file:
        body = file.read(entry.size + 1)
    if sha256_of(body) != entry.digest:
        raise BlobDamaged(
            "the bytes do not have the blob's digest",
            where=entry.digest,
            remedy="run `sluice verify --repair`",
        )
    return body


def live_editions(group: Group) -> list[tuple[str, Edition]]:
    """What is served now of each member."""
    return [(name, live.edition) for name, live in group.members.items()]


def earlier_editions(group: Group, oldest: float) -> Iterator[list[tuple[str, Edition]]]:
    """What was served of each member just before each switch since ``oldest``, newest first."""
    moments = {past.replaced for live in group.members.values() for past in live.past}
    for moment in sorted((each for each in moments if each >= oldest), reverse=True):
        yield [(name, _before(live, moment)) for name, live in group.members.items()]


def _before(live: Live, moment: float) -> Edition:
    """The edition that was live until ``moment``, or went on after it."""
    later = [past for past in live.past if past.replaced >= moment]
    return later[-1] if later else live.edition


Hit = tuple[InRepository, Answer, Edition]


def first_hit(
    store: Store,
    settings: Settings,
    places: Sequence[tuple[InRepository, Edition]],
    call: Call,
    target: Target,
) -> list[Hit]:
    """The answer of the first member that has one; of a listing, those of all that have it.

    What is live anywhere goes before what is only in its grace period. Without any hit: the
    one answer that nothing is there. Raises BlobMissing.
    """
    missing: Hit | None = None
    for past in (False, True):
        listings: list[Hit] = []
        for where, first in places:
            answer, edition = look_up(store, settings, first, where, call, target, past=past)
            hit = (where, answer, edition)
            if isinstance(answer, SendListing):
                listings.append(hit)
            elif isinstance(answer, Missing):
                missing = missing or hit
            elif not listings:
                return [hit]
        if listings:
            return listings
    assert missing is not None
    return [missing]


def closest(group: Group, path: str) -> str:
    """The member to which a want belongs: that which has most of the path's folders.

    Of several, the first. Raises BlobMissing.
    """
    folders = path.split("/")[:-1]
    depths = {name: _depth(live.edition, folders) for name, live in group.members.items()}
    return max(depths, key=lambda name: depths[name])


def _depth(edition: Edition, folders: Sequence[str]) -> int:
    for depth in range(len(folders), 0, -1):
        if edition.view.has_folder("/".join(folders[:depth])):
            return depth
    return 0
