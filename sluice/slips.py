"""Return slips: written inside, accepted outside. Nothing depends on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from securesystemslib.signer import CryptoSigner

from manifests.canonical import dumps, loads
from manifests.digest import Digest, sha256_of
from manifests.errors import ClockAhead, ForeignSlip, ForkedStream, StaleSlip, UsageError
from manifests.slip import Slip
from manifests.state import format_time, parse_time
from manifests.trust import TrustState
from manifests.wants import Want, WantsFile, ignored
from manifests.zone import InsideStream, OutsideStream
from sluice.accepting import accept, judge
from sluice.commands.trust import stream_keys
from sluice.context import Context
from sluice.keys import key_files, new_signer, read_key, write_key
from store.ledger import ReadTransaction, WriteTransaction
from store.records import BundleRecord
from transfer.known import load_known
from transfer.missing import outstanding
from transfer.resend import missing_for_resend

_AHEAD: Final = timedelta(days=1)
_CAP: Final = 1 << 16


# Inside


def slip_signer(context: Context, stream: str, passphrase: bytes | None) -> CryptoSigner:
    """The key that signs a stream's slips; made when it is first needed. Raises ConfigError."""
    folder = context.inside.folder / "trust"
    paths = key_files(folder, stream, "slip")
    if not paths:
        paths = [write_key(context.files, folder, stream, "slip", new_signer(), passphrase)]
    return read_key(paths[0], passphrase)


def public_text(signer: CryptoSigner) -> str:
    """The public key: what a person compares, and the outside pins."""
    return str(signer.public_key.keyval["public"])


def make_slip(context: Context, stream: InsideStream, key: str, *, wants: bool) -> Slip:
    """What there is to say. Raises UsageError before anything was accepted."""
    store = context.store
    with store.ledger.read() as tx:
        raw = tx.trust_state(stream.name)
        if raw is None:
            raise UsageError("no bundle was accepted yet: there is nothing to say")
        state = TrustState.from_bytes(raw)
        known = list(load_known(store, tx, stream.name).values())
        found = outstanding(tx, known, state)
        asked = _wants(context, tx, stream) if wants else ()
    whole, newest = found.whole, found.newest
    return Slip(
        stream.name,
        key,
        context.now(),
        state.epoch,
        state.sequence,
        None if newest is None else newest.manifest.state.digest,
        0 if whole is None else whole.sequence,
        None if whole is None else whole.manifest.state.digest,
        found.bundles,
        asked,
    )


def _wants(context: Context, tx: ReadTransaction, stream: InsideStream) -> tuple[Want, ...]:
    """By the outside's names, without what may not leave."""
    ours = {stream.local_name(name): name for name in tx.repositories(stream.name)}
    found = []
    for want in tx.wants():
        live = tx.publication(want.repository)
        if live is not None:
            theirs = live.source_repository if live.stream == stream.name else None
        else:
            theirs = ours.get(want.repository)
        if theirs is not None and not ignored(want.what, context.inside.wants.ignore):
            found.append(Want(theirs, want.what))
    return tuple(found)


# Outside


@dataclass(frozen=True, slots=True)
class Confirmed:
    """What the newest accepted slip of a stream said: all of bundle ``sequence`` is inside."""

    digest: Digest
    """Of the slip."""
    time: datetime
    epoch: int
    sequence: int


@dataclass(slots=True)
class Accepted:
    """What came of a slip. ``again``: it was accepted before."""

    slip: Slip
    again: bool
    resend: list[tuple[BundleRecord, list[int]]] = field(default_factory=list)
    """Bundles and parts that are missing inside and can be sent again."""
    gone: list[int] = field(default_factory=list)
    """Bundles that left the resend window: the next `pack` starts from the confirmed one."""
    wants: int = 0
    refused: list[tuple[Want, str]] = field(default_factory=list)


def pin_slip_key(tx: WriteTransaction, stream: str, key: str) -> None:
    """Believe slips that are signed by this key."""
    tx.set_meta(_meta("slip-key", stream), key)
    tx.event("slip.trusted", stream, key=key)


def confirmed(tx: ReadTransaction, stream: str) -> Confirmed | None:
    """What the newest accepted slip said."""
    text = tx.get_meta(_meta("slip", stream))
    if not text:
        return None
    value = loads(text.encode("ascii"), cap=_CAP)
    assert isinstance(value, dict)
    return Confirmed(
        Digest(str(value["digest"])),
        parse_time(str(value["time"])),
        int(str(value["epoch"])),
        int(str(value["sequence"])),
    )


def base_of_next(tx: ReadTransaction, stream: str, epoch: int) -> int | None:
    """From which bundle a slip made the next `pack` start; 0: a full one."""
    text = tx.get_meta(_meta("slip-base", stream))
    wanted, _, sequence = (text or "").partition(":")
    return int(sequence) if wanted == str(epoch) else None


def base_taken(tx: WriteTransaction, stream: str) -> None:
    """The next bundle is made."""
    tx.drop_meta(_meta("slip-base", stream))


def accept_slip(context: Context, stream: OutsideStream, slip: Slip, data: bytes) -> Accepted:
    """Move the confirmed mark, take the wants, and say what has to be sent again.

    Raises ForeignSlip, StaleSlip, ClockAhead, and ForkedStream when the inside knows bundles
    that this outside never made.
    """
    store, now = context.store, context.now()
    epoch = stream_keys(context, stream).trusted().epoch
    with store.ledger.read() as tx:
        before = confirmed(tx, stream.name)
        pinned = tx.get_meta(_meta("slip-key", stream.name))
        bundles = {b.sequence: b for b in tx.bundles(stream.name) if b.epoch == slip.epoch}
    if pinned is None or pinned != slip.key:
        known = "no key of an inside is" if pinned is None else "another key is"
        raise ForeignSlip(
            f"signed by {slip.key}; {known} trusted for this stream",
            where=stream.name,
            remedy="compare it with `sluice slip key` inside; if it is the same, here:"
            f" `sluice slip trust {slip.key}`",
        )
    digest = sha256_of(data)
    again = before is not None and before.digest == digest
    _check_age(stream, slip, epoch, None if again else before, now)
    _check_history(stream, slip, bundles)
    result = Accepted(slip, again)
    for number, parts in slip.missing:
        bundle = bundles.get(number)
        if bundle is None or bundle.sent is None or bundle.kind == "heartbeat":
            continue
        wanted = [part for part in parts or range(1, bundle.parts + 1) if part <= bundle.parts]
        if missing_for_resend(store, bundle):
            result.gone.append(number)
        else:
            result.resend.append((bundle, wanted))
    file = WantsFile(stream.name, slip.wants)
    judged = judge(context.outside, store, file)
    result.refused = [(each.want, each.reason) for each in judged if each.reason]
    new = [each.want for each in judged if not each.reason and not each.known]
    with store.ledger.write(context.actor) as tx:
        if new:
            result.wants = accept(tx, file, new, context.actor)
        note = {
            "digest": digest,
            "epoch": slip.epoch,
            "sequence": slip.whole,
            "time": format_time(slip.time),
        }
        tx.set_meta(_meta("slip", stream.name), dumps(note).decode("ascii"))
        if result.gone:
            tx.set_meta(_meta("slip-base", stream.name), f"{slip.epoch}:{slip.whole}")
        elif not again:
            base_taken(tx, stream.name)
        if not again:
            tx.event("slip.accepted", stream.name, epoch=slip.epoch, confirmed=slip.whole,
                     sequence=slip.sequence)  # fmt: skip
    return result


def _check_age(
    stream: OutsideStream, slip: Slip, epoch: int, before: Confirmed | None, now: datetime
) -> None:
    if slip.time > now + _AHEAD:
        raise ClockAhead(
            f"the slip was written at {format_time(slip.time)}, but the clock here says"
            f" {format_time(now)}",
            where=stream.name,
            remedy="set the clock that is wrong, then accept it again",
        )
    if before is not None and slip.time <= before.time:
        raise StaleSlip(
            f"written at {format_time(slip.time)}; one of {format_time(before.time)} was accepted",
            where=stream.name,
            remedy="have a new one written inside",
        )
    if slip.epoch < epoch:
        raise StaleSlip(
            f"it speaks of epoch {slip.epoch}, which has ended; this is epoch {epoch}",
            where=stream.name,
            remedy="have a new one written once bundles of this epoch have come",
        )
    if slip.epoch > epoch:
        raise _forked(stream, f"it speaks of epoch {slip.epoch}; here epoch {epoch} is the newest")


def _check_history(stream: OutsideStream, slip: Slip, bundles: dict[int, BundleRecord]) -> None:
    newest = max(bundles, default=0)
    if slip.sequence > newest:
        raise _forked(stream, f"the inside has bundle {slip.sequence}; the newest here is {newest}")
    bundle = bundles.get(slip.whole)
    if slip.whole and (bundle is None or bundle.state != slip.whole_state):
        raise _forked(stream, f"bundle {slip.whole} inside is another than the one made here")


def _forked(stream: OutsideStream, what: str) -> ForkedStream:
    return ForkedStream(
        what,
        where=stream.name,
        remedy="was this outside restored from a backup? then `sluice trust renew --new-epoch`;"
        " if not, somebody else signs with its keys",
    )


def _meta(kind: str, stream: str) -> str:
    """Where the ledger keeps it (at most 64 bytes)."""
    return f"{kind}:{sha256_of(stream.encode())[:40]}"
