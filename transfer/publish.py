"""Publication: a snapshot goes live when, and only when, everything of it is here.

Rules, for the newest accepted state table of a stream:

- A row is complete when its tree is here and valid and every blob it names is
  here in its promised size. Complete rows become snapshots, also those of older
  bundles and of repositories that this zone does not serve: later bundles may
  rely on them down to the ``retain`` floor.
- A complete row is published after the checker and the upstream's signatures were
  satisfied. What is ready goes live in one transaction; the members of a
  ``together`` group wait for each other.
- A rollback is sticky: a publication that an operator moved back stays until a
  snapshot arrives that the zone did not know when it was moved.
- A late bundle never changes a publication.
- What is live is published again where the store lost its derived metadata.
- A repository that the state table no longer names keeps its last publication;
  status names it. Nothing is held for it.
- A served name belongs to the stream that took it first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from manifests.digest import Digest
from manifests.errors import BlobMissing, SluiceError, StoreError, TreeError
from manifests.formats.base import Severity
from manifests.state import Snapshot, StateRow
from manifests.tree import parse
from manifests.zone import InsideStream
from store.adopted import let_go_adopted
from store.ledger import ReadTransaction
from store.records import Hold, Publication, StoredSnapshot
from store.store import Store
from store.verify import HOLD
from transfer.arrivals import Checker, Deriver, Report, Signatures
from transfer.changes import Fresh, inside_accounts, keep_account
from transfer.ending import close, forget_snapshots, is_over, is_settled, let_go
from transfer.known import Known
from transfer.missing import LISTED, Lack, Missing
from transfer.rollback import rolled_past


@dataclass(frozen=True, slots=True)
class Judges:
    """What decides, beside completeness, whether a snapshot may go live."""

    checker: Checker
    signatures: Signatures
    deriver: Deriver


@dataclass(slots=True)
class _Ready:
    """A row that may go live under ``name``."""

    name: str
    row: StateRow
    overlay: Digest | None
    fresh: Fresh


@dataclass(slots=True)
class Publisher:
    """Evaluates the newest state of one stream."""

    store: Store
    stream: InsideStream
    judges: Judges
    now: datetime
    failed: Mapping[Digest, str] = field(default_factory=dict)
    """Trees that could not be decoded, and why."""

    def run(self, newest: Known, bundles: Sequence[Known], report: Report) -> None:
        """Record what is complete, publish what is ready, hold the rest."""
        for known in sorted(bundles, key=lambda k: k.order):
            if not known.imported and known is not newest:
                self._record(known)
        complete, holds = self._record_newest(newest, bundles)
        ready: list[_Ready] = []
        for row in complete:
            outcome = self._judge(row)
            if isinstance(outcome, Hold):
                holds.append(outcome)
            elif outcome is not None:
                ready.append(outcome)
        ready, waiting = self._together(newest, ready, holds)
        self._commit(newest, bundles, ready, [*holds, *waiting], report)

    # Completeness

    def _record(self, known: Known) -> None:
        """Snapshots of an older bundle, as far as they are complete."""
        for row in known.manifest.state.rows:
            with self.store.ledger.read() as tx:
                have = tx.snapshot(self.stream.name, row.repository, row.serial)
            if have is None and self.store.blobs.has(row.tree):
                self._complete(row, known)

    def _record_newest(
        self, newest: Known, bundles: Sequence[Known]
    ) -> tuple[list[StateRow], list[Hold]]:
        complete, holds = [], []
        missing = Missing(self.store, bundles, newest)
        for row in newest.manifest.state.rows:
            with self.store.ledger.read() as tx:
                have = tx.snapshot(self.stream.name, row.repository, row.serial)
            try:
                if have is not None and have.snapshot.tree == row.tree:
                    found = None
                else:
                    found = self._complete(row, newest)
            except (TreeError, StoreError) as error:
                holds.append(self._hold(row, "unusable", str(error), error.remedy))
                continue
            if found is None:
                complete.append(row)
            else:
                holds.append(self._missing_hold(row, found, missing))
        return complete, holds

    def _complete(self, row: StateRow, known: Known) -> Lack | None:
        """None once the row is a snapshot; else what is missing."""
        if not self.store.blobs.has(row.tree):
            return Lack(tree=row.tree)
        tree = self.store.tree(row.tree)
        if tree.size != row.tree_size:
            raise TreeError(
                f"its tree has {tree.size} bytes, the state table says {row.tree_size}",
                where=row.repository,
            )
        files = total = 0
        lack = Lack()
        for entry in parse(tree.blocks()):
            files += 1
            total += entry.size
            blobs = self.store.blobs
            if not blobs.has(entry.digest) or blobs.size(entry.digest) != entry.size:
                lack.add(entry.path, entry.digest)
        if lack.count:
            return lack
        snapshot = Snapshot(
            row.repository, row.format, row.serial, row.tree, row.tree_size, files, total,
            known.manifest.created,
        )  # fmt: skip
        with self.store.ledger.write() as tx:
            tx.add_snapshot(StoredSnapshot(self.stream.name, snapshot, f"bundle {known.name}"))
        return None

    def _missing_hold(self, row: StateRow, lack: Lack, missing: Missing) -> Hold:
        places = missing.places(lack)
        if lack.tree is None:
            reason = f"{lack.count} files of snapshot {row.serial} are not here"
        else:
            why = self.failed.get(row.tree)
            reason = f"the tree of snapshot {row.serial} is not here" + (f": {why}" if why else "")
        items = [path for path, _ in lack.paths[:LISTED]]
        detail = {"items": items, "total": lack.count, "tree": row.tree, **places.detail()}
        return self._hold(row, "incomplete", reason, places.remedy(), detail)

    # Judging

    def _judge(self, row: StateRow) -> _Ready | Hold | None:
        """Ready, held, or None if there is nothing to do."""
        name = self.stream.local_name(row.repository)
        if name is None:
            return None
        with self.store.ledger.read() as tx:
            live = tx.publication(name)
            if live is not None and live.stream != self.stream.name:
                return self._hold(
                    row,
                    "name-taken",
                    f"{name} is served from stream {live.stream} already",
                    "give it another name by `rename` in zone.yaml",
                )
            if live is not None and self._settled(tx, live, row):
                return None
        try:
            problems = [
                problem
                for problem in self.judges.checker(row.format, name, row.tree)
                if problem.severity is Severity.REQUIRED
            ]
            if problems:
                return self._problem_hold(row, [f"{p.path}: {p.what}" for p in problems])
            checked = bool(self.judges.signatures(row.format, name, row.tree))
            overlay = self._derive(row, name, live)
        except StoreError:
            raise
        except SluiceError as error:
            reason = f"{type(error).__name__}: {error}"
            return self._hold(row, "refused", reason, error.remedy)
        return _Ready(name, row, overlay, Fresh(row, live, checked))

    def _settled(self, tx: ReadTransaction, live: Publication, row: StateRow) -> bool:
        """Whether what is live needs no change for ``row``."""
        if (live.source_repository, live.serial, live.tree) == (
            row.repository,
            row.serial,
            row.tree,
        ):
            return self._is_derived(tx, live) or not self._is_whole(row.tree)
        return live.rolled_back and row.serial <= rolled_past(tx, live.repository)

    # What the store may have lost

    def _derive(self, row: StateRow, name: str, live: Publication | None) -> Digest | None:
        """The overlay, from the one before if that still can be read."""
        try:
            return self.judges.deriver(row.format, name, row.tree, live)
        except BlobMissing:
            if live is None:
                raise
            return self.judges.deriver(row.format, name, row.tree, None)

    def _is_derived(self, tx: ReadTransaction, live: Publication) -> bool:
        """Whether the derived metadata is here; all of it where `verify` found a damage."""
        if live.overlay is None:
            return True
        if tx.hold(f"{HOLD}{live.stream}/{live.source_repository}") is None:
            return self.store.blobs.has(live.overlay)
        return self._is_whole(live.overlay)

    def _is_whole(self, tree: Digest) -> bool:
        return self.store.blobs.has(tree) and next(self.store.missing(tree), None) is None

    def _problem_hold(self, row: StateRow, problems: list[str]) -> Hold:
        first = problems[0] + (f" and {len(problems) - 1} more" if len(problems) > 1 else "")
        return self._hold(
            row,
            "check",
            f"snapshot {row.serial} is not complete in itself: {first}",
            "have the outside sync again and send another bundle",
            {"items": problems[:LISTED], "total": len(problems)},
        )

    def _together(
        self, newest: Known, ready: list[_Ready], holds: list[Hold]
    ) -> tuple[list[_Ready], list[Hold]]:
        """Take out those whose group is not ready as a whole."""
        held = {hold.key.removeprefix(self._prefix) for hold in holds}
        waiting: list[Hold] = []
        groups = [set(group) for group in newest.manifest.together]
        changed = True
        while changed:
            changed = False
            for group in groups:
                blocked = sorted(held & group)
                if not blocked:
                    continue
                for item in [item for item in ready if item.row.repository in group]:
                    ready.remove(item)
                    held.add(item.row.repository)
                    changed = True
                    waiting.append(
                        self._hold(
                            item.row,
                            "together",
                            f"snapshot {item.row.serial} waits for {', '.join(blocked)}",
                            "see what is held there",
                        )
                    )
        return ready, waiting

    # Committing

    def _commit(
        self,
        newest: Known,
        bundles: Sequence[Known],
        ready: Sequence[_Ready],
        holds: Sequence[Hold],
        report: Report,
    ) -> None:
        made = [
            Publication(
                repository=item.name,
                stream=self.stream.name,
                format=item.row.format,
                source_repository=item.row.repository,
                serial=item.row.serial,
                tree=item.row.tree,
                overlay=item.overlay,
                published=self.now,
            )
            for item in ready
        ]
        with self.store.ledger.read() as tx:
            standing = {
                h.key: h for h in tx.holds(self.stream.name) if h.key.startswith(self._prefix)
            }
            closed = [
                known
                for known in bundles
                if not known.imported and is_over(self.store, tx, known, newest)
            ]
            free = [
                known
                for known in bundles
                if known.pinned
                and (known.imported or known in closed)
                and is_settled(tx, known, newest)
            ]
        keys = {hold.key for hold in holds}
        unchanged = all(_same(standing.get(hold.key), hold) for hold in holds)
        if not made and not closed and not free and unchanged and keys == set(standing):
            return
        accounts = inside_accounts(
            self.store, self.stream.name, bundles, newest, [item.fresh for item in ready], self.now
        )
        with self.store.ledger.write() as tx:
            if made:
                tx.publish(made)
            for publication in made:
                let_go_adopted(tx, publication.repository)
                tx.event(
                    "publication",
                    self.stream.name,
                    publication.repository,
                    serial=publication.serial,
                    tree=publication.tree,
                    changes=list(accounts.values()),
                )
            for known, account in accounts.items():
                keep_account(tx, (known.stream, known.epoch, known.sequence), account, "published")
            for key in set(standing) - keys:
                tx.clear_hold(key)
            for hold in holds:
                if not _same(standing.get(hold.key), hold):
                    tx.event("held", hold.stream, hold.repository, reason=hold.reason)
                tx.set_hold(hold)
            for known in closed:
                close(tx, known, self.now)
                known.imported = True
            let_go(tx, bundles, newest)
            forget_snapshots(tx, self.stream, newest)
        report.published += made

    @property
    def _prefix(self) -> str:
        return f"import:{self.stream.name}:"

    def _hold(
        self,
        row: StateRow,
        kind: str,
        reason: str,
        remedy: str,
        detail: Mapping[str, object] | None = None,
    ) -> Hold:
        return Hold(
            key=f"{self._prefix}{row.repository}",
            stream=self.stream.name,
            repository=self.stream.local_name(row.repository) or row.repository,
            kind=kind,
            reason=reason,
            remedy=remedy,
            since=self.now,
            detail=detail or {},
        )


def _same(old: Hold | None, new: Hold) -> bool:
    return old is not None and (old.reason, old.remedy, old.kind) == (
        new.reason,
        new.remedy,
        new.kind,
    )
