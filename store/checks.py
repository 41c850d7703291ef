"""Runs a format over a tree in a confined child process.

Indexes are written by strangers. A format parses them in :mod:`store.confined`, under
limits of memory and CPU time, so that a hostile one costs its repository a hold and the
parent nothing. The child sends JSON lines; the parent bounds their length and number and
believes no path, name or size in them.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any

import store as package
from manifests import errors
from manifests.digest import CHECKSUM_LENGTHS, Digest, is_digest
from manifests.errors import FormatError, MalformedIndex, OversizedIndex, SluiceError, TreeError
from manifests.formats.base import Problem, Severity, Signed, Signer, Spec
from manifests.tree import Entry, check_path
from store.blobs import BlobBatch
from store.layout import open_regular
from store.store import KeptTree, Store

_LINE = 256 << 10
_SIGNED_BYTES = 8 << 20
_MOST_LINES = 5_000_000
_STDERR = 8 << 10
_TOO_MUCH = "it needs more than the memory or time that one repository may take"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: bytes of memory, CPU seconds (None: by the tree's size)."""

    memory: int = 1 << 30
    cpu: int | None = None
    shown: int = 1000
    """How many problems of each severity come back; all are counted."""
    program: str = "store.confined"


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


@dataclass(slots=True)
class _Job:
    store: Store
    op: str
    format: str
    spec: Spec
    tree: Digest
    overlay: Digest | None = None
    previous: tuple[Digest, Digest | None] | None = None
    packages: bool = False
    signer: Signer | None = None
    limits: Limits = field(default_factory=Limits)


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
    counts: dict[str, Any] = {}
    job = _Job(store, "check", format_name, spec, tree, overlay, limits=limits or Limits())
    for kind, value in _run(job):
        if kind == "problem":
            path, what, severity = value
            if len(problems) < 2 * job.limits.shown:
                problems.append(Problem(str(path), str(what), Severity(severity)))
        elif kind == "done":
            counts = value
    listed = [problem.severity for problem in problems]
    return Checked(
        tuple(problems),
        max(int(counts.get("required", 0)), listed.count(Severity.REQUIRED)),
        max(int(counts.get("advice", 0)), listed.count(Severity.ADVICE)),
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
    job = _Job(
        store, "signed", format_name, spec, tree, packages=packages, limits=limits or Limits()
    )
    return [Signed(*map(str, value)) for kind, value in _run(job) if kind == "signed"]


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

    ``previous`` is (tree, overlay) of an earlier publication. The overlay is durable on
    return; the caller holds the shared lock. Raises as ``check_tree``, and NoSpace.
    """
    job = _Job(
        store, "derive", format_name, spec, tree,
        previous=previous, signer=signer, limits=limits or Limits(),
    )  # fmt: skip
    with store.blobs.batch() as batch:
        entries = _derived(job, batch)
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
    return _derived(_Job(store, "facts", format_name, spec, tree, limits=limits or Limits()), batch)


def _derived(job: _Job, batch: BlobBatch) -> list[Entry]:
    entries: dict[bytes, Entry] = {}
    with job.store.scratch(job.op) as scratch:
        for kind, value in _run(job, scratch):
            if kind not in ("inline", "file"):
                continue
            path = check_path(str(value[0]))
            if kind == "inline":
                kept = batch.put_bytes(base64.b64decode(value[1], validate=True))
            else:
                # Copied, not adopted: the child may still hold the file open for writing.
                kept = batch.put_file(_place(scratch, value[1]))
            if path.encode() in entries:
                raise MalformedIndex(f"derived twice: {path}", where=job.spec.name)
            entries[path.encode()] = Entry(path, *kept)
    return [entries[path] for path in sorted(entries)]


def _run(job: _Job, scratch: Path | None = None) -> Iterator[tuple[str, Any]]:
    """Start the child, answer its questions, and yield everything else it says."""
    if scratch is None:
        with job.store.scratch(job.op) as own:
            yield from _run(job, own)
            return
    child = _start(job, scratch)
    assert child.stdin and child.stdout and child.stderr
    said = _Tail(child.stderr)
    done = False
    try:
        _send(child.stdin, _words(job, scratch))
        for line_number, line in enumerate(iter(lambda: _line(child), b"")):
            if done or line_number > _MOST_LINES:
                raise MalformedIndex("the check did not end as it should", where=job.spec.name)
            kind, value = _message(line, job)
            if kind == "error":
                raise _error(value, job)
            if kind == "checksum":
                _send(child.stdin, {"value": _checksum(value, job)})
                continue
            if kind == "sign":
                _send(child.stdin, {"value": _sign(value, job, scratch)})
                continue
            done = kind == "done"
            try:
                yield kind, value
            except (TypeError, ValueError, IndexError, binascii.Error) as error:
                raise _senseless(job) from error
        status = child.wait()
        if not done or status:
            raise _crash(status, said.text(), job)
    except BrokenPipeError:
        raise _crash(child.wait(), said.text(), job) from None
    finally:
        child.kill()
        child.wait()
        said.join()
        for stream in (child.stdin, child.stdout, child.stderr):
            _close(stream)
        job.store.checksums.save()


def _start(job: _Job, scratch: Path) -> subprocess.Popen[bytes]:
    # The child gets a bare environment; it must find these packages, and nothing else of
    # ours, whether they are installed or run from their source folder.
    root = Path(package.__file__).absolute().parent.parent
    return subprocess.Popen(
        [sys.executable, "-P", "-m", job.limits.program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=scratch,
        start_new_session=True,
        env={
            "PATH": os.defpath,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "PYTHONPATH": str(root),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(scratch),
            "MALLOC_ARENA_MAX": "2",
        },
    )


def _words(job: _Job, scratch: Path) -> dict[str, object]:
    size = job.store.blobs.size(job.tree)
    cpu = job.limits.cpu
    if cpu is None:
        # About 100 bytes name a file; reading a package header takes under a millisecond.
        cpu = 120 + size // 25_000
        if job.op == "derive":
            cpu += sum(entry.size for entry in job.store.tree(job.tree).entries()) // (50 << 20)
    return {
        "op": job.op,
        "format": job.format,
        "spec": {**asdict(job.spec), "options": dict(job.spec.options)},
        "blobs": str((job.store.folder / "blobs").absolute()),
        "tree": job.tree,
        "overlay": job.overlay,
        "previous": job.previous,
        "packages": job.packages,
        "signs": job.signer is not None,
        "scratch": str(scratch.absolute()),
        "memory": job.limits.memory,
        "cpu": cpu,
        "shown": job.limits.shown,
    }


def _send(pipe: IO[bytes], value: object) -> None:
    pipe.write(json.dumps(value).encode("ascii") + b"\n")
    pipe.flush()


def _line(child: subprocess.Popen[bytes]) -> bytes:
    assert child.stdout
    return child.stdout.readline(_LINE)


def _message(line: bytes, job: _Job) -> tuple[str, Any]:
    try:
        ((kind, value),) = json.loads(line).items()
    except (ValueError, AttributeError, RecursionError) as error:
        raise _senseless(job) from error
    if not isinstance(value, dict if kind == "done" else (list, int)):
        raise _senseless(job)
    return kind, value


def _checksum(value: Any, job: _Job) -> str:
    if isinstance(value, list) and len(value) == 2 and all(isinstance(v, str) for v in value):
        digest, algorithm = value
        if is_digest(digest) and algorithm in CHECKSUM_LENGTHS:
            return job.store.checksums.value(Digest(digest), algorithm)
    raise _senseless(job)


def _sign(value: Any, job: _Job, scratch: Path) -> str:
    if job.signer is None:
        raise _senseless(job)
    fd, size = open_regular(_place(scratch, value))
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, so that no link is followed
        if size > _SIGNED_BYTES:
            raise OversizedIndex("an index too large to be signed", where=job.spec.name)
        return job.signer.armored(file.read(_SIGNED_BYTES)).decode("ascii")


def _place(scratch: Path, number: Any) -> Path:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _MOST_LINES:
        raise ValueError("not a number")
    return scratch / str(number)


def _error(value: Any, job: _Job) -> SluiceError:
    """The child's error with its class, if it is one that a format may raise."""
    if not (isinstance(value, list) and len(value) == 4 and all(isinstance(v, str) for v in value)):
        return _senseless(job)
    name, what, where, remedy = value
    kind = getattr(errors, name, None)
    if not (isinstance(kind, type) and issubclass(kind, SluiceError)):
        return _senseless(job)
    if not issubclass(kind, (FormatError, TreeError, errors.BlobMissing, errors.ConfigError)):
        kind = MalformedIndex
    return kind(what, where=f"{job.spec.name}: {where}" if where else job.spec.name, remedy=remedy)


def _senseless(job: _Job) -> MalformedIndex:
    return MalformedIndex("the check gave an answer without sense", where=job.spec.name)


def _crash(status: int, said: str, job: _Job) -> FormatError:
    """Why the child ended without a word."""
    last = said.strip().splitlines()[-1][:200] if said.strip() else ""
    shown = last.encode("ascii", "backslashreplace").decode()
    by_limit = status in (-signal.SIGXCPU, -signal.SIGKILL, -signal.SIGXFSZ)
    # C libraries end the process when they get no memory; GLib by a trap.
    no_memory = status < 0 and any(word in said for word in ("allocate", "memory", "bad_alloc"))
    if by_limit or no_memory or "MemoryError" in last:
        return OversizedIndex(
            _TOO_MUCH,
            where=job.spec.name,
            remedy="look at what the upstream published; a hostile index looks like this",
        )
    how = f"was ended by signal {-status}" if status < 0 else f"ended with status {status}"
    return MalformedIndex(
        f"reading it crashed: the child process {how}" + (f" ({shown})" if shown else ""),
        where=job.spec.name,
        remedy="report this with the repository's metadata; nothing of it was published",
    )


def _close(stream: IO[bytes]) -> None:
    try:
        stream.close()
    except BrokenPipeError:
        return  # what was still to be sent has no reader any more


class _Tail(threading.Thread):
    """Reads the child's complaints, however many, and keeps the last of them."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(daemon=True)
        self._stream = stream
        self._kept = b""
        self.start()

    def run(self) -> None:
        while block := self._stream.read1(_STDERR):  # type: ignore[attr-defined]
            self._kept = (self._kept + block)[-_STDERR:]

    def text(self) -> str:
        self.join()
        return self._kept.decode("utf-8", "replace")
