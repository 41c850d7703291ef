"""Who may sign: root chains, thresholds, and the proof of a release document.

Signatures follow the TUF specification 1.0 (sections 5.3 and 6.1) in all but
one point, in which we are stricter: a threshold counts different *public keys*,
never key ids, and a signature that is wrong or by a key that no trusted root
names for the role spoils its document (it would be bytes that nobody signed).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from manifests.caps import MAX_CHAIN, MAX_CHAIN_BYTES
from manifests.digest import Digest, sha256_of
from manifests.documents import ReleaseDocument, RootDocument, read_release, read_root
from manifests.errors import ForeignRoot, MalformedManifest, TrustError, Unsigned, WireError

_WALKS: Final = 4
"""Walks that are remembered, since all bundles of a backlog carry the same chain."""
_EXPORT: Final = "have the outside export its root (`sluice trust export FILE`), and carry that"


@dataclass(frozen=True, slots=True)
class TrustedRoot:
    """Root documents that were each proved by the one before, oldest first.

    The first is what a person pinned; the last, ``newest``, says who may sign.
    """

    roots: tuple[RootDocument, ...]

    @property
    def newest(self) -> RootDocument:
        return self.roots[-1]

    @property
    def stream(self) -> str:
        return self.newest.stream

    @property
    def epoch(self) -> int:
        return self.newest.epoch


@dataclass(frozen=True, slots=True)
class Release:
    """A release document whose signatures and manifest were verified.

    ``signers`` are the key ids that counted. Expiry is `judge`'s matter.
    """

    role: str
    sequence: int
    expires: datetime
    manifest: Digest
    signers: tuple[str, ...]


def walk_roots(trusted: Sequence[bytes], chain: Sequence[bytes]) -> TrustedRoot:
    """Follow a bundle's root chain from the trusted roots to its newest root.

    ``trusted`` is ``TrustState.roots``; ``chain`` has all versions from 1 on.
    Each root must be signed to threshold by the one before and by itself, keep
    the stream, and never lower the epoch; its own expiry does not matter here.
    Versions before the pinned root are checked but never used. A chain that
    ends early (a late bundle) adds nothing.

    Raises `ForeignRoot`, `Unsigned`, `MalformedManifest`, `NotCanonical`.
    """
    return _walk(tuple(trusted), tuple(chain))


@lru_cache(maxsize=_WALKS)
def _walk(trusted: tuple[bytes, ...], chain: tuple[bytes, ...]) -> TrustedRoot:
    """Nothing but these very bytes decides what comes out, so it may be remembered."""
    roots = [read_pinned(trusted[0])]
    for data in trusted[1:]:
        roots.append(_next_root(roots[-1], read_root(data, where="trusted root")))
    first, known = roots[0].version, roots[-1].version
    for root in _read_chain(chain):
        if root.version > known:
            roots.append(_next_root(roots[-1], root))
        elif root.version >= first and root.payload != roots[root.version - first].payload:
            # Equal content may have gathered further signatures; ours stays.
            if root.stream != roots[0].stream:
                raise ForeignRoot(
                    f"it is of the stream {root.stream}; this inbox is for {roots[0].stream}",
                    remedy="see that the carrier of each stream fills an inbox of its own",
                )
            raise ForeignRoot(
                f"root version {root.version} is not the trusted one "
                f"(pinned: {roots[0].fingerprint})",
                remedy=_FOREIGN,
            )
    return TrustedRoot(tuple(roots))


def _read_chain(chain: Sequence[bytes]) -> list[RootDocument]:
    """A chain that holds together in itself, from version 1; nobody trusts it yet."""
    if not chain:
        raise ForeignRoot("the bundle carries no root chain", remedy=_FOREIGN)
    size = sum(map(len, chain))
    if len(chain) > MAX_CHAIN or size > MAX_CHAIN_BYTES:
        raise MalformedManifest(
            f"a root chain of {len(chain)} documents, {size} bytes; at most "
            f"{MAX_CHAIN} and {MAX_CHAIN_BYTES} are allowed"
        )
    first = read_root(chain[0], where="root version 1")
    if first.version != 1:
        raise MalformedManifest(f"a root chain that starts at version {first.version}")
    _signers((first,), "root", first, where="root version 1")
    roots = [first]
    for data in chain[1:]:
        root = read_root(data, where=f"root version {len(roots) + 1}")
        roots.append(_next_root(roots[-1], root))
    return roots


_FOREIGN = (
    "compare the fingerprint with `trust show` on the outside; if the outside was set up anew, "
    "pin its root again"
)


def verify_release(trusted: TrustedRoot, document: bytes, manifest: bytes) -> Release:
    """Prove that the newest root's keys released exactly these manifest bytes.

    A targets document needs the role targets, a timestamp document the role
    timestamp; `judge` lets the latter pass for heartbeats only.

    Raises `Unsigned`, `MalformedManifest`, `NotCanonical`.
    """
    release: ReleaseDocument = read_release(document)
    signers = _signers(trusted.roots, release.role, release, where=f"{release.role} document")
    if len(manifest) != release.length or sha256_of(manifest) != release.manifest:
        raise Unsigned(
            "the manifest is not the one that was signed",
            where="manifest",
            remedy="have the bundle sent again",
        )
    return Release(release.role, release.version, release.expires, release.manifest, signers)


def read_pinned(data: bytes, *, where: str = "pinned root") -> RootDocument:
    """The root document that a person pinned; it must be signed to its own threshold.

    Signatures by keys of the version before, which is not at hand, are allowed.
    ``where`` names its file in errors.

    Raises `Unsigned`, `MalformedManifest`, `NotCanonical`.
    """
    try:
        root = read_root(data, where=where)
        _signers((root,), "root", root, where=where, unknown=True)
    except (TrustError, WireError) as error:
        error.remedy = _EXPORT
        raise
    return root


def _next_root(old: RootDocument, new: RootDocument) -> RootDocument:
    where = f"root version {new.version}"
    if new.version != old.version + 1:
        raise ForeignRoot(f"does not follow version {old.version}", where=where, remedy=_FOREIGN)
    if new.stream != old.stream or new.epoch < old.epoch:
        raise ForeignRoot(
            f"{new.stream} epoch {new.epoch} cannot follow {old.stream} epoch {old.epoch}",
            where=where,
            remedy=_FOREIGN,
        )
    _signers((new, old), "root", new, where=where)
    _signers((old, new), "root", new, where=where)
    return new


def _signers(
    roots: Sequence[RootDocument],
    role: str,
    document: RootDocument | ReleaseDocument,
    *,
    where: str,
    unknown: bool = False,
) -> tuple[str, ...]:
    """The key ids of ``role`` in the last of ``roots`` that signed ``document``.

    Counts public keys. Keys that only another of ``roots`` names may have
    signed as well, but do not count; any other signature is refused, unless
    ``unknown`` allows those of keys that none of ``roots`` names.
    """
    voter = roots[-1]
    counted: dict[Digest, str] = {}
    for keyid, signature in document.signatures.items():
        named = [root for root in reversed(roots) if keyid in root.roles[role].keyids]
        if not named and unknown:
            continue
        right = [root for root in named if root.keys[keyid].signed(signature, document.payload)]
        if not right:
            why = "is wrong" if named else f"is by no key of the role {role}"
            raise Unsigned(f"the signature of {keyid[:16]} {why}", where=where, remedy=_UNSIGNED)
        if right[0] is voter:
            counted.setdefault(voter.keys[keyid].fingerprint, keyid)
    threshold = voter.roles[role].threshold
    if len(counted) < threshold:
        raise Unsigned(
            f"signed by {len(counted)} of the {threshold} keys that the role {role} "
            f"needs under root version {voter.version}",
            where=where,
            remedy=_UNSIGNED,
        )
    return tuple(counted.values())


_UNSIGNED = "have it sent again; if it stays so, ask the outside which keys signed it"
