"""What the ledger remembers, as plain values.

All times are aware and in UTC with whole seconds. Sizes are in bytes. A field of
type ``dict`` or ``list`` holds plain JSON without fractions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from manifests.digest import Digest
from manifests.state import Snapshot


@dataclass(frozen=True, slots=True)
class StoredSnapshot:
    """A snapshot that the store holds.

    ``stream`` is empty outside (the snapshot was mirrored here) and the stream's
    name inside. ``source`` says where it came from: an upstream's URL, or a bundle.
    """

    stream: str
    snapshot: Snapshot
    source: str = ""


@dataclass(frozen=True, slots=True)
class Publication:
    """Which snapshot of a repository is live, under the name by which it is served.

    ``source_repository`` is the repository's name in ``stream``; ``overlay`` is the
    tree of derived indexes that lies over ``tree``.
    """

    repository: str
    stream: str
    format: str
    source_repository: str
    serial: int
    tree: Digest
    overlay: Digest | None
    published: datetime
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class PastPublication:
    """A publication that another one replaced, or that was withdrawn, at ``replaced``."""

    publication: Publication
    replaced: datetime


@dataclass(frozen=True, slots=True)
class Hold:
    """Something that waits for missing blobs or for an operator.

    ``key`` names the hold (setting it again replaces it, but ``since`` stays).
    ``detail`` names what is missing: a capped list and a total.
    """

    key: str
    stream: str
    repository: str
    kind: str
    reason: str
    remedy: str
    since: datetime
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Validator:
    """What an upstream said of a volatile file, for the next conditional request."""

    etag: str
    last_modified: str
    digest: Digest
    size: int


@dataclass(frozen=True, slots=True)
class AcceptedMissing:
    """A file that is broken upstream for good, accepted by a person."""

    repository: str
    path: str
    reason: str
    by: str
    at: datetime


class RootKind(StrEnum):
    """Why something is part of a repository."""

    CAPTURED = "captured"
    """A path that a build asked for."""
    ARTIFACT = "artifact"
    BOM = "bom"
    PROJECT = "project"
    WANT = "want"
    """What a client inside asked for, accepted by a person."""


@dataclass(frozen=True, slots=True)
class Root:
    """Something asked of a repository: a path, coordinates, or a project's POM."""

    repository: str
    root: str
    kind: RootKind
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that an upstream gave and a person or build asked for; ``gc`` keeps its blob.

    ``stated`` is what the upstream said of it: algorithm, blank, checksum; or empty.
    """

    path: str
    digest: Digest
    size: int
    stated: str = ""


@dataclass(frozen=True, slots=True)
class Closure:
    """The files that something was found to need, and what could not be found.

    ``fingerprint`` stands for all that the answer depends on; ``unresolved`` maps names
    to reasons; ``indexes`` maps the paths of indexes that were read on the way to what was
    seen there, "" for nothing.
    """

    name: str
    fingerprint: Digest
    paths: Sequence[str]
    unresolved: Mapping[str, str]
    at: datetime
    indexes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredWant:
    """``what`` clients asked for in the served ``repository`` and did not get.

    ``count`` is how often, ``last`` when it was noted last.
    """

    repository: str
    what: str
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """One bundle, on either side of the gap.

    ``previous`` is the digest of the manifest before it, empty for the first.
    ``state`` is the state digest, which is also the blob of the state table;
    ``manifest`` and ``index`` are blobs too. ``kind`` is ``full``, ``delta`` or
    ``heartbeat``. A time is None until the step happened.
    """

    stream: str
    epoch: int
    sequence: int
    kind: str
    manifest: Digest
    previous: str
    state: Digest
    index: Digest | None
    created: datetime
    size: int
    parts: int
    base: Sequence[object] = ()
    retain: Mapping[str, object] = field(default_factory=dict)
    packed: datetime | None = None
    released: datetime | None = None
    sent: datetime | None = None
    received: datetime | None = None
    imported: datetime | None = None


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part of a bundle. ``state`` is the word of whoever moves parts."""

    stream: str
    epoch: int
    sequence: int
    index: int
    name: str
    size: int
    digest: Digest
    state: str


@dataclass(frozen=True, slots=True)
class DraftRecord:
    """What ``pack`` made and ``release`` has not signed yet; ``data`` is its owner's."""

    stream: str
    id: str
    created: datetime
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that a carrier brought earlier, and what became of it."""

    stream: str
    identity: str
    name: str
    verdict: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Denial:
    """A digest that no client is served."""

    digest: Digest
    reason: str
    by: str
    at: datetime


@dataclass(frozen=True, slots=True)
class OfferedKey:
    """A public key that came in a bundle. Trusted only once a person approved it."""

    fingerprint: str
    stream: str
    repository: str
    armored: bytes
    offered: datetime
    approved: datetime | None = None
    approved_by: str = ""


class PinKind(StrEnum):
    """What the digests of a pin stand for."""

    BLOBS = "blobs"
    """The blobs themselves."""
    TREES = "trees"
    """Trees: each is kept with every blob that it names."""
    LISTS = "lists"
    """Blobs of text that are kept with every digest that stands as a word in them."""


@dataclass(frozen=True, slots=True)
class Pin:
    """Blobs that ``gc`` must keep although no snapshot names them."""

    key: str
    kind: PinKind
    digests: tuple[Digest, ...]
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the audit log; see ``store.ledger.events`` for the chain."""

    seq: int
    time: datetime
    kind: str
    actor: str
    stream: str
    repository: str
    detail: Mapping[str, object]
    previous: Digest
    digest: Digest
