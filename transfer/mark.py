"""The high-water mark in a second place, so that a restored ledger accepts no replay.

A small file beside the ledger's own record of what was accepted (canonical JSON)::

    {"epoch": 1, "floor": TIME or null, "manifest": DIGEST or null, "released": N,
     "roots": [DIGEST...], "sequence": N, "stream": NAME, "version": 1}

``roots`` are the digests of the trusted root documents: a mark of another root of trust
means nothing. Where file and ledger disagree the higher one wins.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from manifests import canonical
from manifests.canonical import Record
from manifests.digest import sha256_of
from manifests.documents import read_root
from manifests.durable import Durable, publish_file
from manifests.errors import SluiceError, StoreError
from manifests.state import format_time, parse_time
from manifests.trust import TrustState
from manifests.zone import InsideStream
from store.records import Hold
from store.store import Store

_VERSION: Final = 1
_CAP: Final = 1 << 20
_FIELDS = ("epoch", "floor", "manifest", "released", "roots", "sequence", "stream", "version")


def read_mark(path: Path, state: TrustState) -> TrustState | None:
    """``state`` moved to what the file says; None without a file, or one of another root.

    Raises StoreError for a file that cannot be read or is not ours.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_CAP + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, str(error.strerror)) from error
    try:
        record = Record(
            canonical.loads(data, cap=_CAP, where="mark"), where="mark", required=_FIELDS
        )
        record.number("version", least=_VERSION, most=_VERSION)
        floor, manifest = record.value["floor"], record.value["manifest"]
        roots = {str(digest) for digest in record.items("roots", most=2048)}
        marked = replace(
            state,
            epoch=record.number("epoch", least=1),
            sequence=record.number("sequence"),
            manifest=None if manifest is None else record.digest("manifest"),
            released=record.number("released"),
            time_floor=None if floor is None else parse_time(str(floor)),
        )
        stream = record.text("stream", most=64)
    except SluiceError as error:
        raise _unusable(path, error.what) from error
    return marked if stream == state.stream and roots & _roots(state) else None


def further(state: TrustState, marked: TrustState | None) -> TrustState:
    """Of the ledger's state and the file's, what is further in each respect."""
    if marked is None or marked.epoch < state.epoch:
        return state
    if marked.epoch > state.epoch:
        return marked
    floors = [moment for moment in (state.time_floor, marked.time_floor) if moment is not None]
    ahead = marked if marked.sequence > state.sequence else state
    return replace(
        ahead,
        released=max(state.released, marked.released),
        time_floor=max(floors, default=None),
    )


def raised(store: Store, stream: InsideStream, state: TrustState, now: datetime) -> TrustState:
    """The ledger's state, or what the second place says if that is higher, with an alarm.

    Raises StoreError for a file that cannot be used.
    """
    if stream.mark is None:
        return state
    marked = read_mark(stream.mark, state)
    higher = further(state, marked)
    if higher == state:
        if marked is not None and not same_mark(state, marked):
            _tell(store, "mark.behind", state, marked)
        return state
    with store.ledger.write() as tx:
        tx.set_trust_state(stream.name, higher.to_bytes())
        tx.set_hold(
            Hold(
                key=f"stream:{stream.name}:restored",
                stream=stream.name,
                repository="",
                kind="restored",
                reason=f"the ledger stood at bundle {state.epoch}/{state.sequence}, the mark beside"
                f" it at {higher.epoch}/{higher.sequence}: it was restored from a backup; the"
                " higher one counts",
                remedy=f"outside: `resend {higher.released}`, or `pack --full` and `send`",
                since=now,
                detail={
                    "ledger": f"{state.epoch}/{state.sequence}",
                    "mark": f"{higher.epoch}/{higher.sequence}",
                },
            )
        )
    _tell(store, "mark.ahead", state, higher)
    return higher


def keep_mark(store: Store, stream: InsideStream, state: TrustState) -> None:
    """Bring the second place up to what the ledger has committed."""
    if stream.mark is None or state.manifest is None:
        return
    if not same_mark(state, read_mark(stream.mark, state)):
        write_mark(store.files, stream.mark, state)


def _tell(store: Store, kind: str, state: TrustState, marked: TrustState) -> None:
    with store.ledger.write() as tx:
        tx.event(
            kind,
            state.stream,
            ledger=f"{state.epoch}/{state.sequence}",
            mark=f"{marked.epoch}/{marked.sequence}",
        )


def write_mark(files: Durable, path: Path, state: TrustState) -> None:
    """Make the file say what ``state`` says."""
    if not path.parent.is_dir():
        files.mkdir(path.parent)
    publish_file(
        files,
        path,
        canonical.dumps(
            {
                "epoch": state.epoch,
                "floor": state.time_floor and format_time(state.time_floor),
                "manifest": state.manifest,
                "released": state.released,
                "roots": sorted(_roots(state)),
                "sequence": state.sequence,
                "stream": state.stream,
                "version": _VERSION,
            }
        ),
    )


def same_mark(one: TrustState, other: TrustState | None) -> bool:
    """Whether two states have the same mark, whatever their roots."""
    return other is not None and replace(other, roots=one.roots) == one


def _roots(state: TrustState) -> set[str]:
    return {sha256_of(read_root(root).payload) for root in state.roots}


def _unusable(path: Path, why: str) -> StoreError:
    return StoreError(
        f"the second place of the high-water mark cannot be used: {why}",
        where=str(path),
        remedy="put the file back from where it was moved to; only if nobody can have touched it, "
        "remove it, and the ledger's own mark counts",
    )
