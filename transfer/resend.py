"""Sending again: which parts, under which new names, and whether they can still be made.

A part that is sent again has the bytes of the first time and another name, since some
carriers refuse a name that they have seen. How often each part was sent again is kept
in the ledger, and counted up *before* a part is handed over: a run that was killed
leaves a number unused, never a name used twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from manifests.bundle import Index, PartName
from manifests.canonical import dumps, loads
from manifests.digest import Digest
from manifests.errors import BlobMissing, UsageError
from manifests.state import format_time, parse_time
from store.ledger import ReadTransaction, WriteTransaction
from store.records import BundleRecord
from store.store import Store
from transfer.plan import read_manifest
from transfer.recreate import letter_key

_CAP = 16 << 20


def parse_parts(text: str, count: int) -> list[int]:
    """Part numbers from ``3,7-9``, sorted. Raises UsageError for what is none of 1 to ``count``."""
    found: set[int] = set()
    for word in text.split(","):
        first, dash, last = word.strip().partition("-")
        ends = (first, last if dash else first)
        if not all(end.isascii() and end.isdigit() and len(end) <= 5 for end in ends):
            raise UsageError(f"not part numbers: {text[:80]!r}", remedy="write them as 3,7-9")
        low, high = map(int, ends)
        if not 1 <= low <= high <= count:
            raise UsageError(
                f"there is no part {word.strip()[:20]}", remedy=f"the bundle has parts 1 to {count}"
            )
        found.update(range(low, high + 1))
    return sorted(found)


def sent_bundle(
    tx: ReadTransaction, stream: str, sequence: int, epoch: int | None = None
) -> BundleRecord:
    """A bundle that was handed over. Raises UsageError if there is none of that number.

    Without ``epoch``, of the newest.
    """
    bundles = [bundle for bundle in tx.bundles(stream) if bundle.released is not None]
    if not bundles:
        raise UsageError(
            "nothing was released yet", where=stream, remedy="`sync`, `pack`, and then `send`"
        )
    wanted = bundles[0].epoch if epoch is None else epoch
    found = next((b for b in bundles if (b.epoch, b.sequence) == (wanted, sequence)), None)
    if found is None:
        newest = bundles[0]
        raise UsageError(
            f"there is no bundle {sequence} in epoch {wanted}",
            where=stream,
            remedy=f"the newest is bundle {newest.sequence} of epoch {newest.epoch}",
        )
    if found.sent is None:
        raise UsageError(
            f"bundle {sequence} was not sent yet", where=stream, remedy="`sluice send` sends it"
        )
    return found


def missing_for_resend(store: Store, bundle: BundleRecord) -> int:
    """How many blobs of a bundle are gone, so that its parts cannot be made again; 0: none."""
    with store.ledger.read() as tx:
        letter = tx.get_meta(letter_key(bundle))
    if not letter or not all(map(store.blobs.has, (Digest(letter), bundle.manifest))):
        return 1
    manifest = read_manifest(store, bundle.manifest)
    if manifest.index.size and not store.blobs.has(manifest.index.digest):
        return 1
    if not manifest.index.size:
        return 0
    with Index.map(store.blobs.path(manifest.index.digest)) as index:
        return sum(not store.blobs.has(entry.stored) for entry in index.entries())


def require_resendable(store: Store, bundle: BundleRecord) -> None:
    """Raises BlobMissing, in words for the operator, once a bundle left the resend window."""
    gone = missing_for_resend(store, bundle)
    if gone:
        raise BlobMissing(
            f"bundle {bundle.sequence} has left the resend window: {gone} of its blobs are gone",
            where=bundle.stream,
            remedy=f"send what is missing anew: `sluice pack --since {max(1, bundle.sequence - 1)}`"
            " or `sluice pack --full`; a larger `resend_window` keeps more bundles",
        )


def resent(tx: ReadTransaction, bundle: BundleRecord) -> dict[int, tuple[int, datetime]]:
    """By part, how often it was sent again, and when last."""
    text = tx.get_meta(_key(bundle))
    if not text:
        return {}
    value = loads(text.encode("ascii"), cap=_CAP)
    assert isinstance(value, dict)
    found = {}
    for part, entry in value.items():
        assert isinstance(entry, list)
        found[int(part)] = (int(str(entry[0])), parse_time(str(entry[1])))
    return found


def next_names(
    tx: WriteTransaction, bundle: BundleRecord, parts: Sequence[int], now: datetime
) -> dict[int, PartName]:
    """The names under which ``parts`` go out again; from this commit on they count as used."""
    counts = resent(tx, bundle)
    names = {}
    for part in parts:
        number = counts.get(part, (0, now))[0] + 1
        counts[part] = (number, now)
        names[part] = _name(bundle, part, number)
    text = dumps({str(part): [n, format_time(at)] for part, (n, at) in sorted(counts.items())})
    tx.set_meta(_key(bundle), text.decode("ascii"))
    return names


def earlier_names(tx: ReadTransaction, bundle: BundleRecord) -> Iterator[tuple[int, str, datetime]]:
    """Part, name and moment of all that was sent again, for carriers that end old files."""
    for part, (count, at) in resent(tx, bundle).items():
        for number in range(1, count + 1):
            yield part, str(_name(bundle, part, number)), at


def _name(bundle: BundleRecord, part: int, number: int) -> PartName:
    return PartName(bundle.stream, bundle.epoch, bundle.sequence, part, bundle.parts, number)


def _key(bundle: BundleRecord) -> str:
    """Where the ledger counts (at most 64 bytes)."""
    return f"resent:{bundle.manifest[:40]}"
