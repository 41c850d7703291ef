"""What a crawl and who drives it say to each other: what is wanted, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from manifests.digest import Digest


@dataclass(frozen=True, slots=True)
class Wanted:
    """One file that a crawl asks for.

    ``path`` is where it goes in the tree. ``url`` is a URL reference (already percent-encoded),
    relative to the upstream or absolute; when it is empty, the mirror percent-encodes the path.
    ``digests`` and ``size`` (bytes) are promises from an index: the mirror verifies them and, when
    it holds the bytes already, asks nobody. ``limit`` caps the size of a file without a promise.
    ``parse``: the crawl reads the body. ``keep`` False: only for parsing, not part of the tree.
    ``required`` False: its absence is told to the crawl and is no failure. ``volatile``: the same
    URL may change (an index); such files are fetched with conditional requests. ``confirm``: the
    whole copy stands on this file, so after everything else has arrived the mirror asks for it
    once more, and other bytes than the first time (or its coming or going) mean that the copy is
    torn. ``late``: nothing else follows from the body, so although it is parsed it is fetched with
    the bulk. ``alone``: the rest of the copy stands without this file, so an upstream that fails
    to give it, or gives other bytes than promised, is told to the crawl (``Refused``) and holds
    nothing else. ``note`` is the crawl's own and comes back in ``feed``.
    """

    path: str
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    limit: int | None = None
    required: bool = True
    parse: bool = False
    keep: bool = True
    volatile: bool = False
    confirm: bool = False
    late: bool = False
    alone: bool = False
    note: object = None


class Body(Protocol):
    """The bytes of a fetched file, verified against its promises."""

    @property
    def path(self) -> Path: ...
    @property
    def size(self) -> int: ...
    @property
    def digest(self) -> Digest: ...
    def open(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Absent:
    """The upstream does not have it. ``status`` is the HTTP status, or 404."""

    status: int = 404


@dataclass(frozen=True, slots=True)
class Unchanged:
    """The same bytes as before; no content crossed the network."""

    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found:
    """New bytes. Header names are lower case; none when a promise named bytes already here."""

    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """An ``alone`` file that the upstream did not give as promised. ``what`` is one line.

    ``silent``: no answer came, or a refusal (a password, a redirect), so nothing is known of it.
    """

    what: str
    silent: bool = False


Result = Absent | Unchanged | Found | Refused


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A crawl's verdict: the file at ``path`` stays out of the tree; reported as advice.
    ``earlier``: what the previous tree has at that path stays."""

    path: str
    what: str
    earlier: bool = False


class Crawl(Protocol):
    """Drives one run over an upstream to a complete copy; it may remember.

    ``feed`` is called once for each wanted file whose ``parse`` is set or that
    is absent or refused, in any order, and returns what else is wanted, lazily: a body must
    stay readable until the answer is exhausted. Asking twice for one path is one
    request. In between it may say what is ``LeftOut``, also of files that came before.
    For a ``late`` file that the previous tree has at its path ``feed`` is not called. A crawl
    may want paths under ``.sluice/`` (an upstream's files never get there by themselves).
    ``facts`` is called at the end: more such files.
    """

    def start(self) -> Iterable[Wanted | LeftOut]: ...
    def feed(self, wanted: Wanted, result: Result) -> Iterable[Wanted | LeftOut]: ...
    def facts(self) -> Iterable[tuple[str, bytes]]: ...
