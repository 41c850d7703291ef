"""Adoption in each zone, and what the outside is told of the inside's."""

from __future__ import annotations

from pathlib import Path

from manifests.digest import Digest, is_digest
from manifests.durable import refuse_device
from manifests.errors import ConfigError, MalformedTree, OversizedIndex, UsageError
from manifests.state import is_name
from manifests.tree import parse
from manifests.zone import OutsideStream, OutsideZone
from mirror.adopting import work_places
from sluice.commands.trust import stream_keys
from sluice.context import Context
from sluice.progress import Progress
from sluice.text import fingerprint
from store.adopt import Taken, adopt
from store.adopted import Adopted, adopted, drop_adopted
from store.foreign import open_foreign
from transfer.assumed import assume, drop_assumed

_MAX_LIST = 4 << 30
_BLOCK = 1 << 20


def check_name(context: Context, repository: str) -> None:
    """Raises UsageError for what this zone cannot adopt for."""
    zone = context.zone
    if isinstance(zone, OutsideZone):
        if repository not in zone.repositories:
            known = ", ".join(zone.repositories) or "none yet; add them to zone.yaml"
            raise UsageError(
                f"there is no repository {repository[:80]}", remedy=f"repositories: {known}"
            )
    elif not is_name(repository):
        raise UsageError(
            f"not a name for a repository: {repository[:80]!r}",
            remedy="say the name under which it will be served here",
        )


def adopt_folder(
    context: Context, repository: str, folder: Path, *, link: bool, progress: Progress
) -> Taken:
    """Take the files of ``folder`` for ``repository``. Raises what `store.adopt` raises."""
    store, zone = context.store, context.zone
    if not isinstance(zone, OutsideZone):
        return adopt(store, repository, folder, link=link, actor=context.actor, progress=progress)
    with work_places(store, zone.repositories[repository]) as place:
        return adopt(
            store,
            repository,
            folder,
            place=place,
            link=link,
            actor=context.actor,
            progress=progress,
        )


def known(context: Context, repository: str) -> Adopted:
    """What was adopted here. Raises UsageError."""
    with context.store.ledger.read() as tx:
        found = adopted(tx, repository)
    if found is None:
        raise UsageError(
            "nothing was adopted for it here",
            where=repository,
            remedy=f"first: sluice -z {context.zone.folder} adopt {repository} DIR",
        )
    return found


def write_list(context: Context, tree: Digest, file: Path) -> None:
    """Write the adopted tree's text, for the other side. Raises UsageError, ConfigError,
    StoreError."""
    refuse_device(file)
    files, source = context.files, context.store.blobs
    temporary = file.with_name(f".{file.name}.tmp")
    try:
        files.unlink(temporary)
        with source.open(tree) as body, files.create(temporary) as out:
            files.copy_range(body.fileno(), 0, source.size(tree), out)
            out.sync()
        files.rename(temporary, file)
        files.sync_dir(file.parent)
    except OSError as error:
        raise ConfigError(
            f"the list cannot be written: {error.strerror}",
            where=str(file),
            remedy="name a file in a folder that this account may write",
        ) from error


def assume_inside(context: Context, stream: OutsideStream, repository: str, said: str) -> Digest:
    """Rely on what the inside adopted: ``said`` is its digest, or a file with its list.

    Raises UsageError where the digest is another than ours, ConfigError, MalformedTree.
    """
    if repository not in stream.repositories:
        raise UsageError(
            f"{repository} does not cross by this stream",
            where=stream.name,
            remedy=f"repositories here: {', '.join(stream.repositories) or 'none'}",
        )
    store, epoch = context.store, stream_keys(context, stream).trusted().epoch
    with store.locks.shared():
        if is_digest(said):
            tree = Digest(said)
            ours = known(context, repository).tree
            if tree != ours:
                raise UsageError(
                    f"the inside adopted other files: {fingerprint(tree)} there,"
                    f" {fingerprint(ours)} here",
                    where=repository,
                    remedy="adopt the same files on both sides; or bring the inside's list here:"
                    f" `adopt {repository} --list FILE` inside, then `--inside FILE`",
                )
        else:
            tree = _read_list(context, Path(said))
        with store.ledger.write(context.actor) as tx:
            assume(tx, stream.name, repository, tree, epoch=epoch)
    return tree


def _read_list(context: Context, file: Path) -> Digest:
    store = context.store
    try:
        with open_foreign(file) as body, store.blobs.batch() as batch:
            digest, _ = batch.put_stream(iter(lambda: body.read(_BLOCK), b""), limit=_MAX_LIST)
    except (OSError, OversizedIndex) as error:
        raise ConfigError(
            f"the list cannot be read: {error.strerror if isinstance(error, OSError) else error}",
            where=str(file)[:200],
            remedy="name a file that `adopt REPO --list FILE` wrote inside, or its digest",
        ) from error
    tree = store.tree(digest)
    count = sum(1 for _ in parse(tree.blocks()))
    if not count:
        raise MalformedTree("an empty list", where=str(file))
    return digest


def forget(context: Context, repository: str) -> bool:
    """Let go of all that was adopted or assumed for a repository; whether there was any."""
    zone = context.zone
    found = False
    with context.store.ledger.write(context.actor) as tx:
        if isinstance(zone, OutsideZone):
            for name in zone.streams:
                found = drop_assumed(tx, name, repository) or found
        found = drop_adopted(tx, repository) or found
        if found:
            tx.event("adopted.forgotten", repository=repository)
    return found
