"""Runs a format over a tree in a confined child process.

Indexes are written by strangers. A format parses them in :mod:`store.confined`, under
limits of memory and CPU time, so that a hostile one costs its repository a hold and the
parent nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from manifests.digest import Digest
from manifests.errors import MalformedIndex
from manifests.formats import format_named
from manifests.formats.base import Before, Problem, Severity, Signed, Signer, Spec
from manifests.tree import Entry, check_path
from store.blobs import BlobBatch
from store.child import Job, Limits, Made, Said, run
from store.store import KeptTree, Store

__all__ = ["Checked", "Limits", "check_tree", "derive_overlay", "private_files", "signatures"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found. The counts are of all problems, also of those not listed."""

    problems: tuple[Problem, ...]
    required: int
    advice: int

    @property
    def complete(self) -> bool:
        """Whether nothing holds the snapshot."""
        return self.required == 0


def check_tree(
    store: Store,
    format_name: str,
    spec: Spec,
    tree: Digest,
    *,
    overlay: Digest | None = None,
    limits: Limits | None = None,
) -> Checked:
    """Is this tree complete and consistent, as its format sees it?

    Not to be called inside a ledger transaction. Raises FormatError and TreeError as the
    format does, OversizedIndex when the child hit its limits, MalformedIndex when it
    crashed; all name the repository. Raises BlobMissing, ConfigError.
    """
    problems: list[Problem] = []
    counts: dict[str, int] = {}
    job = Job(store, "check", format_name, spec, tree, overlay, limits=limits or Limits())

    def take(said: Said) -> None:
        if isinstance(said, Problem) and len(problems) < 2 * job.limits.shown:
            problems.append(said)
        elif isinstance(said, dict):
            counts.update(said)

    with store.scratch("check") as scratch:
        run(job, scratch, take)
    listed = [problem.severity for problem in problems]
    return Checked(
        tuple(problems),
        max(counts.get("required", 0), listed.count(Severity.REQUIRED)),
        max(counts.get("advice", 0), listed.count(Severity.ADVICE)),
    )


def signatures(
    store: Store,
    format_name: str,
    spec: Spec,
    tree: Digest,
    *,
    packages: bool = False,
    limits: Limits | None = None,
) -> list[Signed]:
    """The upstream signatures in a tree that are to be verified. Raises as ``check_tree``."""
    job = Job(
        store, "signed", format_name, spec, tree, packages=packages, limits=limits or Limits()
    )
    found: list[Signed] = []
    if not format_named(format_name).does(job.op):
        return found

    def take(said: Said) -> None:
        if isinstance(said, Signed):
            found.append(said)

    with store.scratch("signed") as scratch:
        run(job, scratch, take)
    return found


def derive_overlay(
    store: Store,
    format_name: str,
    spec: Spec,
    tree: Digest,
    *,
    previous: tuple[Digest, Digest | None] | None = None,
    signer: Signer | None = None,
    limits: Limits | None = None,
) -> KeptTree | None:
    """Make the unsigned indexes of a tree; the overlay, or None if there are none.

    ``previous`` is (tree, overlay) of a publication that still stands, so that its blobs
    do. The overlay is durable on return; the caller holds the shared lock. Raises as
    ``check_tree``, and NoSpace.
    """
    job = Job(
        store, "derive", format_name, spec, tree,
        previous=previous, signer=signer, limits=limits or Limits(),
    )  # fmt: skip
    with store.blobs.batch() as batch:
        rest, made = _derived(job, batch)
        if rest and previous is not None and previous[1] is not None:
            return store.keep_changed(previous[1], made, batch)
        entries = _there(made)
        return store.keep_tree(entries, batch) if entries else None


def private_files(
    store: Store,
    format_name: str,
    spec: Spec,
    tree: Digest,
    batch: BlobBatch,
    *,
    limits: Limits | None = None,
) -> list[Entry]:
    """The format's ``facts`` of a tree that was copied whole, sorted, as blobs in ``batch``."""
    job = Job(store, "facts", format_name, spec, tree, limits=limits or Limits())
    return _there(_derived(job, batch)[1])


_Changes = dict[bytes, Entry | None]


def _derived(job: Job, batch: BlobBatch) -> tuple[bool, _Changes]:
    """Whether the rest of the previous overlay stays; what else there is, or is no more."""
    changes: _Changes = {}
    rest = False
    if not format_named(job.format).does(job.op):
        return rest, changes

    def take(said: Said) -> None:
        nonlocal rest
        if not isinstance(said, Made):
            return
        if said.content is Before.REST:
            rest = True
            return
        path = check_path(said.path)
        if path.encode() in changes:
            raise MalformedIndex(f"derived twice: {path}", where=job.spec.name)
        if isinstance(said.content, Before):
            changes[path.encode()] = None
        elif isinstance(said.content, bytes):
            changes[path.encode()] = Entry(path, *batch.put_bytes(said.content))
        else:
            # Copied, not adopted: the child may still hold the file open for writing.
            changes[path.encode()] = Entry(path, *batch.put_file(said.content))

    with job.store.scratch(job.op) as scratch:
        run(job, scratch, take)
    return rest, changes


def _there(changes: _Changes) -> list[Entry]:
    return [entry for _, entry in sorted(changes.items()) if entry is not None]
