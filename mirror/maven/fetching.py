"""One file of a Maven upstream, believed only if the upstream's own checksum agrees.

The strongest checksum counts (SHA-512, SHA-256, SHA-1, MD5). A file without any is asked for
twice and must be the same both times. A web page in the place of a file, a POM that no Maven
could use and a POM that is its own ancestor are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from manifests import errors
from manifests.digest import Digest
from manifests.formats.base import Wanted
from manifests.formats.maven import metadata, pom, statement
from manifests.formats.maven.check import is_binary, looks_like_page, parent_of, place_of
from manifests.formats.maven.layout import CHECKSUMS, METADATA, Artifact, locate, named
from manifests.zone import model as zone
from mirror.http import HttpTransport
from mirror.report import Quiet, printable
from mirror.transport import Got
from store.records import Validator

MAX_FILE = 8 << 30
_MAX_CHECKSUM = 4096
_TRIES = 2
"""How often a file whose bytes and checksum differ is asked for: it may have changed between."""
_PAGE = re.compile(rb"\s*<(?:!doctype\s+html|html)", re.IGNORECASE)
_STRONG = ("sha512", "sha256", "sha1")
_MOST_ANCESTORS = 64


@dataclass(frozen=True, slots=True)
class Arrived:
    """A file of ours with the upstream's bytes. ``stated`` as in ``store.records.Fetched``."""

    path: str
    file: Path
    digest: Digest
    size: int
    stated: str


ParentPom = Callable[[Artifact], bytes | None]
"""The bytes of a POM that is here already."""


class Fetcher:
    """Asks one upstream, and no other host. Safe to share between threads."""

    def __init__(
        self,
        repository: zone.Repository,
        folder: Path,
        parent_pom: ParentPom,
        *,
        pause: Callable[[float], None],
    ) -> None:
        self._parent_pom = parent_pom
        self.transport = HttpTransport(
            repository.upstream,
            repository.connection,
            folder,
            progress=Quiet(),
            pause=pause,
            stay=True,
        )
        self._pool = ThreadPoolExecutor(
            3 * repository.connection.parallel, thread_name_prefix="checksum"
        )

    def close(self) -> None:
        """Give up what runs."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self.transport.close()

    def fetch(self, path: str) -> Arrived | None:
        """The file, or None where the upstream has none.

        Raises UpstreamMismatch for bytes that are not to be believed, FormatError for a
        file that is not what its name says, UpstreamUnreachable, UpstreamRefused.
        """
        for turn in range(1, _TRIES + 1):
            try:
                return self._once(path)
            except errors.UpstreamMismatch:
                if turn == _TRIES:
                    raise
        raise AssertionError("not reached")

    def _once(self, path: str) -> Arrived | None:
        sums = {kind: self._pool.submit(self._checksum, path, kind) for kind in _STRONG}
        got = self.transport.fetch(_wanted(path, _limit(path)))
        try:
            if got.error is not None:
                raise got.error
            if got.file is None:
                return None
            arrived = self._compared(path, got, got.file, sums)
            self._sound(arrived)
        except BaseException:
            if got.file is not None:
                got.file.unlink(missing_ok=True)
            raise
        return arrived

    def _compared(
        self, path: str, got: Got, file: Path, sums: dict[str, Future[str | None]]
    ) -> Arrived:
        for kind in CHECKSUMS:
            said = sums[kind].result() if kind in sums else self._checksum(path, kind)
            if said is None:
                continue
            found = _hash(file, kind)
            if found != said:
                raise errors.UpstreamMismatch(
                    f"{named(path)}: its {kind} is {found}, the upstream says {said}",
                    where=printable(got.url),
                    remedy="ask again later; if it stays, tell whoever keeps the upstream",
                )
            return Arrived(path, file, _digest(file), file.stat().st_size, f"{kind} {said}")
        digest = _digest(file)
        self._confirm(path, got, digest, file.stat().st_size)
        return Arrived(path, file, digest, file.stat().st_size, "")

    def _confirm(self, path: str, got: Got, digest: Digest, size: int) -> None:
        """Nobody vouches for it, so it must at least be the same when it is asked for again."""
        seen = Validator(
            got.headers.get("etag", ""), got.headers.get("last-modified", ""), digest, size
        )
        again = self.transport.fetch(
            _wanted(path, _limit(path)), seen if seen.etag or seen.last_modified else None
        )
        if again.error is not None:
            raise again.error
        try:
            if again.unchanged is None and (again.file is None or _digest(again.file) != digest):
                raise errors.UpstreamMismatch(
                    f"{named(path)}: other bytes came when it was asked for again",
                    where=printable(got.url),
                    remedy="ask again later; if it stays, tell whoever keeps the upstream",
                )
        finally:
            if again.file is not None:
                again.file.unlink(missing_ok=True)

    def _checksum(self, path: str, kind: str) -> str | None:
        got = self.transport.fetch(_wanted(f"{path}.{kind}", _MAX_CHECKSUM))
        if isinstance(got.error, errors.UpstreamMismatch):
            return None  # too long for a checksum, or somewhere else
        if got.error is not None:
            raise got.error
        if got.file is None:
            return None
        try:
            return statement.parse_checksum(got.file.read_bytes(), kind)
        finally:
            got.file.unlink(missing_ok=True)

    # --- what it is

    def _sound(self, arrived: Arrived) -> None:
        """Raise FormatError unless the file may be what its name says."""
        path, artifact = arrived.path, locate(arrived.path)
        with arrived.file.open("rb") as file:
            head = file.read(512)
            if path.rpartition("/")[2] == METADATA:
                metadata.read(head + file.read(metadata.MAX_BYTES), named(path))
            elif artifact is not None and artifact.extension == "pom" and not artifact.classifier:
                self._pom(artifact, head + file.read(pom.MAX_BYTES), arrived.stated)
            elif _PAGE.match(head) or (
                artifact is not None and is_binary(artifact) and looks_like_page(head)
            ):
                raise errors.MalformedIndex("a web page instead of the file", where=named(path))

    def _pom(self, artifact: Artifact, data: bytes, stated: str) -> None:
        found = pom.parse(data, str(artifact))
        if found.broken and not stated:
            raise errors.MalformedIndex(found.broken, where=str(artifact))
        start = place_of(artifact)
        parent = parent_of(found)
        for _ in range(_MOST_ANCESTORS):
            if parent is None:
                return
            if parent == start:
                raise errors.MalformedIndex(
                    "its POM is its own ancestor by its parents", where=str(artifact)
                )
            above = self._parent_pom(Artifact(*parent, "pom"))
            if above is None:
                return
            try:
                parent = parent_of(pom.parse(above, ":".join(parent)))
            except errors.FormatError:
                return


def _wanted(path: str, limit: int) -> Wanted:
    # Volatile, so that nothing is taken for the rest of another answer.
    return Wanted(path, quote(path), limit=limit, required=False, volatile=True)


def _limit(path: str) -> int:
    if path.endswith(".pom"):
        return pom.MAX_BYTES
    return metadata.MAX_BYTES if path.rpartition("/")[2] == METADATA else MAX_FILE


def _digest(file: Path) -> Digest:
    return Digest(_hash(file, "sha256"))


def _hash(file: Path, kind: str) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(
            opened, lambda: hashlib.new(kind, usedforsecurity=False)
        ).hexdigest()
