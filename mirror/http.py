"""Fetching files over HTTP(S): several at once, with retries, resume and other mirrors."""

from __future__ import annotations

import hashlib
import os
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from urllib.parse import quote, urljoin

from manifests import errors
from manifests.formats.base import Wanted
from manifests.zone.model import Connection, Upstream
from mirror.mirrors import MAX_BYTES, parse_mirrors
from mirror.report import Progress, printable
from mirror.throttle import Throttle
from mirror.transport import Got, check_promises, limit_of, mismatch
from mirror.web import Answer, Web
from store.records import Validator
from store.seam import told

_ABSENT = frozenset({403, 404, 410})
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_PROGRESS = 8 << 20
"""Bytes by which a try must have come further than all before it, to be no failure."""
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class HttpTransport:
    """See ``mirror.transport.Transport``.

    ``folder`` is ours; in it interrupted downloads of promised files wait for the next
    run. Each file is written by one thread. With ``stay`` no redirect to another host is
    followed. ``web`` sends the requests, if it is not the usual one.
    """

    def __init__(
        self,
        upstream: Upstream,
        connection: Connection,
        folder: Path,
        *,
        progress: Progress,
        pause: Callable[[float], None] = time.sleep,
        stay: bool = False,
        web: Web | None = None,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._progress = progress
        self._pause = pause
        self._throttle = Throttle(connection.bandwidth)
        named = [upstream.mirrorlist] if upstream.mirrorlist else list(upstream.urls)
        self._web = web or Web(connection, named, stay=stay)
        self._pool = ThreadPoolExecutor(connection.parallel, thread_name_prefix="fetch")
        self._running: set[Future[Got]] = set()
        self._guard = threading.Lock()
        self._count = 0
        self._first = 0
        self._ended = threading.Event()
        self.capacity = 2 * connection.parallel
        self.source = named[0]
        self._mirrors: Sequence[str] = upstream.urls or self._listed(named[0])

    def close(self) -> None:
        """Give up what runs; interrupted files stay to be resumed.

        While a stop unwinds nobody is waited for: a server that says nothing would hold us
        up for ``timeout`` seconds. What comes meanwhile is not written any more.
        """
        self._ended.set()
        self._pool.shutdown(wait=not errors.is_stop(sys.exception()), cancel_futures=True)
        self._web.close()

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        """See ``Transport``."""
        self._running.add(self._pool.submit(self._safely, wanted, known))

    def collect(self) -> list[Got]:
        """See ``Transport``."""
        if not self._running:
            return []
        done, self._running = wait(self._running, return_when=FIRST_COMPLETED)
        return [future.result() for future in done]

    def fetch(self, wanted: Wanted, known: Validator | None = None) -> Got:
        """Fetch one file now, in the caller's thread; several threads may do so at once.

        Whoever asks for one promised file twice at a time writes it twice at one place.
        """
        return self._safely(wanted, known)

    # --- mirrors

    def _listed(self, url: str) -> list[str]:
        place = self._place(None)
        try:
            got = self._from(url, Wanted("mirror list", limit=MAX_BYTES), None, place)
            if got.file is None:
                raise errors.UpstreamRefused(
                    f"the mirror list is not there (status {got.absent})",
                    where=url,
                    remedy="check the address of `mirrorlist`",
                )
            return parse_mirrors(place.read_bytes(), url)
        finally:
            place.unlink(missing_ok=True)

    def _safely(self, wanted: Wanted, known: Validator | None) -> Got:
        try:
            return self._fetch(wanted, known)
        except errors.SluiceError as error:
            return Got(wanted, error=error)

    def _fetch(self, wanted: Wanted, known: Validator | None) -> Got:
        """From the first mirror that gives the right bytes."""
        reference = wanted.url or quote(wanted.path)
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", reference) and "://" in reference:
            return self._promised(reference, wanted, known, mirrors=1)
        count = len(self._mirrors)
        start = self._first
        last: Got | errors.SluiceError | None = None
        for turn in range(count):
            base = self._mirrors[(start + turn) % count]
            try:
                got = self._promised(urljoin(base, reference), wanted, known, mirrors=count)
            except (errors.UpstreamUnreachable, errors.UpstreamMismatch) as error:
                if isinstance(error, errors.UpstreamUnreachable) and self._first == start:
                    self._first = (start + turn + 1) % count
                last = error
                continue
            if got.absent and wanted.required and turn + 1 < count:
                last = last or got
                continue
            return got
        if isinstance(last, Got):
            return last
        assert last is not None
        raise last

    def _promised(self, url: str, wanted: Wanted, known: Validator | None, *, mirrors: int) -> Got:
        place = self._place(wanted)
        resumed = place.exists()
        if resumed and place.stat().st_size == wanted.size:
            # All of it came, and then the run was ended before it could be used.
            try:
                check_promises(wanted, place, printable(url))
            except errors.UpstreamMismatch:
                place.unlink()
            else:
                return Got(wanted, file=place, url=url)
        got = self._from(url, wanted, known, place, mirrors=mirrors)
        if got.file is None:
            return got
        try:
            check_promises(wanted, place, printable(url))
        except errors.UpstreamMismatch:
            place.unlink(missing_ok=True)
            if not resumed:
                raise
            # What an earlier run left may have been the wrong half.
            got = self._from(url, wanted, known, place, mirrors=mirrors)
            try:
                check_promises(wanted, place, printable(url))
            except errors.UpstreamMismatch:
                place.unlink(missing_ok=True)
                raise
        return got

    def _place(self, wanted: Wanted | None) -> Path:
        """Where to write. Only what was promised can be told again in a later run."""
        if wanted is not None and wanted.digests:
            promise = sorted((name, value.lower()) for name, value in wanted.digests.items())
            key = hashlib.sha256(repr((wanted.path, promise, wanted.size)).encode()).hexdigest()
            return self._folder / f"promised-{key}"
        with self._guard:
            self._count += 1
            place = self._folder / f"plain-{self._count}"
        place.unlink(missing_ok=True)
        return place

    # --- one mirror

    def _from(
        self, url: str, wanted: Wanted, known: Validator | None, place: Path, *, mirrors: int = 1
    ) -> Got:
        """Fetch from one address, again and again after what may pass."""
        tries = (
            self._connection.retries + 1 if mirrors == 1 else min(2, self._connection.retries + 1)
        )
        strong = ""
        received = turn = best = 0
        while turn < tries:
            turn += 1
            asked: float | None = None
            try:
                with self._web.get(url, self._headers(wanted, known, place, strong)) as answer:
                    if answer.status in _AGAIN:
                        asked = answer.wait()
                        raise errors.UpstreamUnreachable(
                            f"the server answered {answer.status}",
                            where=printable(url),
                            remedy="sync again later",
                        )
                    got = self._take(answer, wanted, known, place)
                    if got is not None:
                        strong = _strong(answer)
                        received += self._write(answer, wanted, place)
                        return Got(
                            wanted,
                            file=place,
                            headers=answer.headers,
                            url=answer.url,
                            received=received,
                        )
                    return self._verdict(answer, wanted, known)
            except errors.UpstreamUnreachable:
                have = place.stat().st_size if place.exists() else 0
                if self._ended.is_set():
                    raise
                if have >= best + _PROGRESS:
                    # A large file may break off more often than anybody wants to count.
                    best, turn = have, 0
                elif turn == tries:
                    raise
            except _Restart:
                place.unlink(missing_ok=True)
                continue
            back_off = min(60.0, 2.0 ** max(0, turn - 1)) * random.uniform(0.5, 1.0)  # noqa: S311
            self._pause(back_off if asked is None else asked)
        raise errors.UpstreamUnreachable(
            "the server did not send the rest of the file", where=printable(url)
        )

    def _headers(
        self, wanted: Wanted, known: Validator | None, place: Path, strong: str
    ) -> dict[str, str]:
        headers = dict(wanted.headers)
        have = place.stat().st_size if place.exists() else 0
        if have and (wanted.digests or strong):
            if wanted.size is not None and have >= wanted.size:
                place.unlink()
                return headers
            headers["Range"] = f"bytes={have}-"
            if strong:
                headers["If-Range"] = strong
        elif known is not None:
            if known.etag:
                headers["If-None-Match"] = known.etag
            if known.last_modified:
                headers["If-Modified-Since"] = known.last_modified
        return headers

    def _take(
        self, answer: Answer, wanted: Wanted, known: Validator | None, place: Path
    ) -> bool | None:
        """Whether the body is (the rest of) the file; prepares ``place`` for it."""
        have = place.stat().st_size if place.exists() else 0
        if answer.status == 206:
            match = _RANGE.fullmatch(answer.headers.get("content-range", ""))
            if match is None or int(match[1]) != have or not have:
                raise _Restart
            return True
        if answer.status == 416:
            raise _Restart
        if answer.status != 200:
            return None
        if answer.length is not None and answer.length > limit_of(wanted):
            raise self._too_long(wanted, answer.url, answer.length)
        place.unlink(missing_ok=True)
        return True

    def _write(self, answer: Answer, wanted: Wanted, place: Path) -> int:
        """Append the body to ``place``; how many bytes came in this answer."""
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        most = limit_of(wanted)
        received = 0
        with told(place), os.fdopen(os.open(place, flags, 0o600), "ab", buffering=0) as file:
            have = os.fstat(file.fileno()).st_size
            for block in answer.blocks(self._throttle.block, self._web.slowest):
                if self._ended.is_set():
                    raise errors.UpstreamUnreachable("given up", where=printable(answer.url))
                received += len(block)
                if have + received > most:
                    raise self._too_long(wanted, answer.url, None)
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
                self._progress.advance(0, len(block))
                self._throttle.spend(len(block))
        return received

    def _too_long(self, wanted: Wanted, url: str, length: int | None) -> errors.UpstreamMismatch:
        found = "more" if length is None else f"{length}"
        promised = "were promised" if wanted.size is not None else "are allowed"
        return mismatch(
            wanted, f"{found} bytes come, {limit_of(wanted)} {promised}", printable(url)
        )

    def _verdict(self, answer: Answer, wanted: Wanted, known: Validator | None) -> Got:
        if answer.status == 304 and known is not None:
            return Got(wanted, unchanged=known, headers=answer.headers, url=answer.url)
        if answer.status in _ABSENT:
            return Got(wanted, absent=answer.status, headers=answer.headers, url=answer.url)
        remedy = "check the address in `upstream`"
        if answer.status in (401, 407):
            remedy = "check `username` and `password_file`" + (
                ", or the password of the proxy in the environment" if answer.status == 407 else ""
            )
        raise errors.UpstreamRefused(
            f"the server answered {answer.status}", where=printable(answer.url), remedy=remedy
        )


class _Restart(Exception):
    """The partial file cannot be continued."""


def _strong(answer: Answer) -> str:
    """What If-Range may name: a strong ETag, else the date (RFC 9110, 13.1.5)."""
    etag = answer.headers.get("etag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return answer.headers.get("last-modified", "")
