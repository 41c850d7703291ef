"""The one error tree of Sluice.

Every error says *what* is wrong, *where*, and what to do (*remedy*); the
command line prints these as one line each and exits with ``exit_code``.

::

    SluiceError                    exit 1
     +-- UsageError                exit 2   the call's words are wrong
     |    +-- ConfigError                   zone.yaml or a key file is wrong
     +-- HeldError                 exit 3   something waits for an operator
     |    +-- RemovalsHeld                  a sync would drop too many files
     |    +-- TornUpstream                  the copy is not consistent in itself
     |    +-- ClockAhead                    a bundle is dated after our clock
     |    +-- ExpiredDocument               a signed document is past its expiry
     |    +-- IncompleteBundle              parts or blobs have not arrived
     |    +-- MediumFull                    a person has to change the medium
     +-- UpstreamError                      an upstream did not give what was asked
     |    +-- UpstreamUnreachable
     |    +-- UpstreamRefused               wrong password, module, status 4xx
     |    +-- UpstreamMismatch              other bytes than were promised
     +-- FormatError                        an index from outside cannot be used
     |    +-- MalformedIndex
     |    +-- OversizedIndex                larger than promised, or a bomb
     |    +-- ForbiddenXml                  entities or a document type
     |    +-- SignatureInvalid              an upstream's own signature fails
     +-- TreeError
     |    +-- BadPath                       a path that may not enter a tree
     |    +-- MalformedTree                 not the canonical text
     +-- WireError                          a part or bundle does not hold together
     |    +-- MalformedPart
     |    +-- DamagedPart                   a digest does not match
     |    +-- MixedParts                    parts of different bundles
     |    +-- MalformedManifest
     +-- TrustError                         a signed document may not be believed
     |    +-- NotCanonical                  not byte for byte what signing produces
     |    +-- Unsigned                      too few valid signatures
     |    +-- ForeignRoot                   another root of trust than the pinned one
     |    +-- ForeignSlip                   a return slip of another zone or stream
     |    +-- StaleSlip                     a return slip older than one accepted before
     |    +-- ForkedStream        exit 3    two manifests for one sequence
     +-- CarrierError                  a carrier cannot move or read a file
     |    +-- ArrivalChanged                it changed or went since it was seen
     |    +-- DamagedFrame                  bytes on a connection that are no frame
     |    +-- PeerRefused                   who connected may not, or asks too much
     +-- StoreError
          +-- BlobMissing
          +-- BlobDamaged
          +-- NoSpace                       less than ``reserve_free`` would be left
          +-- StoreBusy                     another process holds the lock
          +-- BackupDamaged                 not whole, or not what was saved
          +-- LedgerDamaged                 the ledger or its event chain is wrong
          +-- WrongVersion                  written by another version of Sluice
"""

from __future__ import annotations

from typing import ClassVar


class SluiceError(Exception):
    """Base of all errors that Sluice raises on purpose."""

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        """One line: ``where: what``."""
        return f"{self.where}: {self.what}" if self.where else self.what


class UsageError(SluiceError):
    """The call cannot be carried out as it was written."""

    exit_code = 2


class ConfigError(UsageError):
    """zone.yaml, a key file or an environment variable is wrong."""


class HeldError(SluiceError):
    """Something waits for missing data or for an operator."""

    exit_code = 3


class RemovalsHeld(HeldError):
    """A sync would drop more files than ``max_removals`` allows."""


class TornUpstream(HeldError):
    """The upstream changed while it was read, or is broken in itself."""


class ClockAhead(HeldError):
    """A bundle is dated more than a day after the local clock."""


class ExpiredDocument(HeldError):
    """A signed document is past its expiry; it changes no state."""


class IncompleteBundle(HeldError):
    """Parts or blobs of a bundle have not arrived."""


class MediumFull(HeldError):
    """A removable medium is full; a person inserts the next one."""


class UpstreamError(SluiceError):
    """An upstream did not give what was asked of it."""


class UpstreamUnreachable(UpstreamError):
    """No connection, a broken one, or a time-out after all retries."""


class UpstreamRefused(UpstreamError):
    """The upstream answered no: wrong password, unknown module, status 4xx."""


class UpstreamMismatch(UpstreamError):
    """The upstream sent other bytes than it promised."""


class FormatError(SluiceError):
    """An index or file from outside cannot be used."""


class MalformedIndex(FormatError):
    """An index does not follow its specification."""


class OversizedIndex(FormatError):
    """An index is larger than promised or allowed."""


class ForbiddenXml(FormatError):
    """XML with a document type, an entity or an external reference."""


class SignatureInvalid(FormatError):
    """An upstream's own signature is missing, wrong, or by another key."""


class TreeError(SluiceError):
    """A tree or a path in it is not what a tree may hold."""


class BadPath(TreeError):
    """A path that may not enter a tree."""


class MalformedTree(TreeError):
    """Text that is not a canonical tree or tree delta."""


class WireError(SluiceError):
    """A part or a bundle does not hold together."""


class MalformedPart(WireError):
    """A file that is not a part, or a part whose head cannot be read."""


class DamagedPart(WireError):
    """A part whose bytes do not have the promised digest."""


class MixedParts(WireError):
    """Parts that claim the same place in different bundles."""


class MalformedManifest(WireError):
    """A manifest, part table or index that does not follow the format."""


class TrustError(SluiceError):
    """A signed document may not be believed."""


class NotCanonical(TrustError):
    """A document that is not byte for byte what signing produces."""


class Unsigned(TrustError):
    """Fewer valid signatures than the role's threshold."""


class ForeignRoot(TrustError):
    """A root chain that does not start at the pinned root of trust."""


class ForeignSlip(TrustError):
    """A return slip that is signed by no key pinned here, or is of another stream."""


class StaleSlip(TrustError):
    """A return slip that is older than one that was accepted, or of an ended epoch."""


class ForkedStream(TrustError):
    """Two different manifests carry the same sequence; the stream stops for an operator."""

    exit_code = 3


class CarrierError(SluiceError):
    """A carrier cannot move, read or put aside a file."""


class ArrivalChanged(CarrierError):
    """A file changed, was swapped or went away since the carrier saw it; look again."""


class DamagedFrame(CarrierError):
    """Bytes on a connection that are no frame, or one whose hash does not match."""


class PeerRefused(CarrierError):
    """A peer was turned away: another certificate, too many, too slow, or too much."""


class StoreError(SluiceError):
    """The store cannot do what was asked."""


class BlobMissing(StoreError):
    """A blob is not in the store."""


class BlobDamaged(StoreError):
    """A blob's bytes do not have its digest."""


class NoSpace(StoreError):
    """The work would leave less than ``reserve_free`` on the disk."""


class StoreBusy(StoreError):
    """Another process holds a lock that this work needs."""


class BackupDamaged(StoreError):
    """A backup is not whole, or not what was saved."""


class LedgerDamaged(StoreError):
    """The ledger, or the hash chain of its events, is wrong."""


class WrongVersion(StoreError):
    """Store, ledger, zone.yaml or wire were written by another version."""


def is_stop(error: BaseException | None) -> bool:
    """Whether ``error`` is a wish to stop that unwinds what is under way, and no failure."""
    return isinstance(error, SystemExit | KeyboardInterrupt)
