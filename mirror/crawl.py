"""Driving a format's crawl over a transport, to a complete and verified copy.

First everything that must be parsed, then the rest: by then it is known how many bytes are
needed. Bytes that the store holds already, by promised digest or from the previous tree,
are asked of nobody. At the end the indexes that the copy stands on are asked for once
more: if they changed, the copy is torn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from manifests import errors
from manifests.digest import Digest, is_digest
from manifests.formats.base import (
    Absent,
    Crawl,
    Found,
    LeftOut,
    Problem,
    Refused,
    Result,
    Severity,
    TreeView,
    Unchanged,
    Wanted,
)
from manifests.tree import PRIVATE, Entry, check_path
from mirror.report import Progress, printable
from mirror.source import Gathered, Plan
from mirror.transport import FileBody, Got, Transport
from mirror.validators import Validators
from store.blobs import BlobBatch
from store.records import Validator
from store.store import Store

_MOST_PROBLEMS = 1000
_MOST_FILES = 5_000_000
_SILENCE = 8
"""After so many files in a row without an answer the upstream itself is gone; after so many

refusals before any answer it lets us have nothing, and a wrong password is tried no more.
"""


@dataclass(slots=True)
class _Confirm:
    """A file that the copy stands on, as it was read."""

    wanted: Wanted
    seen: Validator | None
    """None: it was absent."""


@dataclass(slots=True)
class _Run:
    """One run's state."""

    crawl: Crawl
    batch: BlobBatch
    validators: Validators
    entries: dict[str, tuple[Digest, int] | None] = field(default_factory=dict)
    """By path; None for what is not (yet) part of the tree."""
    later: list[Wanted] = field(default_factory=list)
    needed: int = 0
    received: int = 0
    problems: list[Problem] = field(default_factory=list)
    missing: int = 0
    mismatches: list[tuple[Wanted, errors.UpstreamMismatch]] = field(default_factory=list)
    silence: int = 0
    """How many files in a row no answer came for, or at the beginning only refusals."""
    silent: errors.SluiceError | None = None
    """The first of them, as long as nothing was answered at all."""
    refused: errors.SluiceError | None = None
    """The first that was refused, or not answered."""
    answered: bool = False
    left_out: set[str] = field(default_factory=set)
    confirm: list[_Confirm] = field(default_factory=list)


class CrawlSource:
    """An upstream that is read file by file. See ``mirror.source.Source``."""

    def __init__(
        self,
        store: Store,
        name: str,
        make_crawl: Callable[[TreeView | None], Crawl],
        transport: Transport,
        *,
        previous: Digest | None,
        accepted: Callable[[str], bool],
        progress: Progress,
        clean: Callable[[], None],
    ) -> None:
        self._store = store
        self._name = name
        self._make_crawl = make_crawl
        self._transport = transport
        self._previous = None if previous is None else store.view(previous)
        self._accepted = accepted
        self._progress = progress
        self._clean = clean

    def plan(self, batch: BlobBatch) -> Plan:
        """See ``Source``; indexes are fetched, the rest is only counted."""
        run = self._parsed(batch)
        updated = 0
        for wanted in run.later:
            updated += self._previous is not None and self._previous.lookup(wanted.path) is not None
        return Plan(added=len(run.later) - updated, updated=updated, size=run.needed)

    def gather(self, batch: BlobBatch, wrong: list[str], guard: Callable[[Plan], None]) -> Gathered:
        """See ``Source``. The guard has nothing to say: nothing of ours is deleted."""
        run = self._parsed(batch)
        self._store.require_free(run.needed, "this sync")
        self._progress.expect(len(run.later), run.needed)
        self._fetch(run, iter(run.later))
        if run.refused is not None and not run.answered and not any(run.entries.values()):
            raise run.refused  # an upstream that gives nothing is no empty repository
        unexpected = [error for wanted, error in run.mismatches if not self._accepted(wanted.path)]
        if unexpected:
            if len(unexpected) > 1:
                unexpected[0].add_note(f"{len(unexpected)} files differ from their promises")
            raise unexpected[0]
        missing = run.missing + len(run.left_out) - len(run.problems)
        if missing > 0:
            severity = Severity.REQUIRED if run.missing else Severity.ADVICE
            run.problems.append(Problem("*", f"{missing} more files are missing", severity))
        return Gathered(
            _sorted(run.entries),
            self._transport.source,
            run.problems,
            needed=run.needed,
            downloaded=run.received,
            facts=run.crawl.facts,
            validators=run.validators.fresh,
            confirm=lambda: self._confirmed(run),
        )

    def committed(self, tree: Digest) -> None:
        """See ``Source``."""
        self._clean()

    # --- one run

    def _parsed(self, batch: BlobBatch) -> _Run:
        """Fetch and parse all indexes; the rest is in ``later``."""
        validators = Validators(self._store, self._name, self._transport.source)
        run = _Run(self._make_crawl(self._previous), batch, validators)
        self._fetch(run, iter(run.crawl.start()), defer=True)
        return run

    def _fetch(self, run: _Run, wishes: Iterator[Wanted | LeftOut], *, defer: bool = False) -> None:
        """Work through wishes and what follows from them.

        The innermost source comes first, so that few indexes are open at once.
        """
        sources = [wishes]
        pending = 0
        while sources or pending:
            while sources and pending < self._transport.capacity:
                wanted = next(sources[-1], None)
                if wanted is None:
                    sources.pop()
                elif isinstance(wanted, LeftOut):
                    self._leave_out(run, wanted)
                elif not defer or self._is_new(run, wanted):
                    if defer and not _comes_first(wanted):
                        self._defer(run, wanted)
                        continue
                    followers = self._at_hand(run, wanted)
                    if followers is not None:
                        sources.append(iter(followers))
                        continue
                    self._transport.submit(wanted, run.validators.known(wanted))
                    pending += 1
            for got in self._transport.collect() if pending else []:
                pending -= 1
                sources.append(iter(self._arrived(run, got)))
        if run.silent is not None and not run.answered:
            raise run.silent

    def _defer(self, run: _Run, wanted: Wanted) -> None:
        """Enter what is here and was proved before; leave the rest for later.

        Bytes may be here by way of another repository, or although they were left out.
        """
        known = self._held(run, wanted)
        before = None if self._previous is None else self._previous.lookup(wanted.path)
        proved = before is not None and known == (before.digest, before.size)
        if known is not None and (proved or not wanted.parse):
            if wanted.keep:
                run.entries[wanted.path] = known
            return
        run.later.append(wanted)
        run.needed += 0 if known is not None else wanted.size or 0

    def _is_new(self, run: _Run, wanted: Wanted) -> bool:
        if wanted.path in run.entries:
            return False
        if len(run.entries) >= _MOST_FILES:
            raise errors.OversizedIndex(
                f"the upstream names more than {_MOST_FILES} files", where=self._name
            )
        check_path(wanted.path)
        run.entries[wanted.path] = None
        return True

    def _leave_out(self, run: _Run, out: LeftOut) -> None:
        """Take a file out of the tree, if it got in, and report it.

        What was there before takes its place, if the crawl says so.
        """
        run.entries[out.path] = None
        done = "left out"
        before = self._previous.lookup(out.path) if out.earlier and self._previous else None
        if before is not None and run.batch.has(before.digest):
            run.entries[out.path] = (before.digest, before.size)
            done = "kept as it was"
        if out.path in run.left_out:
            return
        run.left_out.add(out.path)
        if len(run.problems) < _MOST_PROBLEMS:
            run.problems.append(
                Problem(out.path, f"{done}: {printable(out.what)}", Severity.ADVICE)
            )

    def _at_hand(self, run: _Run, wanted: Wanted) -> Iterable[Wanted | LeftOut] | None:
        """What follows from a file whose bytes the store holds; None: it must be fetched."""
        known = None if wanted.volatile else self._held(run, wanted)
        if known is None:
            return None
        if wanted.keep:
            run.entries[wanted.path] = known
        if not wanted.parse:
            return ()
        body = FileBody(self._store.blobs.path(known[0]), known[1], known[0])
        return run.crawl.feed(wanted, Found(body))

    def _held(self, run: _Run, wanted: Wanted) -> tuple[Digest, int] | None:
        """Digest and size of the promised bytes, if the store holds them."""
        if not wanted.digests:
            return None
        entry = None if self._previous is None else self._previous.lookup(wanted.path)
        promised = wanted.digests.get("sha256", "").lower()
        if is_digest(promised):
            digest = Digest(promised)
            try:
                # Not what waits in the batch: its file has no final name to be read by.
                size = self._store.blobs.size(digest)
            except errors.BlobMissing:
                return None
            # What a snapshot names is durable.
            if (entry is None or entry.digest != digest) and not run.batch.has(digest):
                return None
            return (digest, size) if wanted.size in (None, size) else None
        if entry is None or self._previous is None or wanted.size not in (None, entry.size):
            return None
        for algorithm, value in wanted.digests.items():
            if self._previous.checksum(wanted.path, algorithm) != value.lower():
                return None
        return entry.digest, entry.size

    # --- what came

    def _arrived(self, run: _Run, got: Got) -> Iterator[Wanted | LeftOut]:
        """Enter one answer; yields what follows, while the body is there to be read."""
        run.received += got.received
        wanted = got.wanted
        unreachable = isinstance(got.error, errors.UpstreamUnreachable)
        nothing = unreachable or isinstance(got.error, errors.UpstreamRefused)
        run.silence = run.silence + 1 if unreachable or (nothing and not run.answered) else 0
        run.answered = run.answered or not nothing
        run.silent = run.silent or (got.error if unreachable else None)
        run.refused = run.refused or (got.error if nothing else None)
        failed = nothing or isinstance(got.error, errors.UpstreamMismatch)
        if wanted.alone and failed and got.error is not None and run.silence < _SILENCE:
            yield from run.crawl.feed(wanted, Refused(printable(got.error.what), nothing))
            return
        if isinstance(got.error, errors.UpstreamMismatch):
            run.mismatches.append((wanted, got.error))
            return
        if got.error is not None:
            raise got.error
        result: Result
        if got.absent:
            result = Absent(got.absent)
            if wanted.confirm:
                run.confirm.append(_Confirm(wanted, None))
            if wanted.required:
                self._miss(run, wanted, got.absent)
        else:
            result = self._enter(run, got)
        try:
            if wanted.parse or got.absent:
                yield from run.crawl.feed(wanted, result)
        finally:
            if got.file is not None:
                got.file.unlink(missing_ok=True)

    def _miss(self, run: _Run, wanted: Wanted, status: int) -> None:
        run.missing += 1
        if len(run.problems) < _MOST_PROBLEMS:
            # What is kept under another name than upstream's says nothing to an operator.
            asked = (
                f", asked for as {printable(wanted.url)}" if wanted.path.startswith(PRIVATE) else ""
            )
            run.problems.append(Problem(wanted.path, f"missing upstream (status {status}{asked})"))

    def _enter(self, run: _Run, got: Got) -> Result:
        """Keep the bytes of one answer."""
        wanted = got.wanted
        if got.unchanged is not None:
            digest, size = got.unchanged.digest, got.unchanged.size
            run.batch.has(digest)
            path = self._store.blobs.path(digest)
        else:
            assert got.file is not None
            digest, size = run.batch.adopt(got.file)
            path = got.file
            self._progress.advance(1)
        if wanted.keep:
            run.entries[wanted.path] = (digest, size)
        seen = Validator(
            got.headers.get("etag", ""), got.headers.get("last-modified", ""), digest, size
        )
        run.validators.saw(wanted, seen)
        if wanted.confirm:
            run.confirm.append(_Confirm(wanted, seen))
        body = FileBody(path, size, digest)
        if got.unchanged is not None:
            return Unchanged(body, got.headers)
        return Found(body, got.headers)

    def _confirmed(self, run: _Run) -> bool:
        """Whether the files that the copy stands on are still the same upstream."""
        before: dict[str, Validator | None] = {}
        for one in run.confirm:
            before[one.wanted.path] = one.seen
            usable = one.seen if one.seen and (one.seen.etag or one.seen.last_modified) else None
            self._transport.submit(one.wanted, usable)
        same = True
        for _ in range(len(run.confirm)):
            for got in self._transport.collect():
                same = _same(before[got.wanted.path], got) and same
                if got.file is not None:
                    got.file.unlink(missing_ok=True)
        return same


def _comes_first(wanted: Wanted) -> bool:
    """Whether more may follow from it, so that it is fetched before the bulk."""
    return (wanted.parse and not wanted.late) or wanted.confirm or wanted.volatile


def _same(before: Validator | None, got: Got) -> bool:
    if got.error is not None:
        raise got.error
    if got.unchanged is not None:
        return True
    if got.file is None or before is None:
        return got.file is None and before is None
    with got.file.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() == before.digest


def _sorted(entries: dict[str, tuple[Digest, int] | None]) -> Iterator[Entry]:
    for path in sorted(entries, key=lambda path: path.encode()):
        known = entries[path]
        if known is not None:
            yield Entry(path, *known)
