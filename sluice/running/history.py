"""When each duty last ran, kept in the ledger across restarts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from manifests.digest import sha256_of
from manifests.state import format_time, parse_time
from store.ledger import ReadTransaction
from store.store import Store


def _key(duty: str) -> str:
    # The name of a duty may be longer than a key of the ledger.
    return f"run/{sha256_of(duty.encode())[:40]}"


def note(store: Store, duty: str, began: datetime, ended: datetime, code: int) -> None:
    """Remember a run of ``duty``; ``code`` is its exit code. Raises StoreError."""
    with store.ledger.write() as tx:
        tx.set_meta(
            _key(duty),
            json.dumps({"began": format_time(began), "ended": format_time(ended), "code": code}),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """The last run of a duty."""

    began: datetime
    ended: datetime
    code: int


def last_run(tx: ReadTransaction, duty: str) -> Run | None:
    """None: never, or not that anybody remembers."""
    text = tx.get_meta(_key(duty))
    if text is None:
        return None
    found = json.loads(text)
    return Run(parse_time(found["began"]), parse_time(found["ended"]), int(found["code"]))


def newest_serial(store: Store, repository: str) -> int:
    """The serial of the newest snapshot that was mirrored here; 0 for none."""
    if not repository:
        return 0
    with store.ledger.read() as tx:
        stored = tx.newest_snapshot("", repository)
    return 0 if stored is None else stored.snapshot.serial
