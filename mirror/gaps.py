"""Files that a person accepts as missing: only those that are, and only as long as they are."""

from __future__ import annotations

import difflib
import heapq
from collections.abc import Sequence

from manifests import errors
from manifests.formats.base import EXCEPTIONS
from manifests.tree import Entry
from mirror.report import printable
from mirror.settings import ALL, Settings, exceptions_file
from store.records import AcceptedMissing
from store.store import KeptTree, Store

_SHOWN = 5


def not_missing(settings: Settings, paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that this sync did not find missing or wrong, as far as it can tell."""
    if ALL in settings.named:
        return []
    return [path for path in paths if path not in settings.named]


def slip_of_the_pen(settings: Settings, wrong: Sequence[str], repository: str) -> errors.UsageError:
    """The error for paths that were to be accepted and are not missing."""
    accepted = {row.path for row in settings.exceptions}
    missing = sorted(settings.named - accepted)
    # What has the path's beginning cut off, or too much of it, is near as well.
    near = difflib.get_close_matches(wrong[0], missing, 1, 0.5) or [
        path for path in missing if path.endswith(f"/{wrong[0]}") or wrong[0].endswith(f"/{path}")
    ]
    remedy = f"did you mean `{printable(near[0])}`? " if near else ""
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        remedy += f"missing or wrong: {', '.join(map(printable, missing[:_SHOWN]))}{more}"
    else:
        remedy += "nothing is missing: sync without --accept-missing"
    others = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return errors.UsageError(
        f"nothing was found missing or wrong at {printable(wrong[0])}{others}: not accepted",
        where=repository,
        remedy=remedy,
    )


def no_exception(path: str, exceptions: Sequence[AcceptedMissing]) -> errors.UsageError:
    """The error for a path that was to be required again and was never accepted."""
    known = [row.path for row in exceptions]
    near = difflib.get_close_matches(path, known, 1, 0.5)
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    accepted = f"{', '.join(known[:_SHOWN])}{more}" if known else "nothing"
    return errors.UsageError(
        f"{printable(path)} was not accepted as missing",
        remedy=f"{f'did you mean `{near[0]}`? ' if near else ''}accepted: {accepted}",
    )


def there_again(store: Store, settings: Settings, tree: KeptTree) -> list[AcceptedMissing]:
    """Accepted files that came with ``tree``, and in which nothing was found wrong.

    One that is as it was before counts on: its signature, say, is not looked at again.
    """
    if ALL in settings.named:
        return []
    previous = settings.previous
    old = None if previous is None else store.tree(previous.snapshot.tree)
    new = store.tree(tree.digest)
    found = []
    for row in settings.exceptions:
        entry = None if row.path in settings.named else new.lookup(row.path)
        if entry is not None and (old is None or old.lookup(row.path) != entry):
            found.append(row)
    return found


def without(
    store: Store, settings: Settings, tree: KeptTree, back: Sequence[AcceptedMissing]
) -> KeptTree:
    """``tree``, whose list of accepted files does not have those of ``back``. It is durable."""
    left = [row for row in settings.exceptions if row not in back]
    entries = (one for one in store.tree(tree.digest).entries() if one.path != EXCEPTIONS)
    with store.blobs.batch() as batch:
        private = [Entry(EXCEPTIONS, *batch.put_bytes(exceptions_file(left)))] if left else []
        made = store.keep_tree(
            heapq.merge(entries, private, key=lambda one: one.path.encode()), batch
        )
        batch.flush()
    return made
