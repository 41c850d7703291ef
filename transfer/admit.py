"""Admission: which of the manifests that arrived are believed, and what they may do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from manifests.bundle import Copies, Manifest, parse_parts
from manifests.canonical import dumps, loads
from manifests.caps import MAX_DOCUMENT
from manifests.digest import Digest, sha256_of
from manifests.errors import (
    ClockAhead,
    DamagedPart,
    ForkedStream,
    MalformedManifest,
    MalformedPart,
    SluiceError,
    TrustError,
    WireError,
)
from manifests.state import format_time
from manifests.trust import (
    Accept,
    BundleFacts,
    Held,
    Release,
    TrustedRoot,
    TrustState,
    Verdict,
    judge,
    verify_release,
    walk_roots,
)
from store.ledger import WriteTransaction
from store.records import Hold
from store.store import Store
from transfer.arrivals import Report
from transfer.known import Known, keep_documents, record_bundle
from transfer.missing import first_missing

_LETTER = 1 << 20


@dataclass(frozen=True, slots=True)
class Authentic:
    """Signed metadata that was verified."""

    copies: Copies
    trusted: TrustedRoot
    release: Release
    known: Known


def authenticate(state: TrustState, copies: Copies) -> Authentic:
    """Verify, then parse, one set of signed metadata.

    Raises TrustError, WireError, WrongVersion.
    """
    if not copies.roots:
        raise MalformedPart("the root chain is damaged or missing")
    trusted = walk_roots(state.roots, copies.roots)
    release = verify_release(trusted, copies.release, copies.manifest)
    manifest = Manifest.parse(copies.manifest)
    if sha256_of(copies.table) != manifest.part_table.digest:
        raise DamagedPart("the part table is not the one that was signed")
    if manifest.parity.algorithm != "none":
        raise MalformedManifest(f"unknown parity {manifest.parity.algorithm!r}")
    rows = parse_parts(copies.table, manifest.parity.parts)
    return Authentic(copies, trusted, release, Known.of(manifest, release.manifest, rows))


class Admission:
    """The trust state of one stream during one run."""

    def __init__(
        self, store: Store, state: TrustState, known: dict[Digest, Known], now: datetime
    ) -> None:
        self._store = store
        self.state = state
        self.known = known
        self._now = now

    def admit(self, ready: Iterable[Authentic], report: Report) -> dict[Digest, SluiceError]:
        """Judge authentic metadata in the order of sequences, and record it.

        The errors of those that were refused, by manifest digest. Raises
        ForkedStream after the hold that stops the stream was committed.
        """
        refused: dict[Digest, SluiceError] = {}
        by_sequence = sorted(ready, key=lambda item: item.known.order)
        for item in by_sequence:
            if item.known.digest in self.known:
                continue
            try:
                # An earlier one of this batch may have brought newer roots.
                current = authenticate(self.state, item.copies)
                self._admit(current, report)
            except ForkedStream:
                raise
            except (TrustError, WireError) as error:
                refused[item.known.digest] = error
        return refused

    def _admit(self, item: Authentic, report: Report) -> None:
        known = item.known
        self.state = self.state.with_root(item.trusted)
        verdict = self._judge(item.trusted, item.release, known)
        with self._store.ledger.read() as tx:
            manifest = known.manifest
            old = tx.bundle(manifest.stream, manifest.epoch, manifest.sequence)
        if old is not None and old.manifest != known.digest:
            # Of an epoch that has ended: nothing to stop any more.
            raise DamagedPart(f"sequence {manifest.sequence} of an old epoch has two manifests")
        documents = keep_documents(self._store, item.copies)
        with self._store.ledger.write() as tx:
            record_bundle(tx, known, documents, self._now)
            self._apply(tx, verdict, known, report)
            if isinstance(verdict, Held):
                letter = dumps({"release": documents[1], "roots": documents[2:-1]})
                self._hold(tx, verdict, known, letter.decode("ascii"))
        self.known[known.digest] = known

    def review_held(self, report: Report) -> None:
        """Judge the bundles again that were held: the clock may be right now."""
        with self._store.ledger.read() as tx:
            holds = [h for h in tx.holds(self.state.stream) if "letter" in h.detail]
        for hold in holds:
            known = self.known.get(Digest(str(hold.detail["manifest"])))
            letter = loads(str(hold.detail["letter"]).encode("ascii"), cap=_LETTER)
            if known is None or not isinstance(letter, dict):
                continue
            roots = letter["roots"]
            assert isinstance(roots, list)
            trusted = walk_roots(self.state.roots, [self._document(root) for root in roots])
            release = verify_release(
                trusted, self._document(letter["release"]), known.manifest.encode()
            )
            verdict = self._judge(trusted, release, known)
            if isinstance(verdict, Held):
                continue
            with self._store.ledger.write() as tx:
                self._apply(tx, verdict, known, report)
                tx.clear_hold(hold.key)

    def _document(self, digest: object) -> bytes:
        return self._store.small(Digest(str(digest)), MAX_DOCUMENT)

    def _judge(self, trusted: TrustedRoot, release: Release, known: Known) -> Verdict:
        manifest = known.manifest
        facts = _facts(known)
        claims: dict[int, Digest] = {}
        for other in self.known.values():
            if other.epoch == known.epoch and other.digest != known.digest:
                claims.update(other.claims)
        try:
            return judge(self.state, trusted, release, facts, now=self._now, known=claims)
        except ForkedStream as error:
            self._stop(error, manifest)
            raise

    def _apply(self, tx: WriteTransaction, verdict: Verdict, known: Known, report: Report) -> None:
        manifest = known.manifest
        kind = type(verdict).__name__.lower()
        if isinstance(verdict, Accept):
            self.state = verdict.state
            report.accepted.append(known.name)
            # Somebody with a key for every day may sign any sequence: no list of all before it.
            have = {one.sequence for one in self.known.values() if one.epoch == manifest.epoch}
            gap = first_missing(verdict.missing, have)
            report.missing += gap
            if gap:
                last = next(n for n in reversed(verdict.missing) if n not in have)
                count = len(verdict.missing) - sum(n in verdict.missing for n in have)
                tx.event("bundle.gap", manifest.stream, first=gap[0], last=last, count=count)
            kind = "accepted"
        elif not isinstance(verdict, Held):
            report.late.append(known.name)
        tx.set_trust_state(manifest.stream, self.state.to_bytes())
        tx.event(
            f"bundle.{kind}",
            manifest.stream,
            epoch=manifest.epoch,
            manifest=known.digest,
            sequence=manifest.sequence,
        )
        if manifest.orders:
            tx.event("orders.unknown", manifest.stream, count=len(manifest.orders))

    def _hold(self, tx: WriteTransaction, verdict: Held, known: Known, letter: str) -> None:
        reason = verdict.reason
        tx.set_hold(
            Hold(
                key=f"{known.key}:held",
                stream=known.manifest.stream,
                repository="",
                kind="clock" if isinstance(reason, ClockAhead) else "expired",
                reason=str(reason),
                remedy=reason.remedy,
                since=self._now,
                detail={
                    "created": format_time(known.manifest.created),
                    "letter": letter,
                    "manifest": known.digest,
                },
            )
        )

    def _stop(self, error: SluiceError, manifest: Manifest) -> None:
        with self._store.ledger.write() as tx:
            tx.set_hold(
                Hold(
                    key=fork_key(manifest.stream),
                    stream=manifest.stream,
                    repository="",
                    kind="fork",
                    reason=str(error),
                    remedy=error.remedy,
                    since=self._now,
                    detail={"epoch": manifest.epoch, "sequence": manifest.sequence},
                )
            )
            tx.event(
                "stream.forked",
                manifest.stream,
                epoch=manifest.epoch,
                sequence=manifest.sequence,
                reason=str(error),
            )


def fork_key(stream: str) -> str:
    """The hold that stops a stream; only an operator clears it."""
    return f"stream:{stream}:forked"


def _facts(known: Known) -> BundleFacts:
    manifest = known.manifest
    return BundleFacts(
        stream=manifest.stream,
        epoch=manifest.epoch,
        sequence=manifest.sequence,
        previous=manifest.previous,
        created=manifest.created,
        manifest=known.digest,
        heartbeat=manifest.kind == "heartbeat",
    )
