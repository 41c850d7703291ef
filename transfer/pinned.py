"""The pinned root of trust: where an inside begins to believe, and how a fork ends."""

from __future__ import annotations

from manifests.documents import read_root
from manifests.errors import ForeignRoot
from manifests.trust import TrustState
from store.records import Hold
from store.store import Store
from transfer.admit import fork_key


def end_fork(store: Store, stream: str, epoch: int) -> None:
    """A person pinned a root of a later epoch, in which the two manifests mean nothing."""
    with store.ledger.write() as tx:
        tx.clear_hold(fork_key(stream))
        tx.event("stream.fork-ended", stream, epoch=epoch)


def epoch_of(fork: Hold) -> int:
    """The epoch in which a stream forked."""
    epoch = fork.detail.get("epoch")
    return epoch if isinstance(epoch, int) else 0


def trust_state(store: Store, stream: str, pinned_root: bytes) -> TrustState:
    """What the ledger remembers, or a fresh start if another root was pinned.

    Raises ForeignRoot for a root of another stream, and what `TrustState.fresh` raises.
    """
    with store.ledger.read() as tx:
        raw = tx.trust_state(stream)
    fresh = TrustState.fresh(pinned_root)
    if fresh.stream != stream:
        raise ForeignRoot(
            f"the pinned root speaks for the stream {fresh.stream}",
            where=stream,
            remedy="name the stream in zone.yaml as the outside does, or pin another root",
        )
    if raw is None:
        return fresh
    state = TrustState.from_bytes(raw)
    pinned = read_root(pinned_root)
    if any(read_root(root).payload == pinned.payload for root in state.roots):
        return state
    with store.ledger.write() as tx:
        tx.set_trust_state(stream, fresh.to_bytes())
        tx.event("trust.pinned", stream, root=pinned.fingerprint)
    return fresh
