"""``pack``, ``release`` and ``send``: snapshots to sealed parts to the carrier."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from manifests.errors import HeldError, SluiceError, UsageError
from manifests.state import format_time
from manifests.units import format_bytes
from manifests.zone import OutsideStream, OutsideZone
from sluice.beating import make_heartbeat
from sluice.commands.trust import stream_keys, stream_of
from sluice.context import Context
from sluice.errors import report
from sluice.progress import Progress
from sluice.sending import send_stream
from sluice.slips import base_of_next, base_taken
from sluice.text import plural, table
from store.records import BundleRecord
from transfer.pack import Draft, PackPlan, pack, plan, reject
from transfer.plan import Wish, full_is_due
from transfer.release import release


def register(commands: Any) -> None:
    packing = commands.add_parser("pack")
    packing.add_argument(
        "repositories", nargs="*", metavar="REPO", help="only these move on, before a backlog"
    )
    what = packing.add_mutually_exclusive_group()
    what.add_argument("--full", action="store_true", help="everything, whatever crossed before")
    what.add_argument(
        "--since", type=int, metavar="SEQ", help="all that changed after bundle SEQ once more"
    )
    packing.add_argument("--dry-run", action="store_true", help="say what would cross")
    packing.set_defaults(command=pack_streams)

    releasing = commands.add_parser("release")
    releasing.add_argument("draft", nargs="?", metavar="DRAFT", help="default: list the drafts")
    releasing.add_argument("--reject", action="store_true", help="throw the draft away instead")
    releasing.set_defaults(command=release_draft)

    sending = commands.add_parser("send")
    sending.add_argument("--dry-run", action="store_true", help="say what would be handed over")
    sending.set_defaults(command=send_streams)

    for command in (packing, sending):
        command.add_argument(
            "--quiet", action="store_true", help="say nothing when there is nothing to do"
        )
    for command in (packing, releasing, sending):
        command.add_argument("--stream", metavar="NAME", help="default: all streams")


def _streams(context: Context, name: str | None) -> list[OutsideStream]:
    zone = context.outside
    if name is None and zone.streams:
        return list(zone.streams.values())
    stream = stream_of(context, name)
    assert isinstance(stream, OutsideStream)
    return [stream]


def together(zone: OutsideZone, stream: OutsideStream) -> list[list[str]]:
    """The groups of a stream's repositories that are published at once."""
    groups: dict[str, list[str]] = {}
    for name in stream.repositories:
        group = zone.repositories[name].together
        if group is not None:
            groups.setdefault(group, []).append(name)
    return [sorted(names) for _, names in sorted(groups.items()) if len(names) > 1]


def pack_streams(options: argparse.Namespace) -> int:
    """One stream that fails never stops the others; the worst exit code is returned.

    A draft that waits for signatures counts as held.
    """
    context = Context.open(options.zone)
    worst = 0
    for stream in _streams(context, options.stream):
        try:
            worst = max(worst, _pack(context, stream, options))
        except SluiceError as error:
            report(error, about=stream.name)
            worst = max(worst, error.exit_code)
    return worst


def _pack(context: Context, stream: OutsideStream, options: argparse.Namespace) -> int:
    keys = stream_keys(context, stream)
    roots = keys.chain()
    epoch = keys.trusted().epoch
    groups = together(context.outside, stream)
    only = _chosen(stream, options.repositories, groups)
    if options.dry_run:
        wish = _wish(context, stream, options, only, epoch)
        planned = plan(
            context.store, stream, roots=roots, together=groups, wish=wish, now=context.now()
        )
        return _say_plan(context, stream, planned)
    at_once = keys.trusted().newest.roles["targets"].threshold == 1
    # For the whole of it: a second call must not release what this one is about to.
    with context.store.locks.named(f"pack-{stream.name}"):
        if at_once:
            # A run that was killed between packing and releasing left a draft.
            with context.store.ledger.read() as tx:
                left = tx.drafts(stream.name)
            for waiting in left:
                _tell(_release(context, stream, waiting.id))
        wish = _wish(context, stream, options, only, epoch)
        more, made = True, 0
        while more:
            progress = Progress(stream.name, "to write at most")
            draft = pack(
                context.store,
                stream,
                context.spool,
                roots=roots,
                together=groups,
                wish=wish if made == 0 else Wish(),
                now=context.now(),
                progress=progress.at,
            )
            progress.done()
            if draft is None:
                if not made and not options.quiet:
                    print(f"{stream.name}: {_nothing(context, stream)}")
                return 0
            made += 1
            if wish != Wish() and not only:
                with context.store.ledger.write(context.actor) as tx:
                    base_taken(tx, stream.name)
            if not at_once:
                return _say_draft(stream, draft, options)
            _tell(_release(context, stream, draft.id))
            more = draft.more
    return 0


def _chosen(
    stream: OutsideStream, names: Sequence[str], groups: Sequence[Sequence[str]]
) -> tuple[str, ...]:
    """``names`` and what is published together with them. Raises UsageError."""
    for name in names:
        if name not in stream.repositories:
            raise UsageError(
                f"no repository {name[:80]} in this stream",
                where=stream.name,
                remedy=f"repositories here: {', '.join(stream.repositories) or 'none'}",
            )
    chosen = set(names)
    for group in groups:
        if chosen & set(group):
            chosen |= set(group)
    return tuple(sorted(chosen))


def _wish(
    context: Context,
    stream: OutsideStream,
    options: argparse.Namespace,
    only: tuple[str, ...],
    epoch: int,
) -> Wish:
    """What the operator asked for, else what is due."""
    if options.full or options.since is not None or only:
        return Wish(options.full, options.since, only)
    with context.store.ledger.read() as tx:
        base = base_of_next(tx, stream.name, epoch)
        if base is not None:
            return Wish(since=base) if base else Wish(full=True)
        if full_is_due(tx, stream.name, epoch, stream.full_every, context.now()):
            return Wish(full=True)
    return Wish()


def _say_plan(context: Context, stream: OutsideStream, planned: PackPlan) -> int:
    if not planned.changed:
        print(f"{stream.name}: {_nothing(context, stream)}")
        return 0
    limit = stream.max_bundle
    several = f", in bundles of at most {format_bytes(limit)}" if limit else ""
    print(
        f"{stream.name}: a {planned.kind} bundle with {plural(planned.blobs, 'new blob')},"
        f" about {format_bytes(planned.bytes)}, would cross"
        + (several if limit and planned.bytes > limit else "")
    )
    return 0


def _say_draft(stream: OutsideStream, draft: Draft, options: argparse.Namespace) -> int:
    print(
        f"{stream.name}: draft {draft.id}: {plural(draft.parts, 'part')},"
        f" {format_bytes(draft.bytes)}; it waits for signatures"
    )
    print(f"  each releasing person: sluice -z {options.zone} release {draft.id}")
    if draft.more:
        print("  after its release, pack again: more is to follow")
    return HeldError.exit_code


def _nothing(context: Context, stream: OutsideStream) -> str:
    with context.store.ledger.read() as tx:
        if tx.bundles(stream.name, limit=1):
            return "nothing changed since the last bundle"
    return "nothing was mirrored yet; sync first"


def _release(context: Context, stream: OutsideStream, draft: str) -> BundleRecord:
    keys = stream_keys(context, stream)

    def sign(manifest: bytes, sequence: int, document: bytes | None) -> bytes:
        if document is None:
            return keys.sign_release(manifest, sequence, context.now())
        return keys.countersign(document)

    return release(
        context.store,
        stream.name,
        context.spool,
        draft,
        sign,
        roots=keys.chain(),
        resend_window=stream.resend_window,
        wire=stream.wire,
        now=context.now(),
    )


def _tell(bundle: BundleRecord) -> None:
    print(
        f"{bundle.stream}: released bundle {bundle.sequence} ({bundle.kind}):"
        f" {plural(bundle.parts, 'part')}, {format_bytes(bundle.size)}"
    )


def release_draft(options: argparse.Namespace) -> int:
    context = Context.open(options.zone)
    streams = {stream.name: stream for stream in _streams(context, options.stream)}
    with context.store.ledger.read() as tx:
        drafts = [draft for name in streams for draft in tx.drafts(name)]
    if options.draft is None:
        if options.reject:
            raise UsageError("which draft?", remedy="see: sluice release")
        rows = [(draft.stream, draft.id, format_time(draft.created)) for draft in drafts]
        print(table([("stream", "draft", "packed"), *rows]) if rows else "no draft waits")
        return 0
    wanted = [draft for draft in drafts if draft.id == options.draft]
    if not wanted:
        raise UsageError(f"there is no draft {options.draft[:80]}", remedy="see: sluice release")
    stream = streams[wanted[0].stream]
    if options.reject:
        reject(context.store, stream.name, context.spool, options.draft)
        print(f"{stream.name}: draft {options.draft} is gone; the sequence has no hole")
        return 0
    _tell(_release(context, stream, options.draft))
    return 0


def send_streams(options: argparse.Namespace) -> int:
    """Hand over what is released and not sent; the worst exit code is returned."""
    context = Context.open(options.zone)
    worst = 0
    for stream in _streams(context, options.stream):
        progress = Progress(stream.name, "to hand over")
        try:
            if stream.heartbeat is not None and not options.dry_run:
                make_heartbeat(context, stream, due_only=True)
            result = send_stream(context, stream, dry_run=options.dry_run, progress=progress)
        except SluiceError as error:
            progress.done()
            report(error, about=stream.name)
            worst = max(worst, error.exit_code)
            continue
        progress.done()
        if not result.parts and not result.ended and not options.quiet:
            print(f"{stream.name}: nothing to send")
        if result.parts:
            bundles = ", ".join(str(number) for number in result.sequences)
            verb = "would hand over" if options.dry_run else "handed over"
            print(
                f"{stream.name}: {verb} {plural(result.parts, 'part')},"
                f" {format_bytes(result.bytes)}, of bundle {bundles}"
            )
        if result.ended:
            print(f"{stream.name}: ended {plural(result.ended, 'sent file')} in the outbox")
    return worst
