"""Copy, build the tree, prove it; and again, as long as the upstream may be in an update."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import Problem, Spec
from manifests.tree import PRIVATE, Entry, diff
from manifests.zone import model as zone
from mirror.checking import Checker, signature_error, signature_problems
from mirror.gaps import there_again, without
from mirror.report import SHOWN, is_index, named, required
from mirror.settings import Settings
from mirror.source import Gathered, Plan, Source
from store.blobs import BlobBatch
from store.store import KeptTree, Store

_TORN_REMEDY = (
    "sync again when the upstream has finished its update; for a file that is broken "
    "upstream for good: sluice sync {name} --accept-missing PATH"
)
_REMOVALS_REMEDY = "if the upstream means it: sluice sync {name} --accept-removals"
FEW_REMOVALS = 20
"""So many files may always go: a share says nothing of a repository of ten files."""
_PAUSES = (2.0, 8.0, 30.0)
"""Seconds before the second and later attempts."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How a tree differs from the one before. Private files are not counted."""

    added: int = 0
    updated: int = 0
    removed: int = 0


@dataclass(frozen=True, slots=True)
class Built:
    """A tree that is proved complete; its blobs are durable."""

    tree: KeptTree
    gathered: Gathered
    problems: tuple[Problem, ...]
    counts: Counts
    attempts: int
    returned: tuple[str, ...] = ()
    """Accepted files that are there again, and required from now on."""


class Attempts:
    """One sync's work up to the commit."""

    def __init__(
        self,
        store: Store,
        repository: zone.Repository,
        spec: Spec,
        settings: Settings,
        checker: Checker,
        *,
        accept_removals: bool,
        pause: Callable[[float], None],
        most: int,
        detail: dict[str, object],
    ) -> None:
        self._store = store
        self._repository = repository
        self._spec = spec
        self._settings = settings
        self._checker = checker
        self._accept_removals = accept_removals
        self._pause = pause
        self._most = most
        self._detail = detail
        self._verified: Digest | None = None
        self.removals_accepted = 0
        """Files whose removal only ``accept_removals`` let pass."""

    def run(self, source: Source, verified: Digest | None) -> Built | None:
        """A proved tree, or None when nothing changed.

        ``verified`` is a tree whose packages were verified with the present keys.
        Raises what ``mirror.sync.sync`` names.
        """
        self._verified = verified
        wrong: list[str] = []
        for attempt in range(1, self._most + 1):
            last = attempt == self._most
            if attempt > 1:
                wait = _PAUSES[min(attempt - 2, len(_PAUSES) - 1)]
                self._pause(wait * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
            built = self._try(source, wrong, attempt, last=last)
            if isinstance(built, list):
                wrong = built
                continue
            return built
        raise AssertionError("not reached")

    def _try(
        self, source: Source, wrong: list[str], attempt: int, *, last: bool
    ) -> Built | list[str] | None:
        """One attempt. A list names what was wrong; on the last one that is an error."""
        self._settings.named.clear()
        with self._store.blobs.batch() as batch:
            try:
                gathered = source.gather(batch, wrong, self._guard)
            except errors.UpstreamMismatch:
                # As likely an upstream in the middle of its update as a broken one.
                if last:
                    raise
                return ["*"]
            if gathered is None:
                return None
            tree = self._build(gathered, batch)
        names = [problem for problem in gathered.problems if problem.what.startswith("bad name")]
        held = required(self._settings.weigh(names))
        if held:
            self._refuse_names(held)
        try:
            checked = list(self._checker.problems(self._repository.format, self._spec, tree.digest))
            signed = self._settings.weigh(self._signatures(tree))
        except errors.FormatError as error:
            if last:
                raise
            return [error.where] if error.where else ["*"]
        problems = self._settings.weigh([*gathered.problems, *checked])
        found = required(problems)
        if not found and not required(signed) and gathered.confirm():
            counts = self._compare(tree, gathered.expected)
            back = there_again(self._store, self._settings, tree)
            if back:
                tree = without(self._store, self._settings, tree, back)
            returned = tuple(row.path for row in back)
            return Built(tree, gathered, (*problems, *signed), counts, attempt, returned)
        if last:
            self._refuse(found, required(signed))
        return [problem.path for problem in [*found, *required(signed)]] or ["*"]

    def _build(self, gathered: Gathered, batch: BlobBatch) -> KeptTree:
        """The tree with our private files in it; durable on return."""
        raw = self._store.keep_tree(gathered.entries, batch)
        batch.flush()
        private = [Entry(path, *batch.put_bytes(data)) for path, data in self._settings.private()]
        if gathered.facts is None:
            private += self._checker.facts(self._repository.format, self._spec, raw.digest, batch)
        else:
            private += [Entry(path, *batch.put_bytes(data)) for path, data in gathered.facts()]
        for entry in private:
            if not entry.path.startswith(PRIVATE):
                raise errors.BadPath("a private file in a public place", where=entry.path)
        if not private:
            return raw
        private.sort(key=_key)
        whole = self._store.keep_tree(
            heapq.merge(self._store.tree(raw.digest).entries(), private, key=_key), batch
        )
        batch.flush()
        return whole

    def _signatures(self, tree: KeptTree) -> list[Problem]:
        return signature_problems(
            self._store,
            self._checker,
            self._repository.format,
            self._spec,
            tree.digest,
            self._settings.keys,
            packages=self._repository.signers.check_packages,
            before=self._verified,
        )

    # --- refusing

    def _refuse(self, found: list[Problem], signed: list[Problem]) -> None:
        name = self._repository.name
        self._detail |= {"items": named([*found, *signed]), "total": len(found) + len(signed)}
        if signed and not found:
            raise signature_error(signed, name)
        if not found:
            raise errors.TornUpstream(
                f"the upstream kept changing while it was read, {self._most} times in a row",
                where=name,
                remedy="sync again at another time of day, or choose another mirror",
            )
        count = "one file is" if len(found) == 1 else f"{len(found)} files are"
        raise errors.TornUpstream(
            f"{count} missing or wrong upstream after {self._most} attempts; "
            f"first {'; '.join(named(found[:3]))}",
            where=name,
            remedy=_TORN_REMEDY.format(name=name),
        )

    def _refuse_names(self, found: list[Problem]) -> None:
        name = self._repository.name
        self._detail |= {"items": named(found), "total": len(found)}
        raise errors.BadPath(
            f"{len(found)} files upstream have names that may not enter a tree; "
            f"first {'; '.join(named(found[:3]))}",
            where=name,
            remedy=f"have them renamed upstream, or go on without them: sluice sync {name} "
            "--accept-missing NAME",
        )

    def _guard(self, plan: Plan) -> None:
        """Refuse removals before anything is fetched, as far as they are known by then."""
        if self._settings.previous is None or self._accept_removals or not plan.removed:
            return
        before = self._payload_before()
        left = before - plan.removed + plan.added
        if too_many(plan.removed, before, left, self._repository.max_removals):
            self._refuse_removals(plan.removed, before, left, list(plan.first_removed))

    def _compare(self, tree: KeptTree, expected: frozenset[str]) -> Counts:
        """Compare with the newest snapshot. Raises RemovalsHeld."""
        previous = self._settings.previous
        if previous is None:
            return Counts(added=tree.files)
        added = updated = removed = gone = 0
        first: list[str] = []
        old, new = self._store.tree(previous.snapshot.tree), self._store.tree(tree.digest)
        for change in diff(old, new):
            if change.path.startswith(PRIVATE):
                continue
            added += change.before is None
            removed += change.after is None
            updated += change.before is not None and change.after is not None
            lost = change.after is None and change.path not in expected
            if lost and not is_index(self._repository.format, change.path):
                gone += 1
                if len(first) < SHOWN:
                    first.append(change.path)
        if gone:
            before, left = self._payload_before(), self._payload_of(tree.digest)
            if too_many(gone, before, left, self._repository.max_removals):
                if not self._accept_removals:
                    self._refuse_removals(gone, before, left, first)
                self.removals_accepted = gone
        return Counts(added, updated, removed)

    def _payload_before(self) -> int:
        """Files of the newest snapshot that are neither indexes nor private."""
        assert self._settings.previous is not None
        return self._payload_of(self._settings.previous.snapshot.tree)

    def _payload_of(self, tree: Digest) -> int:
        entries = self._store.tree(tree).entries()
        return sum(1 for entry in _payload(entries, self._repository.format))

    def _refuse_removals(self, gone: int, before: int, left: int, first: list[str]) -> None:
        name = self._repository.name
        self._detail |= {"items": first, "total": gone}
        share = f"{gone} of {before} files, more than {self._repository.max_removals:.0%}"
        what = share if left > 0 else f"{gone} of {before} files and leave none"
        raise errors.RemovalsHeld(
            f"this sync would drop {what}; first {', '.join(first[:3])}",
            where=name,
            remedy=_REMOVALS_REMEDY.format(name=name),
        )


def too_many(gone: int, before: int, left: int, share: float) -> bool:
    """Whether dropping ``gone`` of ``before`` files waits for a person.

    More than ``share`` of them (0 to 1) and more than ``FEW_REMOVALS``; or all, so that
    ``left`` files remain and that is none. A share of 0 allows no removal, 1 allows each.
    """
    if not gone or share >= 1:
        return False
    return not share or left <= 0 or (gone > FEW_REMOVALS and gone > share * before)


def _payload(entries: Iterator[Entry], format_name: str) -> Iterator[Entry]:
    for entry in entries:
        if not entry.path.startswith(PRIVATE) and not is_index(format_name, entry.path):
            yield entry


def _key(entry: Entry) -> bytes:
    return entry.path.encode()
