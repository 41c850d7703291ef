"""``python -m tests.support.odd_child``: the confined child with a format that misbehaves.

What it does is named by the repository's option ``do``.
"""

from __future__ import annotations

import ctypes
import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from manifests import errors, formats
from manifests.formats.base import (
    Before,
    Derived,
    Made,
    Problem,
    Severity,
    Signed,
    Signer,
    Spec,
    StaticFormat,
    TreeView,
)
from store import confined


class OddFormat(StaticFormat):
    name = "odd"

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        do = str(spec.options["do"])
        if do == "problems":
            for number in range(3000):
                yield Problem(f"p{number}", "is missing")
            yield Problem("q", "is old", Severity.ADVICE)
        elif do == "memory":
            hoard = []
            while True:
                hoard.append(bytearray(64 << 20))
        elif do == "c-memory":
            libc = ctypes.CDLL(None)
            libc.malloc.restype = ctypes.c_void_p
            while libc.malloc(ctypes.c_size_t(64 << 20)):
                pass
            os.write(2, b"(process:1): GLib-ERROR: failed to allocate 67108864 bytes\n")
            libc.abort()
        elif do == "spin":
            while True:
                pass
        elif do == "deep":
            self._deep()
        elif do == "segfault":
            ctypes.string_at(0)
        elif do == "exit":
            sys.exit(0)
        elif do == "raise":
            raise KeyError("surprise\x1b[31m")
        elif do == "format-error":
            raise errors.ForbiddenXml("an entity", where="repodata/x.xml", remedy="none")
        elif do == "other-error":
            raise errors.LedgerDamaged("a lie")
        elif do == "network":
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as link:
                link.connect(("127.0.0.1", int(str(spec.options["port"]))))
        elif do == "environment":
            for name in ("HOME", "SLUICE_SECRET"):
                if name in os.environ:
                    yield Problem(name, "is known")
        elif do == "checksums":
            for entry in view.entries():
                yield Problem(entry.path, view.checksum(entry.path, "sha1"))
        elif do == "raw":
            os.write(1, bytes.fromhex(str(spec.options["line"])))
        elif do == "noise":
            print("a library speaks")
            os.write(2, b"and complains\n" * 100_000)

    def _deep(self) -> None:
        self._deep()

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterable[Signed]:
        yield Signed("repodata/repomd.xml", "openpgp-detached", "repodata/repomd.xml.asc")
        if packages:
            yield Signed("a.rpm", "rpm")

    def facts(self, spec: Spec, view: TreeView) -> Iterable[tuple[str, bytes]]:
        yield ".sluice/facts.json", b"{}"

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, Made]]:
        if view.lookup("rest") is not None:
            yield "", Before.REST
            yield "z/list", b"x\ny\n"  # as it was
            yield "b", b"new"
            yield "a", Before.GONE
            yield "never", Before.GONE
            return
        listing = "".join(f"{entry.path}\n" for entry in view.entries()).encode()
        yield "z/list", listing
        yield "big", listing.ljust(100_000, b".")
        place = Path(os.environ["TMPDIR"]) / "mine"
        place.write_bytes(b"from a file")
        yield "a", place
        place.unlink()
        if signer is not None:
            yield "z/list.asc", signer.armored(listing)
        if previous is not None:
            yield "z/before", b" ".join(e.path.encode() for e in previous.overlay.entries())
        if view.lookup("twice") is not None:
            yield "a", b"again"
        if view.lookup("escape") is not None:
            yield "../../etc/passwd", b"x"


if __name__ == "__main__":
    formats.FORMATS["odd"] = OddFormat
    sys.exit(confined.main())
