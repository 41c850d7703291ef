"""What a zone knows of itself, as one JSON document: ``status --json``, version 1.

docs/operations.md describes every key. A key is never taken away or given
another meaning without a new version number.
"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any

from manifests.documents import RootDocument
from manifests.errors import SluiceError
from manifests.formats.accepted import accepted
from manifests.roots import read_pinned
from manifests.state import Snapshot, format_time
from manifests.trust import TrustState, expiring_soon
from manifests.zone import InsideStream, InsideZone, OutsideStream, OutsideZone
from mirror.commit import last_sync
from repo_server.origins import claim_warnings
from repo_server.pair import certificate_warnings
from sluice.commands.trust import stream_keys
from sluice.context import Context
from sluice.damage import Damage
from sluice.held import all_holds, missing
from sluice.notices.deliver import waiting
from sluice.pinned import pinned_root
from sluice.running.standing import standing
from sluice.slips import confirmed
from sluice.volumes import read_taken
from store.ledger import ReadTransaction
from store.records import BundleRecord, Hold, Publication
from transfer.plan import read_manifest

STATUS_VERSION = 1
_MARKS = ("packed", "sent", "received", "imported")


def zone_status(context: Context) -> dict[str, Any]:
    """The whole document. It only reads; what of the store is lost stands in it, too."""
    zone = context.zone
    now = context.now()
    warnings: list[str] = []
    with context.store.ledger.read() as tx:
        damage = Damage(zone, context.store, tx)
        streams = {
            name: _stream(context, tx, stream, now, warnings, damage)
            for name, stream in zone.streams.items()
        }
        repositories = (
            _inside_repositories(context, tx, damage)
            if isinstance(zone, InsideZone)
            else _outside_repositories(tx, zone)
        )
        holds = [hold_json(hold) for hold in all_holds(zone, tx, now)]
        wants = tx.count_wants()
        generation = tx.generation()
        duties = standing(context, tx, now)
        notices = waiting(context, tx, now)
        live = tx.publications()
    if isinstance(zone, InsideZone) and zone.serve.tls is not None:
        warnings += certificate_warnings(zone.serve.tls, zone.serve.external_url, now)
    if isinstance(zone, InsideZone):
        claims = partial(claim_warnings, zone.serve, context.store, live)
        warnings += damage.guard("what images replace", lambda: list(claims())) or []
    return {
        "version": STATUS_VERSION,
        "zone": zone.kind.value,
        "folder": str(zone.folder),
        "time": format_time(now),
        "generation": generation,
        "streams": streams,
        "repositories": repositories,
        "holds": holds,
        "wants": wants,
        "warnings": warnings,
        "store": {
            "free_bytes": context.store.blobs.free_bytes(),
            "reserve_free": zone.reserve_free,
            "damage": [
                {"where": error.where, "what": error.what, "remedy": error.remedy}
                for error in damage.found
            ],
        },
        "notices": notices,
        **duties,
    }


def hold_json(hold: Hold) -> dict[str, Any]:
    """One hold, with what is missing."""
    return {
        "key": hold.key,
        "stream": hold.stream,
        "repository": hold.repository,
        "kind": hold.kind,
        "reason": hold.reason,
        "remedy": hold.remedy,
        "since": format_time(hold.since),
        "detail": dict(hold.detail),
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else format_time(moment)


def _mark(bundles: list[BundleRecord], name: str) -> dict[str, Any] | None:
    """The newest bundle for which a step is done."""
    for bundle in bundles:
        moment = getattr(bundle, name)
        if moment is not None:
            return {
                "epoch": bundle.epoch,
                "sequence": bundle.sequence,
                "time": format_time(moment),
            }
    return None


def _stream(
    context: Context,
    tx: ReadTransaction,
    stream: OutsideStream | InsideStream,
    now: datetime,
    warnings: list[str],
    damage: Damage,
) -> dict[str, Any]:
    bundles = tx.bundles(stream.name)
    newest = bundles[0] if bundles else None
    result: dict[str, Any] = {
        "carrier": stream.carrier,
        "epoch": newest.epoch if newest else None,
        "sequence": newest.sequence if newest else 0,
        "state_digest": newest.state if newest else None,
        **{mark: _mark(bundles, mark) for mark in _MARKS},
    }
    if isinstance(stream, OutsideStream):
        result["watermarks"] = {
            "packed": newest.sequence if newest else 0,
            "sent": (result["sent"] or {"sequence": 0})["sequence"],
            "confirmed": _confirmed(tx, stream.name, newest),
        }
        result["drafts"] = [draft.id for draft in tx.drafts(stream.name)]
        result["root"] = _outside_root(context, stream, now, warnings)
    else:
        result["root"] = _inside_root(tx, stream, now, warnings)
        lacks = damage.guard(f"what {stream.name} lacks", lambda: missing(context, tx, stream.name))
        result["missing"] = lacks or []
        result["incomplete"] = [bundle.sequence for bundle in bundles if bundle.imported is None]
        result["volumes"] = _volumes(tx, stream)
    return result


def _volumes(tx: ReadTransaction, stream: InsideStream) -> dict[str, Any] | None:
    if stream.carrier != "media":
        return None
    taken = read_taken(tx, stream.name)
    return {"last": taken.last, "wanted": [number for number, _ in taken.wanted()]}


def _confirmed(tx: ReadTransaction, stream: str, newest: BundleRecord | None) -> int | None:
    """What a return slip of this epoch said to be wholly inside."""
    said = confirmed(tx, stream)
    return said.sequence if said and newest and said.epoch == newest.epoch else None


def _outside_root(
    context: Context, stream: OutsideStream, now: datetime, warnings: list[str]
) -> dict[str, Any] | None:
    try:
        keys = stream_keys(context, stream)
        root = keys.trusted().newest
    except SluiceError as error:
        warnings.append(f"{stream.name}: {error}")
        return None
    here = keys.root_keys_here()
    if here:
        warnings.append(
            f"{stream.name}: the root key still lies in {keys.root_folder}:"
            " move it to removable media"
        )
    warnings += [f"{stream.name}: {line}" for line in expiring_soon(root, now)]
    return {
        "version": root.version,
        "epoch": root.epoch,
        "expires": format_time(root.expires),
        "fingerprint": root.fingerprint,
    }


def _inside_root(
    tx: ReadTransaction, stream: InsideStream, now: datetime, warnings: list[str]
) -> dict[str, Any] | None:
    saved = tx.trust_state(stream.name)
    root: RootDocument | None = None
    reached: dict[str, int] | None = None
    try:
        root = pinned_root(stream)
    except SluiceError as error:
        warnings.append(f"{stream.name}: nothing new is accepted: {error}")
    try:
        if saved is not None:
            state = TrustState.from_bytes(saved)
            root = read_pinned(state.roots[-1])
            reached = {"epoch": state.epoch, "sequence": state.sequence}
    except SluiceError as error:
        warnings.append(f"{stream.name}: the pinned root cannot be used: {error}")
        return None
    if root is None:
        return None
    warnings += [f"{stream.name}: {line}" for line in expiring_soon(root, now)]
    return {
        "version": root.version,
        "epoch": root.epoch,
        "expires": format_time(root.expires),
        "fingerprint": root.fingerprint,
        "accepted": reached,
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "serial": snapshot.serial,
        "time": format_time(snapshot.created),
        "files": snapshot.files,
        "bytes": snapshot.bytes,
        "tree": snapshot.tree,
    }


def _outside_repositories(tx: ReadTransaction, zone: OutsideZone) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name in sorted({*zone.repositories, *tx.repositories("")}):
        stored = tx.newest_snapshot("", name)
        spec = zone.repositories.get(name)
        result[name] = {
            "format": spec.format if spec else stored.snapshot.format if stored else None,
            "configured": spec is not None,
            "synced": _time(last_sync(tx, name)),
            "snapshot": _snapshot(stored.snapshot) if stored else None,
            "publication": None,
            "exceptions": [accepted.path for accepted in tx.exceptions(name)],
            "holds": [hold.key for hold in tx.holds(repository=name)],
        }
    return result


def _inside_repositories(context: Context, tx: ReadTransaction, damage: Damage) -> dict[str, Any]:
    result: dict[str, Any] = {}
    named = {
        name: damage.guard(
            f"what the outside of {name} sends", partial(_named_upstream, context, tx, name)
        )
        for name in context.zone.streams
    }
    for live in tx.publications():
        stored = tx.snapshot(live.stream, live.source_repository, live.serial)
        newest = tx.newest_snapshot(live.stream, live.source_repository)
        result[live.repository] = {
            "format": live.format,
            "stream": live.stream,
            "source": live.source_repository,
            "snapshot": _snapshot(newest.snapshot) if newest else None,
            "publication": _publication(live, stored.snapshot if stored else None),
            "withdrawn": _is_withdrawn(live, named.get(live.stream, set())),
            "exceptions": damage.guard(
                f"what {live.repository} lacks", partial(accepted_paths, context, live)
            )
            or [],
            "holds": [hold.key for hold in tx.holds(repository=live.repository)],
        }
    for hold in tx.holds():
        if hold.repository and hold.repository not in result:
            result[hold.repository] = {
                "format": None,
                "stream": hold.stream,
                "source": None,
                "snapshot": None,
                "publication": None,
                "exceptions": [],
                "holds": [h.key for h in tx.holds(repository=hold.repository)],
            }
    return result


def _is_withdrawn(live: Publication, named: set[str] | None) -> bool:
    """None: what the outside names cannot be read."""
    return named is not None and live.source_repository not in named


def _named_upstream(context: Context, tx: ReadTransaction, stream: str) -> set[str]:
    """The repositories that the newest accepted state table of a stream names."""
    saved = tx.trust_state(stream)
    if saved is None:
        return set()
    state = TrustState.from_bytes(saved)
    record = tx.bundle(stream, state.epoch, state.released)
    if record is None:
        return set()
    return {row.repository for row in read_manifest(context.store, record.manifest).state.rows}


def _publication(live: Publication, snapshot: Snapshot | None) -> dict[str, Any]:
    return {
        "serial": live.serial,
        "time": format_time(live.published),
        "files": snapshot.files if snapshot else None,
        "bytes": snapshot.bytes if snapshot else None,
        "tree": live.tree,
        "rolled_back": live.rolled_back,
    }


def accepted_paths(context: Context, live: Publication) -> list[str]:
    """Files that the outside accepted as missing, as the live tree says."""
    return sorted(accepted(context.store.view(live.tree)))
