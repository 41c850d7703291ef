"""A layout or an archive that answers a crawl's calls as a registry would."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote

from manifests import errors
from manifests.formats.base import Wanted
from manifests.formats.oci import media
from manifests.formats.oci.layout import is_oci_digest
from manifests.zone import model as zone
from mirror.registry.files import Files, FolderFiles, TarFiles
from mirror.registry.stored import Stored, read_stored
from mirror.report import Progress
from mirror.transport import Got, check_promises, limit_of, mismatch
from store.records import Validator
from store.seam import told

_BLOCK = 1 << 20


class NearTransport:
    """See ``mirror.transport.Transport``: a folder or a tar, read in this thread.

    Raises UpstreamRefused, FormatError.
    """

    capacity = 1

    def __init__(self, repository: zone.Repository, folder: Path, *, progress: Progress) -> None:
        self.source = repository.upstream.urls[0]
        self._folder = folder
        self._progress = progress
        self._waiting: list[Wanted] = []
        self._count = 0
        self._files = _open(self.source)
        plain = {rule.name for rule in repository.oci.asked.images if not rule.is_glob}
        try:
            self._stored = read_stored(self._files, plain.pop() if len(plain) == 1 else "")
        except BaseException:
            self._files.close()
            raise

    def submit(self, wanted: Wanted, known: Validator | None = None) -> None:
        """See ``Transport``."""
        self._waiting.append(wanted)

    def collect(self) -> list[Got]:
        """See ``Transport``."""
        return [self._get(self._waiting.pop(0))] if self._waiting else []

    def close(self) -> None:
        """Nothing more is read."""
        self._files.close()

    def _get(self, wanted: Wanted) -> Got:
        try:
            answer = _answer(self._stored, wanted.url)
            if answer is None:
                return Got(wanted, absent=404)
            self._count += 1
            target = self._folder / f"plain-{self._count}"
            if isinstance(answer, bytes):
                with told(target):
                    target.write_bytes(answer)
            elif not self._copy(wanted, answer, target):
                return Got(wanted, absent=404)
            check_promises(wanted, target, self.source)
        except errors.UpstreamRefused as error:
            return Got(wanted, error=errors.UpstreamMismatch(error.what, where=error.where))
        except errors.UpstreamMismatch as error:
            return Got(wanted, error=error)
        return Got(wanted, file=target, url=self.source)

    def _copy(self, wanted: Wanted, digest: str, target: Path) -> bool:
        left = limit_of(wanted)
        source = self._stored.open(digest)
        if source is None:
            return False
        with source, told(target), target.open("wb") as out:
            while block := source.read(_BLOCK):
                left -= len(block)
                if left < 0:
                    raise mismatch(
                        wanted, f"it has more than {limit_of(wanted)} bytes", self.source
                    )
                out.write(block)
                self._progress.advance(0, len(block))
        return True


def _open(url: str) -> Files:
    path = Path(unquote(url.partition("://")[2]).rstrip("/") or "/")
    if path.is_dir():
        return FolderFiles(path, url)
    if path.exists():
        return TarFiles(path, url)
    raise errors.UpstreamRefused(
        "there is no such folder or file", where=url, remedy="check `upstream`"
    )


def _answer(stored: Stored, url: str) -> bytes | str | None:
    """Bytes that are made, the digest of bytes that are there, or None."""
    path = url.partition("?")[0].removeprefix("v2/")
    if path == "_catalog":
        return json.dumps({"repositories": sorted(stored.tags)}).encode()
    if path.endswith("/tags/list"):
        tags = stored.tags.get(path.removesuffix("/tags/list"))
        return None if tags is None else json.dumps({"tags": sorted(tags)}).encode()
    image, word, reference = path.rsplit("/", 2)
    if word == "referrers":
        rows = stored.referrers.get(reference, [])
        index = {"schemaVersion": 2, "mediaType": media.OCI_INDEX, "manifests": rows}
        return json.dumps(index).encode()
    if is_oci_digest(reference):
        return reference
    return stored.tags.get(image, {}).get(reference)
