"""The confined child: ``python -m store.confined`` reads what strangers wrote.

It is started by :mod:`store.child`, limits itself before it touches anything, and talks
in JSON lines. The first line on its input is the job::

    {"op": "check" | "derive" | "facts" | "signed", "format": NAME, "spec": {...},
     "blobs": FOLDER, "tree": DIGEST, "overlay": DIGEST | null,
     "previous": [DIGEST, DIGEST | null] | null, "packages": BOOL, "signs": BOOL,
     "scratch": FOLDER, "memory": BYTES, "cpu": SECONDS, "shown": COUNT}

Its output is any number of these, then exactly one ``done`` or ``error``::

    {"problem": [PATH, WHAT, SEVERITY]}      the first ``shown`` of each severity
    {"signed": [PATH, KIND, SIGNATURE]}
    {"inline": [PATH, BASE64]}               a small derived file
    {"file": [PATH, NUMBER]}                 a derived file, SCRATCH/NUMBER
    {"rest": [""]}                           all of the previous overlay that has no line here
    {"gone": [PATH]}                         but not the file that it has at this path
    {"checksums": [ALGORITHM, DIGEST, ...]}  the answer is {"value": [HEX, ...]}
    {"sign": NUMBER}                         the answer is {"value": ARMORED}
    {"done": {SEVERITY: COUNT, ...}}
    {"error": [CLASS, WHAT, WHERE, REMEDY]}

Whoever takes over this process can lie about this one repository and nothing else: it
has no network, no ledger and no keys, and the parent believes no name and no size.
"""

from __future__ import annotations

import base64
import ctypes
import json
import os
import resource
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from manifests.digest import Digest
from manifests.errors import SluiceError
from manifests.formats import format_named
from manifests.formats.base import Before, Derived, Format, Made, Severity, Spec
from manifests.tree import Tree
from store.blobs import LocalBlobs
from store.seam import Seam
from store.views import StoredView

INLINE = 32 << 10
OPEN_FILES = 256
#: Blobs in one question for checksums: a line that the parent still reads.
CHECKSUMS = 1000
LARGEST_FILE = 16 << 30
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000  # clone(2)
_NO_NEW_PRIVILEGES = 38  # prctl(2)


class Conversation:
    """The JSON lines between child and parent."""

    def __init__(self, job: Mapping[str, Any], read: BinaryIO, write: BinaryIO) -> None:
        self._read = read
        self._write = write
        self._scratch = Path(job["scratch"])
        self._numbers = 0

    def say(self, kind: str, value: object) -> None:
        self._write.write(json.dumps({kind: value}).encode("ascii") + b"\n")

    def ask(self, kind: str, value: object) -> Any:
        self.say(kind, value)
        self._write.flush()
        line = self._read.readline()
        if not line:
            raise SystemExit(1)  # the parent is gone
        return json.loads(line)["value"]

    def checksums(self, digests: Sequence[Digest], algorithm: str) -> list[str]:
        found: list[str] = []
        for start in range(0, len(digests), CHECKSUMS):
            found += self.ask("checksums", [algorithm, *digests[start : start + CHECKSUMS]])
        return found

    def armored(self, data: bytes) -> bytes:
        """``manifests.formats.base.Signer``, by asking the parent."""
        place = self._place()
        place.write_bytes(data)
        return str(self.ask("sign", int(place.name))).encode()

    def derived(self, path: str, content: Made) -> None:
        if isinstance(content, Before):
            self.say(content.value, [path])
            return
        if isinstance(content, bytes):
            if len(content) <= INLINE:
                self.say("inline", [path, base64.b64encode(content).decode()])
                return
            place = self._place()
            place.write_bytes(content)
        else:
            place = self._place()
            shutil.copyfile(content, place)
        self.say("file", [path, int(place.name)])

    def _place(self) -> Path:
        self._numbers += 1
        return self._scratch / str(self._numbers)


def confine(job: Mapping[str, Any]) -> None:
    """Limit this process; what the kernel does not allow to drop is left as it is."""
    cpu = int(job["cpu"])
    for limit, value in (
        (resource.RLIMIT_CORE, (0, 0)),
        (resource.RLIMIT_AS, (job["memory"], job["memory"])),
        # The soft limit ends it with a signal that tells why, the hard one surely.
        (resource.RLIMIT_CPU, (cpu, cpu + 5)),
        (resource.RLIMIT_NPROC, (0, 0)),  # no child of its own, no thread
        (resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES)),
        (resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE)),
    ):
        resource.setrlimit(limit, value)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_NETWORK) != 0 and libc.unshare(_NEW_USER | _NEW_NETWORK) == 0:
        # In a user namespace of its own it must still be somebody who may write scratch.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")


def run(job: Mapping[str, Any], talk: Conversation) -> dict[str, int]:
    """Carry out the job; counts of problems by severity."""
    blobs = LocalBlobs(Path(job["blobs"]), Seam())

    def view(tree: str, overlay: str | None) -> StoredView:
        over = None if overlay is None else Tree.map(blobs.path(Digest(overlay)))
        return StoredView(Tree.map(blobs.path(Digest(tree))), over, blobs, talk.checksums)

    spec = Spec(**job["spec"])
    named = format_named(job["format"])
    seen = view(job["tree"], job["overlay"])
    if job["op"] == "check":
        return _check(named, spec, seen, talk, job["shown"])
    if job["op"] == "signed":
        for one in named.signed(spec, seen, packages=job["packages"]):
            talk.say("signed", [one.path, one.kind, one.signature])
    elif job["op"] == "facts":
        for path, content in named.facts(spec, seen):
            talk.derived(path, content)
    else:
        previous = None
        if job["previous"] is not None:
            base, overlay = job["previous"]
            empty = StoredView(Tree(b""), None, blobs, talk.checksums)
            previous = Derived(view(base, None), empty if overlay is None else view(overlay, None))
        for path, made in named.derive(seen, previous, talk if job["signs"] else None):
            talk.derived(path, made)
    return {}


def _check(
    named: Format, spec: Spec, seen: StoredView, talk: Conversation, shown: int
) -> dict[str, int]:
    counts = {severity.value: 0 for severity in Severity}
    for problem in named.check(spec, seen):
        counts[problem.severity.value] += 1
        if counts[problem.severity.value] <= shown:
            talk.say("problem", [problem.path[:2048], problem.what[:1024], problem.severity.value])
    return counts


def main() -> int:
    """Read the job, confine, run, report; the exit status."""
    read, write = sys.stdin.buffer, sys.stdout.buffer
    job = json.loads(read.readline())
    sys.stdout = sys.stderr  # what a library prints is no answer
    confine(job)
    tempfile.tempdir = job["scratch"]
    talk = Conversation(job, read, write)
    try:
        counts = run(job, talk)
    except SluiceError as error:
        talk.say("error", [type(error).__name__, error.what[:2048], error.where[:2048],
                           error.remedy[:2048]])  # fmt: skip
    except (MemoryError, RecursionError) as error:
        # Nothing more is computed here, so little memory is needed from here on.
        what = "too much memory" if isinstance(error, MemoryError) else "too deep a structure"
        talk.say("error", ["OversizedIndex", f"reading it takes {what}", "", ""])
    else:
        talk.say("done", counts)
    write.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
