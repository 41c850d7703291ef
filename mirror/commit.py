"""What a sync writes into the ledger, each step in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from manifests import errors
from manifests.digest import Digest, sha256_of
from manifests.provenance import Origin
from manifests.state import Snapshot, format_time, parse_time
from manifests.zone import model as zone
from mirror.attempts import Built
from mirror.gaps import no_exception
from mirror.report import printable
from mirror.settings import Settings
from store.adopted import settle_adopted
from store.ledger import ReadTransaction, WriteTransaction
from store.origins import drop_origin, keep_origin
from store.records import AcceptedMissing, Hold, StoredSnapshot
from store.store import Store

FIRST_SERIAL = "serials/first"
"""Key of the ledger: the least serial of a new snapshot, of whatever repository."""
_LEAP = 1000
_MAX_ACCEPTED = 4096
"""Characters of a path that is accepted as missing."""


def last_sync(tx: ReadTransaction, repository: str) -> datetime | None:
    """When a sync last ended well, whether it found anything new or not."""
    text = tx.get_meta(_meta_key("synced", repository))
    return None if text is None else parse_time(text)


def leap_serials(tx: WriteTransaction) -> int:
    """Let new snapshots begin far above all known ones; returns the first serial.

    A ledger that was restored does not know what was given out after its backup, and the
    inside refuses a serial that it has with other content. Raises StoreError.
    """
    known = [stored.snapshot.serial for stored in tx.snapshots("")]
    first = max([int(tx.get_meta(FIRST_SERIAL) or 1), *known]) + _LEAP
    tx.set_meta(FIRST_SERIAL, str(first))
    return first


def _meta_key(what: str, repository: str) -> str:
    # A name may have 64 characters, as many as a key.
    return f"{what}/{sha256_of(repository.encode())[:40]}"


def _public(address: str) -> str:
    """An address that may cross: a mirror list may name one with a user or a token in it."""
    return re.sub(r"//[^/@\s]*@", "//", address).partition("?")[0]


class Committer:
    """Writes for one repository. ``actor`` is who events are by; "" the system's user."""

    def __init__(
        self, store: Store, repository: zone.Repository, actor: str, now: Callable[[], datetime]
    ) -> None:
        self._store = store
        self._repository = repository
        self.name = repository.name
        self._actor = actor
        self._now = now

    def previous(self) -> StoredSnapshot | None:
        """The newest snapshot; None also if its tree is lost: nothing can build on it."""
        with self._store.ledger.read() as tx:
            newest = tx.newest_snapshot("", self.name)
        lost = newest is not None and not self._store.blobs.has(newest.snapshot.tree)
        return None if lost else newest

    def exceptions(self) -> list[AcceptedMissing]:
        """What people accepted as missing."""
        with self._store.ledger.read() as tx:
            return tx.exceptions(self.name)

    def verified(self, keys: str) -> Digest | None:
        """A tree whose packages were verified with these keys."""
        with self._store.ledger.read() as tx:
            tree, _, by = (tx.get_meta(self._signed_key) or "").partition(" ")
        return Digest(tree) if keys and by == keys and self._store.blobs.has(Digest(tree)) else None

    @property
    def _signed_key(self) -> str:
        return _meta_key("signed", self.name)

    def to_accept(self, paths: Sequence[str], reason: str) -> list[AcceptedMissing]:
        """What is to be recorded of files that a person accepts as missing, if they are.

        Nothing of those that are recorded already. Raises UsageError.
        """
        for path in paths:
            if not path or len(path) > _MAX_ACCEPTED or printable(path, _MAX_ACCEPTED) != path:
                raise errors.UsageError(
                    f"not a path in a repository: {printable(path)}",
                    where=self.name,
                    remedy="copy the path as `sluice status` shows it",
                )
        known = {row.path for row in self.exceptions()}
        by, at = self._actor or self._store.ledger.actor, self._now()
        new = [path for path in dict.fromkeys(paths) if path not in known]
        return [AcceptedMissing(self.name, path, reason, by, at) for path in new]

    def accept(self, rows: Sequence[AcceptedMissing]) -> None:
        """Record that a person accepted files as missing."""
        if not rows:
            return
        with self._store.ledger.write(self._actor) as tx:
            for row in rows:
                tx.event(
                    "sync.missing-accepted",
                    repository=self.name,
                    path=row.path,
                    reason=row.reason,
                )
                tx.accept_missing(self.name, row.path, row.reason, row.by, row.at)

    def require_again(self, paths: Sequence[str]) -> None:
        """Take back that files were accepted as missing. Raises UsageError."""
        with self._store.ledger.write(self._actor) as tx:
            known = tx.exceptions(self.name)
            for path in paths:
                if not tx.drop_exception(self.name, path):
                    raise no_exception(path, known)
                tx.event("sync.missing-withdrawn", repository=self.name, path=path)

    def hold(self, error: errors.SluiceError, kind: str, detail: dict[str, object]) -> None:
        """Remember why the sync could not end. Says so on ``error`` if even that fails."""
        hold = Hold(
            key=self._hold_key,
            stream="",
            repository=self.name,
            kind=kind,
            reason=printable(str(error), 1000),
            remedy=error.remedy,
            since=self._now(),
            detail=detail,
        )
        try:
            with self._store.ledger.write(self._actor) as tx:
                old = tx.hold(hold.key)
                tx.set_hold(hold)
                if old is None or (old.kind, old.reason) != (hold.kind, hold.reason):
                    tx.event("sync.held", repository=self.name, cause=kind, reason=hold.reason)
        except errors.SluiceError as failure:
            error.add_note(f"the hold could not be recorded: {failure}")

    @property
    def _hold_key(self) -> str:
        return f"sync/{self.name}"

    def unchanged(self, built: Built | None, settings: Settings) -> None:
        """Nothing is new: holds end, and what the upstream said of its indexes is kept."""
        with self._store.ledger.write(self._actor) as tx:
            self._remember(tx, built, settings)
            if tx.hold(self._hold_key) is not None:
                self._release(tx)

    def _serial(self, tx: ReadTransaction, newest: StoredSnapshot | None) -> int:
        """One more than the newest, and never one that a lost ledger may have given out."""
        least = int(tx.get_meta(FIRST_SERIAL) or 1)
        return least if newest is None else max(least, newest.snapshot.serial + 1)

    def snapshot(self, built: Built, settings: Settings, removals_accepted: int) -> Snapshot:
        """Commit a snapshot, drop the oldest beyond ``keep``, end the holds."""
        with self._store.ledger.write(self._actor) as tx:
            newest = tx.newest_snapshot("", self.name)
            snapshot = Snapshot(
                repository=self.name,
                format=self._repository.format,
                serial=self._serial(tx, newest),
                tree=built.tree.digest,
                tree_size=built.tree.size,
                files=built.tree.files,
                bytes=built.tree.bytes,
                created=self._now(),
            )
            tx.add_snapshot(StoredSnapshot("", snapshot, built.gathered.source))
            if removals_accepted:
                tx.event("sync.removals-accepted", repository=self.name, files=removals_accepted)
            done = tx.event(
                "sync.done",
                repository=self.name,
                serial=snapshot.serial,
                tree=snapshot.tree,
                files=snapshot.files,
                bytes=snapshot.bytes,
                added=built.counts.added,
                updated=built.counts.updated,
                removed=built.counts.removed,
                advice=len(built.problems),
            )
            keep_origin(tx, self._origin(snapshot, built, settings, done.actor))
            old = tx.snapshots("", self.name)[max(1, self._repository.keep) :]
            for stored in old:
                tx.drop_snapshot("", self.name, stored.snapshot.serial)
                drop_origin(tx, self.name, stored.snapshot.serial)
            if old:
                serials = [stored.snapshot.serial for stored in old]
                tx.event("snapshots.dropped", repository=self.name, serials=serials[:100])
            self._remember(tx, built, settings)
            settle_adopted(tx, self.name)
            if tx.hold(self._hold_key) is not None:
                self._release(tx)
        return snapshot

    def _origin(self, snapshot: Snapshot, built: Built, settings: Settings, actor: str) -> Origin:
        """What the inside is told of where a snapshot came from."""
        keys = settings.keys
        return Origin(
            self.name,
            snapshot.serial,
            _public(built.gathered.source),
            snapshot.created,
            actor,
            "good" if keys.digest else "unchecked",
            bool(keys.digest) and self._repository.signers.check_packages,
            tuple(path.rpartition("/")[2].partition(".")[0] for path, _ in keys.files),
        )

    def _remember(self, tx: WriteTransaction, built: Built | None, settings: Settings) -> None:
        tx.set_meta(_meta_key("synced", self.name), format_time(self._now()))
        if built is None:
            return
        tx.set_validators(self.name, built.gathered.validators)
        for path in built.returned:
            tx.drop_exception(self.name, path)
            tx.event("sync.missing-returned", repository=self.name, path=path)
        if settings.keys.digest and self._repository.signers.check_packages:
            tx.set_meta(self._signed_key, f"{built.tree.digest} {settings.keys.digest}")

    def _release(self, tx: WriteTransaction) -> None:
        tx.clear_hold(self._hold_key)
        tx.event("sync.released", repository=self.name)
