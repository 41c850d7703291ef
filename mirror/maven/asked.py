"""Looking at the roots of a repository, and taking some away."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from manifests.errors import UsageError
from manifests.zone import model as zone
from store.records import Root, RootKind
from store.store import Store

_FROM_FILE = (RootKind.ARTIFACT, RootKind.BOM, RootKind.PROJECT)


def roots_of(store: Store, repository: zone.Repository) -> list[Root]:
    """What is asked of the repository: what zone.yaml names now, and the ledger's other rows."""
    with store.ledger.read() as tx:
        rows = tx.roots(repository.name)
        now = tx.now()
    known = {(one.kind, one.root): one for one in rows}
    named = [
        (kind, str(root))
        for kind, roots in (
            (RootKind.ARTIFACT, repository.maven.artifacts),
            (RootKind.BOM, repository.maven.boms),
            (RootKind.PROJECT, repository.maven.projects),
        )
        for root in roots
    ]
    found = [
        known.get(key) or Root(repository.name, key[1], key[0], "zone.yaml", now) for key in named
    ]
    found += [one for one in rows if one.kind not in _FROM_FILE]
    return sorted(found, key=lambda one: (one.kind, one.root))


def remove_roots(
    store: Store, repository: zone.Repository, patterns: Sequence[str], *, actor: str = ""
) -> list[str]:
    """Ask no longer for what the names or globs stand for; what they were.

    The next sync drops the files, unless something else needs them. Raises UsageError for a
    pattern that stands for nothing, or for a line of zone.yaml.
    """
    rows = roots_of(store, repository)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        found = [one for one in rows if one.root == pattern] or [
            one for one in rows if fnmatchcase(one.root, pattern)
        ]
        if not found:
            raise UsageError(
                f"{pattern[:200]!r} is no root",
                where=repository.name,
                remedy=f"see: sluice roots {repository.name}",
            )
        for one in found:
            if one.kind in _FROM_FILE:
                raise UsageError(
                    f"{one.root} is named in zone.yaml",
                    where=repository.name,
                    remedy="remove it there; the next sync drops what only it needs",
                )
            chosen[one.root] = None
    with store.ledger.write(actor) as tx:
        for root in chosen:
            tx.drop_root(repository.name, root)
        tx.event("roots.removed", repository=repository.name, roots=list(chosen)[:100],
                 total=len(chosen))  # fmt: skip
    return list(chosen)
