"""The contract of a format: one pure description that four callers share.

The mirror drives ``crawl`` (its words are in ``crawling.py``), mirror and importer run ``check``,
the publisher runs ``derive``, the server asks ``answer``. A format opens no socket and writes
nothing; it sees files only through the ``TreeView`` and ``Body`` it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Protocol

from manifests.formats.crawling import Absent as Absent
from manifests.formats.crawling import Body as Body
from manifests.formats.crawling import Crawl as Crawl
from manifests.formats.crawling import Found as Found
from manifests.formats.crawling import LeftOut as LeftOut
from manifests.formats.crawling import Refused as Refused
from manifests.formats.crawling import Result as Result
from manifests.formats.crawling import Unchanged as Unchanged
from manifests.formats.crawling import Wanted as Wanted
from manifests.formats.described import Describer, Describing
from manifests.formats.media import content_type as content_type
from manifests.formats.merging import Merge
from manifests.formats.view import TreeView as TreeView
from manifests.tree import PRIVATE, Entry

#: Paths that an operator accepted as missing; a JSON list, see ``accepted.py``.
EXCEPTIONS = PRIVATE + "exceptions.json"
#: What derivation needs to know and files do not carry.
FACTS = PRIVATE + "facts.json"
#: Public keys that the outside trusts; offered inside, never trusted by themselves.
KEYS = PRIVATE + "keys/"


@dataclass(frozen=True, slots=True)
class Spec:
    """What zone.yaml says of a repository, as far as a format needs it.

    ``metadata`` is ``auto``, ``verbatim`` or ``derived``. ``options`` holds
    format-specific keys. Inside, only ``name`` is known: what else matters
    travels in the tree.
    """

    name: str
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    newest: int | None = None
    metadata: str = "auto"
    options: Mapping[str, object] = field(default_factory=dict)

    @property
    def filtered(self) -> bool:
        return bool(self.include or self.exclude or self.arches or self.newest)


# --- checking ---------------------------------------------------------------


class Severity(Enum):
    """``REQUIRED`` holds a snapshot; ``ADVICE`` is reported."""

    REQUIRED = "required"
    ADVICE = "advice"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a check found. ``what`` is one line and names no remedy."""

    path: str
    what: str
    severity: Severity = Severity.REQUIRED


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that an upstream put into its repository.

    ``kind`` is ``openpgp-detached`` (``signature`` is a path that signs
    ``path``), ``rpm`` (the signature is inside the file), or one of images'
    (``formats/oci/signing.py``; of several rows for a path, one good one is enough).
    """

    path: str
    kind: str
    signature: str = ""


# --- deriving ---------------------------------------------------------------


class Signer(Protocol):
    """Signs derived indexes with the repository key."""

    def armored(self, data: bytes) -> bytes:
        """An ASCII-armored detached OpenPGP signature."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What an earlier publication derived: the tree it stood on and the overlay."""

    base: TreeView
    overlay: TreeView


class Before(Enum):
    """What a derivation takes over from the previous overlay, instead of a file's content."""

    REST = "rest"
    """At the empty path: every file of it that this derivation does not name itself."""
    GONE = "gone"
    """The file at this path is not taken over with the rest."""


Made = bytes | Path | Before
"""What lies at a derived path. A ``Path`` may vanish after the next step."""


# --- answering --------------------------------------------------------------


def _nothing_denied(entry: Entry) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Request:
    """A client's GET or HEAD. ``path`` is decoded and relative to the repository.

    ``headers`` has lower-case names; repeated lines are joined with ``, ``. ``prefix`` is what
    the client put before the path. ``denied`` says whether the gate keeps an entry back; only
    lists need to ask, since the server asks before it sends an entry.
    """

    path: str
    method: str = "GET"
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    denied: Callable[[Entry], bool] = _nothing_denied


@dataclass(frozen=True, slots=True)
class SendEntry:
    """Answer 200 with the bytes of a tree entry.

    ``immutable``: the name stands for the content (a package, a hashed index),
    so caches may keep it; otherwise clients must revalidate. ``headers`` are the same for
    every client. ``negotiated``: only for clients that accept ``content_type``; the format
    answers the others otherwise. ``body`` is sent instead of the entry's bytes: what follows
    from them alone and is small, such as a checksum.
    """

    entry: Entry
    content_type: str = "application/octet-stream"
    immutable: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    negotiated: bool = False
    body: bytes | None = None


@dataclass(frozen=True, slots=True)
class SendBytes:
    """Answer with a small body made on the spot."""

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendListing:
    """Answer with a listing of a folder for a person's browser."""

    folder: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Nothing there. ``want`` names it for the wants, empty when it is a mere probe."""

    want: str = ""
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


Answer = SendEntry | SendBytes | SendListing | Missing


class Format(Describer, Protocol):
    """One package format."""

    @property
    def name(self) -> str:
        """Lower-case word; also the URL prefix."""

    def does(self, work: str) -> bool:
        """Whether ``facts``, ``signed`` or ``derive`` has work to do; else nobody asks."""

    def crawl(self, spec: Spec, previous: TreeView | None) -> Crawl: ...

    def selects(self, spec: Spec) -> bool:
        """Whether ``spec`` wants less than the whole upstream (then a crawl chooses)."""

    def facts(self, spec: Spec, view: TreeView) -> Iterable[tuple[str, bytes]]:
        """Private files for a tree that was copied whole, without a crawl."""

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        """Is this tree complete and consistent? Needs no upstream. May raise FormatError."""

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterable[Signed]:
        """The upstream signatures to verify; with ``packages`` also those of single packages."""

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, Made]]:
        """Unsigned indexes, before publishing; what the previous overlay has, by ``Before``."""

    def answer(self, request: Request, view: TreeView) -> Answer: ...

    @property
    def mergeable(self) -> bool:
        """Whether several repositories may be served as one, the first hit winning."""

    def merge(self, path: str) -> Merge | None:
        """How the file at ``path`` of merged repositories is made; None: the first hit."""

    def may_be_root(self, text: str) -> bool:
        """Whether ``text``, which anybody may have written, names what can be asked for."""

    def holds(self, want: str, view: TreeView) -> bool:
        """Whether what ``want`` stands for (as in ``Missing.want``, or a root) is there."""


class StaticFormat(Describing):
    """The parts that formats share whose files are served as they are."""

    name = "static"
    mergeable = False

    def does(self, work: str) -> bool:
        """Whatever a format has of its own, instead of what stands here."""
        return getattr(type(self), work) is not getattr(StaticFormat, work)

    def selects(self, spec: Spec) -> bool:
        return spec.filtered

    def facts(self, spec: Spec, view: TreeView) -> Iterable[tuple[str, bytes]]:
        return ()

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        return ()

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterable[Signed]:
        return ()

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, Made]]:
        return ()

    def merge(self, path: str) -> Merge | None:
        return None

    def may_be_root(self, text: str) -> bool:
        return False

    def holds(self, want: str, view: TreeView) -> bool:
        return view.lookup(want) is not None

    def immutable(self, path: str) -> bool:
        """Whether the name at ``path`` stands for its content."""
        return False

    def answer(self, request: Request, view: TreeView) -> Answer:
        path = request.path
        if path == "" or path.endswith("/"):
            return SendListing(path.rstrip("/")) if view.has_folder(path.rstrip("/")) else Missing()
        if path.startswith(PRIVATE):
            return Missing()
        entry = view.lookup(path)
        if entry is not None:
            return SendEntry(entry, content_type(path), self.immutable(path))
        if view.has_folder(path):
            return SendBytes(b"", "text/plain", 301, {"Location": path.rsplit("/", 1)[-1] + "/"})
        return Missing(want=path)
