"""What was adopted from a folder, as the ledger remembers it.

The *adopted tree* names every file that was taken; both zones make the same one of the
same folder. Until the repository has its next snapshot the tree keeps the blobs; after that
its text is kept alone, since a bundle may still be based on it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from manifests.digest import Digest, sha256_of
from store.ledger import ReadTransaction, WriteTransaction
from store.records import PinKind

_PREFIX: Final = "adopted:"


@dataclass(frozen=True, slots=True)
class Adopted:
    """``tree`` was adopted for ``repository`` (the name that this zone uses)."""

    repository: str
    tree: Digest
    at: datetime
    keeps: bool
    """It keeps the blobs, too."""


def journal_key(repository: str) -> str:
    """Under which name the files of an unfinished adoption are remembered."""
    return f"adopt/{sha256_of(repository.encode())[:40]}"


def adopted(tx: ReadTransaction, repository: str) -> Adopted | None:
    """What was adopted last for a repository."""
    return next((one for one in all_adopted(tx) if one.repository == repository), None)


def all_adopted(tx: ReadTransaction) -> Iterator[Adopted]:
    """All of a zone, by repository."""
    for pin in tx.pins():
        if pin.key.startswith(_PREFIX):
            name = pin.key.removeprefix(_PREFIX)
            yield Adopted(name, pin.digests[0], pin.at, pin.kind is PinKind.TREES)


def keep_adopted(tx: WriteTransaction, repository: str, tree: Digest) -> None:
    """Remember the tree and keep its blobs; what was adopted before is let go."""
    tx.pin(_PREFIX + repository, [tree], PinKind.TREES, "adopted")


def settle_adopted(tx: WriteTransaction, repository: str) -> None:
    """A snapshot keeps its own blobs now: keep the text alone."""
    found = adopted(tx, repository)
    if found is not None and found.keeps:
        tx.pin(_PREFIX + repository, [found.tree], PinKind.BLOBS, "adopted")


def let_go_adopted(tx: WriteTransaction, repository: str) -> bool:
    """Nothing is based on it any more; whether there was anything."""
    return tx.unpin(_PREFIX + repository)


def drop_adopted(tx: WriteTransaction, repository: str) -> bool:
    """Let go of it, also of an adoption that was broken off; whether there was one."""
    begun = tx.work_open(journal_key(repository)) is not None
    forget_journal(tx, repository)
    return let_go_adopted(tx, repository) or begun


def forget_journal(tx: WriteTransaction, repository: str) -> None:
    """The adoption has ended: nothing is to be gone on with."""
    tx.forget_validators(journal_key(repository))
    tx.end_work(journal_key(repository))
