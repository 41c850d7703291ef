"""The parent's side of a confined child: start it, talk with it, believe nothing.

The lines that are exchanged are described in :mod:`store.confined`. The parent bounds their
length and number and checks every path, name and size in them; a child that does not end
well is an error with its reason, never a result.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import store as package
from manifests import errors
from manifests.digest import Digest, is_digest
from manifests.errors import FormatError, MalformedIndex, OversizedIndex, SluiceError, TreeError
from manifests.formats.base import Before, Problem, Severity, Signed, Signer, Spec
from store.layout import open_regular
from store.store import Store

_LINE = 256 << 10
_SIGNED_BYTES = 8 << 20
_MOST_LINES = 5_000_000
_STDERR = 8 << 10
#: Checksums that are computed before they are written down, so that few are held in memory.
_UNSAVED = 10_000
_TOO_MUCH = "it needs more than the memory or time that one repository may take"


@dataclass(frozen=True, slots=True)
class Limits:
    """What the child may use: bytes of memory, CPU seconds (None: by the tree's size)."""

    memory: int = 1 << 30
    cpu: int | None = None
    shown: int = 1000
    """How many problems of each severity come back; all are counted."""
    program: str = "store.confined"


@dataclass(slots=True)
class Job:
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


@dataclass(frozen=True, slots=True)
class Made:
    """A derived file: small bytes, where the child put them, or what is taken over."""

    path: str
    content: bytes | Path | Before


Said = Problem | Signed | Made | dict[str, int]


def run(job: Job, scratch: Path, take: Callable[[Said], None]) -> None:
    """Start the child, answer its questions, and hand ``take`` everything else it says."""
    child = _start(job, scratch)
    assert child.stdin and child.stdout and child.stderr
    complaints = _Tail(child.stderr)
    done = False
    try:
        _send(child.stdin, _words(job, scratch))
        for number in range(_MOST_LINES):
            line = child.stdout.readline(_LINE)
            if not line:
                break
            if done or number == _MOST_LINES - 1:
                raise MalformedIndex("the check did not end as it should", where=job.spec.name)
            said = _understand(line, job, scratch)
            if isinstance(said, SluiceError):
                raise said
            if isinstance(said, str | list):
                _send(child.stdin, {"value": said})
            else:
                done = isinstance(said, dict)
                take(said)
        status = child.wait()
        if not done or status:
            raise _crash(status, complaints.text(), job)
    except BrokenPipeError:
        raise _crash(child.wait(), complaints.text(), job) from None
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        complaints.join()
        for stream in (child.stdin, child.stdout, child.stderr):
            _close(stream)
    job.store.checksums.save()


def _start(job: Job, scratch: Path) -> subprocess.Popen[bytes]:
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


def _words(job: Job, scratch: Path) -> dict[str, object]:
    size = job.store.blobs.size(job.tree)
    cpu = job.limits.cpu
    if cpu is None:
        # About 100 bytes name a file; reading a package header takes under a millisecond.
        cpu = 120 + size // 25_000
        if job.op == "derive":
            cpu += job.store.tree(job.tree).total() // (50 << 20)
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


def _understand(line: bytes, job: Job, scratch: Path) -> Said | SluiceError | str | list[str]:
    """What a line of the child means: news, an error, or the answer to its question."""
    try:
        ((kind, value),) = json.loads(line).items()
        if kind == "done":
            return {str(name): int(count) for name, count in value.items()}
        if kind == "sign":
            return _sign(_place(scratch, value), job)
        if kind == "file":
            return Made(_text(value[0]), _place(scratch, value[1]))
        words = [_text(word) for word in value]
        if kind == "problem":
            path, what, severity = words
            return Problem(path, what, Severity(severity))
        if kind == "signed":
            return Signed(*words)
        if kind in ("rest", "gone"):
            return _taken_over(words, Before(kind), job)
        if kind == "inline":
            path, content = words
            return Made(path, base64.b64decode(content, validate=True))
        if kind == "checksums":
            algorithm, *digests = words
            if all(map(is_digest, digests)):
                job.store.checksums.save(_UNSAVED)
                return job.store.checksums.values([Digest(each) for each in digests], algorithm)
        if kind == "error":
            return _error(*words, job=job)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise _senseless(job) from error
    raise _senseless(job)


def _taken_over(words: list[str], what: Before, job: Job) -> Made:
    (path,) = words
    if job.previous is None or job.previous[1] is None or (what is Before.REST) == bool(path):
        raise ValueError("no such thing is there to be taken over")
    return Made(path, what)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError("not text")
    return value


def _sign(place: Path, job: Job) -> str:
    if job.signer is None:
        raise ValueError("nobody signs here")
    fd, size = open_regular(place)
    with open(fd, "rb") as file:  # noqa: PTH123 - a descriptor, so that no link is followed
        if size > _SIGNED_BYTES:
            raise OversizedIndex("an index too large to be signed", where=job.spec.name)
        return job.signer.armored(file.read(_SIGNED_BYTES)).decode("ascii")


def _place(scratch: Path, number: object) -> Path:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number <= _MOST_LINES:
        raise ValueError("not a number")
    return scratch / str(number)


def _error(name: str, what: str, where: str, remedy: str, *, job: Job) -> SluiceError:
    """The child's error with its class, if it is one that a format may raise."""
    kind = getattr(errors, name)
    if not issubclass(kind, (FormatError, TreeError, errors.BlobMissing, errors.ConfigError)):
        kind = MalformedIndex
    error: SluiceError = kind(
        what, where=f"{job.spec.name}: {where}" if where else job.spec.name, remedy=remedy
    )
    return error


def _senseless(job: Job) -> MalformedIndex:
    return MalformedIndex("the check gave an answer without sense", where=job.spec.name)


def _crash(status: int, said: str, job: Job) -> FormatError:
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
    if "FIPS SELFTEST" in said:
        return MalformedIndex(
            "its packages cannot be read in FIPS mode here: the OpenSSL in createrepo_c's wheel"
            " refuses to work without a libcrypto.so.1.1 of the system",
            where=job.spec.name,
            remedy="mirror the repository whole, so that its own metadata is served; see"
            " docs/operations.md, FIPS mode",
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
