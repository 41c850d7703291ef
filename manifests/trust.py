"""The acceptance rules: which documents are believed, and what a bundle may change.

A pure core. Bytes, facts and the time come in; trusted values, verdicts and
errors go out; nothing is read or written. The order for one bundle::

    trusted = walk_roots(state.roots, chain)          # the newest root of trust
    release = verify_release(trusted, document, manifest_bytes)
    facts   = BundleFacts(...)                        # now the manifest may be parsed
    state   = state.with_root(trusted)                # keep it, whatever the verdict
    verdict = judge(state, trusted, release, facts, now=..., known=...)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from manifests import canonical
from manifests.canonical import Record
from manifests.caps import MAX_CHAIN, MAX_CHAIN_BYTES
from manifests.digest import Digest
from manifests.documents import RootDocument
from manifests.errors import (
    ClockAhead,
    ExpiredDocument,
    ForeignRoot,
    ForkedStream,
    HeldError,
    MalformedManifest,
    Unsigned,
)
from manifests.roots import (
    Release,
    TrustedRoot,
    read_pinned,
    verify_release,
    walk_roots,
)
from manifests.state import format_time, parse_time

__all__ = [
    "Accept",
    "BundleFacts",
    "Duplicate",
    "Held",
    "Late",
    "Release",
    "TrustState",
    "TrustedRoot",
    "Verdict",
    "expiring_soon",
    "judge",
    "verify_release",
    "walk_roots",
]

CLOCK_TOLERANCE: Final = timedelta(days=1)
ROOT_WARNING: Final = timedelta(days=180)
"""How long before its expiry `expiring_soon` names the root."""
LIFETIMES: Final = {
    "root": timedelta(days=5 * 365),
    "targets": timedelta(days=365),
    "orders": timedelta(days=365),
    "timestamp": timedelta(days=180),
}
"""Default time from signing to expiry, by role."""

_STATE_CAP = 2 * MAX_CHAIN_BYTES
_STATE_FORMAT = 1
_STATE_FIELDS = (
    "epoch",
    "format",
    "manifest",
    "released",
    "roots",
    "sequence",
    "stream",
    "time_floor",
)


@dataclass(frozen=True, slots=True)
class TrustState:
    """What an inside remembers of a stream between bundles.

    ``roots`` are the trusted root documents, pinned first, newest last.
    ``sequence`` is the high-water mark in ``epoch`` (0: nothing accepted yet)
    and ``manifest`` the digest of the manifest there. ``released`` is the
    highest sequence whose manifest the role targets signed: the state table in
    force; heartbeats signed by the role timestamp move only ``sequence``.
    ``time_floor`` is the newest accepted bundle's time, in UTC.
    """

    stream: str
    roots: tuple[bytes, ...]
    epoch: int
    sequence: int = 0
    manifest: Digest | None = None
    released: int = 0
    time_floor: datetime | None = None

    @classmethod
    def fresh(cls, pinned: bytes) -> TrustState:
        """The state that trusts the root document a person pinned, and nothing else.

        Raises what `read_pinned` raises.
        """
        root = read_pinned(pinned)
        return cls(stream=root.stream, roots=(pinned,), epoch=root.epoch)

    def with_root(self, trusted: TrustedRoot) -> TrustState:
        """The state with the roots that ``trusted`` adds; keep it whatever the verdict."""
        roots = tuple(root.data for root in trusted.roots)
        if roots[: len(self.roots)] != self.roots:
            raise ValueError("a trusted root that was not walked from this state")
        return replace(self, roots=roots)

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical.dumps(
            {
                "epoch": self.epoch,
                "format": _STATE_FORMAT,
                "manifest": self.manifest,
                "released": self.released,
                "roots": [root.decode("ascii") for root in self.roots],
                "sequence": self.sequence,
                "stream": self.stream,
                "time_floor": self.time_floor and format_time(self.time_floor),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> TrustState:
        """Reads what `to_bytes` wrote; raises `MalformedManifest` or `NotCanonical`."""
        value = canonical.loads(data, cap=_STATE_CAP, where="trust state")
        fields = Record(value, where="trust state", required=_STATE_FIELDS)
        fields.number("format", least=_STATE_FORMAT, most=_STATE_FORMAT)
        manifest, floor = fields.value["manifest"], fields.value["time_floor"]
        roots = fields.items("roots", most=MAX_CHAIN)
        if not roots:
            fields.fail("no root document")
        return cls(
            stream=fields.text("stream", most=64),
            roots=tuple(str(root).encode("ascii", "replace") for root in roots),
            epoch=fields.number("epoch", least=1),
            sequence=fields.number("sequence"),
            manifest=None if manifest is None else fields.digest("manifest"),
            released=fields.number("released"),
            time_floor=None if floor is None else parse_time(str(floor)),
        )


@dataclass(frozen=True, slots=True)
class BundleFacts:
    """What a verified manifest says about its bundle.

    ``previous`` is the digest of the manifest before it, None for sequence 1.
    """

    stream: str
    epoch: int
    sequence: int
    previous: Digest | None
    created: datetime
    manifest: Digest
    heartbeat: bool = False

    def __post_init__(self) -> None:
        if self.epoch < 1 or self.sequence < 1:
            raise MalformedManifest("epoch and sequence start at 1")
        if (self.previous is None) != (self.sequence == 1):
            raise MalformedManifest("only sequence 1 has no previous manifest")
        if self.created.tzinfo is None:
            raise MalformedManifest("a time without a time zone")

    def claims(self) -> dict[int, Digest]:
        """Which manifest stands at which sequence; record it, to find forks later."""
        claims = {self.sequence: self.manifest}
        if self.previous is not None:
            claims[self.sequence - 1] = self.previous
        return claims


@dataclass(frozen=True, slots=True)
class Accept:
    """The bundle moves the stream on: store ``state``.

    ``changes_state`` is false for a heartbeat that only the role timestamp
    signed: its state table tells what should be there, it publishes nothing.
    ``missing`` are the sequences that were jumped over (an alarm if any).
    """

    state: TrustState
    changes_state: bool
    missing: range


@dataclass(frozen=True, slots=True)
class Late:
    """Authentic, but older than what was accepted: its blobs may be ingested, no more."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The manifest that stands at the high-water mark already: nothing new to believe."""


@dataclass(frozen=True, slots=True)
class Held:
    """Authentic: its blobs may be ingested, but it changes no state until an
    operator acts. ``reason`` is a `ClockAhead` or an `ExpiredDocument`."""

    reason: HeldError


Verdict: TypeAlias = Accept | Late | Duplicate | Held


def judge(
    state: TrustState,
    trusted: TrustedRoot,
    release: Release,
    facts: BundleFacts,
    *,
    now: datetime,
    known: Mapping[int, Digest] | None = None,
) -> Verdict:
    """What an authentic bundle may do to its stream.

    ``known`` maps sequences of ``facts.epoch`` to manifest digests, from the
    `BundleFacts.claims` of every authentic bundle so far. ``now`` is the local
    clock; expiry is judged at ``now`` or the time floor, whichever is later, so
    that a clock that was set back brings nothing back to life.

    Raises `ForkedStream` for another manifest at a known sequence,
    `ForeignRoot` for another stream or epoch, `MalformedManifest` if release
    and manifest disagree, `Unsigned` for what the role timestamp may not sign.
    """
    where = f"{facts.stream} {facts.epoch}/{facts.sequence}"
    if facts.stream != trusted.stream:
        raise ForeignRoot(f"this root of trust speaks for {trusted.stream}", where=where)
    if facts.epoch > trusted.epoch:
        raise ForeignRoot(
            f"the newest root knows epochs up to {trusted.epoch}; only a root starts an epoch",
            where=where,
        )
    if facts.sequence != release.sequence or facts.manifest != release.manifest:
        raise MalformedManifest("release document and manifest disagree", where=where)
    if release.role != "targets" and not facts.heartbeat:
        raise Unsigned("only a heartbeat may go without the role targets", where=where)
    if facts.epoch < max(trusted.epoch, state.epoch):
        return Late()
    begun = state.epoch == facts.epoch
    sequence, released = (state.sequence, state.released) if begun else (0, 0)
    seen = dict(known or {})
    if begun and state.manifest is not None:
        seen[sequence] = state.manifest
    for place, digest in facts.claims().items():
        if seen.get(place, digest) != digest:
            raise ForkedStream(
                f"sequence {place} has two manifests: {seen[place]} and {digest}",
                where=where,
                remedy="stop this stream; someone else signs with its keys, or the outside was "
                "restored from a backup: there `sluice trust renew --new-epoch`, then pin its new "
                "root here",
            )
    changes = release.role == "targets" and facts.sequence > released
    if begun and facts.sequence == sequence and not changes:
        return Duplicate()
    if facts.sequence < sequence and not changes:
        return Late()
    held = _held(trusted, release, facts, now, state.time_floor)
    if held is not None:
        held.where = where
        return Held(held)
    missing = range(0)
    if facts.sequence > sequence:
        missing = range(sequence + 1, facts.sequence)
        state = replace(state, epoch=facts.epoch, sequence=facts.sequence, manifest=facts.manifest)
    return Accept(
        replace(
            state,
            released=facts.sequence if changes else released,
            time_floor=max(state.time_floor or facts.created, facts.created),
        ),
        changes_state=changes,
        missing=missing,
    )


def expiring_soon(
    root: RootDocument | TrustedRoot,
    now: datetime,
    documents: Mapping[str, datetime] | None = None,
    *,
    ahead: timedelta = timedelta(days=30),
) -> list[str]:
    """One line for each thing that has expired or soon will, for `status`.

    The root is named `ROOT_WARNING` ahead; ``documents`` (name to expiry, say
    the newest release document) ``ahead``.
    """
    newest = root.newest if isinstance(root, TrustedRoot) else root
    due = [(f"root version {newest.version}", newest.expires, ROOT_WARNING)]
    due += [(name, moment, ahead) for name, moment in (documents or {}).items()]
    lines = []
    for name, moment, warn in due:
        if now >= moment:
            lines.append(f"{name} expired on {format_time(moment)}")
        elif now >= moment - warn:
            lines.append(f"{name} expires on {format_time(moment)}, in {(moment - now).days} days")
    return lines


def _held(
    trusted: TrustedRoot,
    release: Release,
    facts: BundleFacts,
    now: datetime,
    floor: datetime | None,
) -> HeldError | None:
    if facts.created > now + CLOCK_TOLERANCE:
        return ClockAhead(
            f"made at {format_time(facts.created)}, but the clock here says {format_time(now)}",
            remedy="set the clock that is wrong; the bundle is looked at again by itself",
        )
    moment = max(now, floor or now)
    root = trusted.newest
    if moment >= root.expires:
        return ExpiredDocument(
            f"root version {root.version} expired on {format_time(root.expires)}",
            remedy="rotate the root outside (`trust rotate`) and send another bundle",
        )
    if moment >= release.expires:
        return ExpiredDocument(
            f"its {release.role} document expired on {format_time(release.expires)}",
            remedy="have the outside pack and send a new bundle",
        )
    return None
