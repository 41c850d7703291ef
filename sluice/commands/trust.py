"""``sluice trust`` and ``sluice keys``: who may release, whose packages are believed."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from manifests.documents import ROLES, RootDocument
from manifests.durable import publish_file
from manifests.errors import UsageError
from manifests.roots import read_pinned
from manifests.trust import TrustState, expiring_soon
from manifests.zone import InsideStream, InsideZone, OutsideStream
from mirror.commit import leap_serials
from sluice.ceremonies import StreamKeys
from sluice.context import Context
from sluice.keys import KEY_TYPES, passphrase_from
from sluice.pinned import pinned_root
from sluice.text import fingerprint, table, when
from sluice.wiring import read_key_files
from store.signatures import read_keys


def register(commands: Any) -> None:
    trust = commands.add_parser("trust")
    steps = trust.add_subparsers(metavar="show|export|create|rotate|renew", required=True)

    show = steps.add_parser("show", help="fingerprint, keys, thresholds and expiry")
    show.set_defaults(command=show_trust)

    export = steps.add_parser("export", help="write the root that the inside pins")
    export.add_argument("file", type=Path, metavar="FILE")
    export.set_defaults(command=export_root)

    create = steps.add_parser("create", help="keys for one more stream of this zone")
    add_key_options(create)
    create.set_defaults(command=create_keys)

    rotate = steps.add_parser("rotate", help="replace the keys of a role by new ones")
    rotate.add_argument("role", choices=ROLES)
    rotate.add_argument("--key-type", choices=KEY_TYPES, default="ed25519")
    rotate.set_defaults(command=rotate_role)

    renew = steps.add_parser("renew", help="a new root version with a later expiry")
    renew.add_argument(
        "--new-epoch",
        action="store_true",
        help="also let sequences begin again: the way out of a fork",
    )
    renew.set_defaults(command=renew_root)

    for step in (show, export, create, rotate, renew):
        step.add_argument("--stream", metavar="NAME", help="needed if there are several")
    for step in (rotate, renew):
        step.add_argument(
            "--root-key-to",
            type=Path,
            metavar="DIR",
            help="the folder with the root key (default: keys/NAME/root)",
        )

    keys = commands.add_parser("keys")
    acts = keys.add_subparsers(metavar="list|approve|withdraw", required=True)
    acts.add_parser("list", help="all keys and whether a person approved them").set_defaults(
        command=list_keys
    )
    for word, function, text in (
        ("approve", approve_key, "offer this key to clients, after comparing its fingerprint"),
        ("withdraw", withdraw_key, "offer this key no more"),
    ):
        act = acts.add_parser(word, help=text)
        act.add_argument("fingerprint", metavar="FINGERPRINT")
        act.set_defaults(command=function)


def add_key_options(command: argparse.ArgumentParser) -> None:
    """The options of whoever makes the first keys of a stream."""
    command.add_argument(
        "--root-key-to",
        type=Path,
        metavar="DIR",
        help="write the root key there (removable media) instead of keys/NAME/root",
    )
    command.add_argument("--key-type", choices=KEY_TYPES, default="ed25519")
    command.add_argument(
        "--release-keys",
        type=int,
        default=1,
        metavar="N",
        help="make N keys that release bundles (default 1)",
    )
    command.add_argument(
        "--release-threshold",
        type=int,
        default=1,
        metavar="M",
        help="so many of them must sign each bundle (default 1)",
    )


def make_keys(keys: StreamKeys, options: argparse.Namespace, now: datetime) -> RootDocument:
    """The first keys of a stream, as `add_key_options` says. Raises UsageError."""
    return keys.create(
        now,
        key_type=options.key_type,
        keep={"targets": options.release_keys},
        thresholds={"targets": options.release_threshold},
    )


def where_root_key_lies(keys: StreamKeys, options: argparse.Namespace) -> None:
    """Remind of the root key if it was left on this host."""
    if options.root_key_to is None:
        print(
            f"its key lies in {keys.root_folder}: move it to removable media"
            " before this host goes into service"
        )


def stream_of(context: Context, name: str | None) -> OutsideStream | InsideStream:
    """The stream that a command is about. Raises UsageError when that is not clear."""
    streams: Mapping[str, OutsideStream | InsideStream] = context.zone.streams
    if name is None and len(streams) == 1:
        return next(iter(streams.values()))
    known = ", ".join(streams) or "none"
    if name is None:
        raise UsageError("which stream?", remedy=f"say --stream NAME; streams here: {known}")
    if name not in streams:
        raise UsageError(f"there is no stream {name}", remedy=f"streams here: {known}")
    return streams[name]


def stream_keys(
    context: Context, stream: OutsideStream, root_folder: Path | None = None
) -> StreamKeys:
    """The key files of a stream."""
    return StreamKeys(
        context.files,
        stream.name,
        stream.keys,
        root_folder.absolute() if root_folder else None,
        passphrase=passphrase_from(os.environ),
    )


def _newest(context: Context, stream: OutsideStream | InsideStream) -> RootDocument:
    if isinstance(stream, OutsideStream):
        return stream_keys(context, stream).trusted().newest
    with context.store.ledger.read() as tx:
        saved = tx.trust_state(stream.name)
    if saved is None:
        return pinned_root(stream)
    return read_pinned(TrustState.from_bytes(saved).roots[-1])


def show_trust(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    stream = stream_of(context, options.stream)
    root = _newest(context, stream)
    print(f"stream       {root.stream}")
    print(f"root         version {root.version}, epoch {root.epoch}")
    print(f"fingerprint  {fingerprint(root.fingerprint)}")
    print(f"expires      {when(root.expires)}")
    rows = [("role", "must sign", "keys")]
    for role in ROLES:
        if role in root.roles:
            keys = root.roles[role]
            ids = " ".join(sorted(keyid[:16] for keyid in keys.keyids))
            rows.append((role, f"{keys.threshold} of {len(keys.keyids)}", ids))
    print(table(rows))
    for line in expiring_soon(root, context.now()):
        print(f"warning: {line}", file=sys.stderr)
    return 0


def export_root(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    stream = stream_of(context, options.stream)
    root = _newest(context, stream)
    publish_file(context.files, options.file.absolute(), root.data)
    print(f"wrote {options.file}: root version {root.version} of stream {root.stream}")
    print(f"fingerprint {fingerprint(root.fingerprint)}")
    return 0


def _outside_keys(options: argparse.Namespace) -> tuple[Context, StreamKeys]:
    context = Context.open(options.zone)
    _ = context.outside
    stream = stream_of(context, options.stream)
    assert isinstance(stream, OutsideStream)
    return context, stream_keys(context, stream, options.root_key_to)


def _tell(
    context: Context,
    keys: StreamKeys,
    kind: str,
    root: RootDocument,
    *,
    after_fork: bool = False,
    **more: str,
) -> int:
    with context.store.ledger.write(context.actor) as tx:
        tx.event(kind, keys.stream, version=root.version, epoch=root.epoch, **more)
    print(f"root version {root.version}, epoch {root.epoch}, expires {when(root.expires)}")
    print(f"fingerprint {fingerprint(root.fingerprint)}")
    if after_fork:
        print("if a fork stopped the stream, pin this root inside: `trust export`, carry it in,"
              " and put it in the place of the old one")  # fmt: skip
    else:
        print("the next bundle carries it inside; nothing has to be done there")
    return 0


def create_keys(options: argparse.Namespace) -> int:
    """For a stream that zone.yaml names and that has no keys yet."""
    context, keys = _outside_keys(options)
    root = make_keys(keys, options, context.now())
    with context.store.ledger.write(context.actor) as tx:
        tx.event("trust.created", keys.stream, version=root.version, epoch=root.epoch)
    print(f"made the keys of stream {keys.stream}")
    print(f"root of trust: {fingerprint(root.fingerprint)}")
    where_root_key_lies(keys, options)
    print(f"next: sluice -z {options.zone} trust export root.json --stream {keys.stream}")
    return 0


def rotate_role(options: argparse.Namespace) -> int:
    context, keys = _outside_keys(options)
    root = keys.rotate(options.role, context.now(), key_type=options.key_type)
    return _tell(context, keys, "trust.rotated", root, role=options.role)


def renew_root(options: argparse.Namespace) -> int:
    context, keys = _outside_keys(options)
    root = keys.renew(context.now(), new_epoch=options.new_epoch)
    if options.new_epoch:
        with context.store.ledger.write(context.actor) as tx:
            leap_serials(tx)
    return _tell(context, keys, "trust.renewed", root, after_fork=options.new_epoch)


def list_keys(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    with context.store.ledger.read() as tx:
        offered = tx.offered_keys()
    if not offered:
        print("no keys came in bundles")
        return 0
    pinned = _pinned(context, {key.repository for key in offered})
    rows = [("repository", "stream", "state", "fingerprint")]
    for key in offered:
        state = f"approved by {key.approved_by}" if key.approved else "not approved"
        if key.fingerprint in pinned.get(key.repository, ()):
            state = "pinned in zone.yaml"
        rows.append((key.repository, key.stream, state, key.fingerprint))
    print(table(rows))
    return 0


def _pinned(context: Context, repositories: set[str]) -> dict[str, set[str]]:
    """Fingerprints of the keys that ``require`` pins, by repository."""
    zone = context.zone
    if not isinstance(zone, InsideZone):
        return {}
    return {
        name: {
            key.fingerprint
            for armored in read_key_files(required.signed_by)
            for key in read_keys(armored)
        }
        for name, required in zone.require.items()
        if name in repositories
    }


def approve_key(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    _ = context.inside
    wanted = options.fingerprint.replace(" ", "").upper()
    with context.store.ledger.write(context.actor) as tx:
        known = {key.fingerprint for key in tx.offered_keys()}
        if wanted not in known:
            raise UsageError(
                f"no key with the fingerprint {wanted[:80]} came in a bundle",
                remedy="give the whole fingerprint, as `sluice keys list` shows it",
            )
        tx.approve_key(wanted, context.actor)
        tx.event("key.approved", fingerprint=wanted)
    print(f"approved {wanted}: clients are offered it from now on")
    return 0


def withdraw_key(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    _ = context.inside
    wanted = options.fingerprint.replace(" ", "").upper()
    with context.store.ledger.write(context.actor) as tx:
        if not tx.withdraw_key(wanted):
            raise UsageError(f"{wanted[:80]} was not approved", remedy="see `sluice keys list`")
        tx.event("key.withdrawn", fingerprint=wanted)
    print(f"withdrawn {wanted}: clients are offered it no more")
    return 0
