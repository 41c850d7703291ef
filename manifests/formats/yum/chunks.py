"""The three pieces of XML that stand for one package, made or taken over.

Derived indexes list packages in the order of the tree, each piece ending with
a line of its own. So the pieces of an earlier publication are found by walking
its tree and its indexes side by side, without parsing and in flat memory.
"""

from __future__ import annotations

import gzip
from collections.abc import Container, Iterator

import createrepo_c

from manifests.errors import MalformedIndex
from manifests.formats.base import Derived, TreeView
from manifests.formats.bounded import read_small
from manifests.formats.yum import repomd
from manifests.formats.yum.layout import is_derived, is_package
from manifests.formats.yum.repomd import REPOMD
from manifests.tree import Entry

#: The types of the three pieces, with the root element of their index.
ROOTS = {
    "primary": '<metadata xmlns="http://linux.duke.edu/metadata/common" '
    'xmlns:rpm="http://linux.duke.edu/metadata/rpm" packages="{count}">\n',
    "filelists": '<filelists xmlns="http://linux.duke.edu/metadata/filelists" '
    'packages="{count}">\n',
    "other": '<otherdata xmlns="http://linux.duke.edu/metadata/other" packages="{count}">\n',
}
ENDS = {"primary": "</metadata>", "filelists": "</filelists>", "other": "</otherdata>"}
#: Entries of a package's changelog that clients are given, as createrepo_c does.
CHANGELOGS = 10

Pieces = tuple[bytes, bytes, bytes]


def packages_of(view: TreeView, skipped: Container[str]) -> Iterator[Entry]:
    """The packages that derived indexes list, in the order of the tree."""
    return (e for e in view.entries() if is_package(e.path) and e.path not in skipped)


def made(view: TreeView, entry: Entry) -> Pieces:
    """The pieces from the package's own header. Raises MalformedIndex."""
    try:
        package = createrepo_c.package_from_rpm(
            str(view.local(entry.path)), createrepo_c.SHA256, entry.path, None, CHANGELOGS
        )
        if package.pkgId != entry.digest:
            raise MalformedIndex("other bytes than the tree says", where=entry.path)
        package.time_file = package.time_build  # when we stored it is nobody's business
        primary, filelists, other = createrepo_c.xml_dump(package)
    except (OSError, ValueError, createrepo_c.CreaterepoCError) as error:
        raise MalformedIndex(f"not a readable RPM package ({error})", where=entry.path) from error
    return primary.encode(), filelists.encode(), other.encode()


class Earlier:
    """The pieces of an earlier publication; ask in the order of the tree."""

    def __init__(self, previous: Derived | None, skipped: Container[str]) -> None:
        self.revision = 0
        self._rows: Iterator[tuple[Entry, Pieces]] = iter(())
        if previous is None or not is_derived(previous.base):
            return
        overlay = previous.overlay
        if overlay.lookup(REPOMD) is None:
            return
        with overlay.open(REPOMD) as file:
            listed = repomd.parse([read_small(file, repomd.MAX_BYTES, REPOMD)], REPOMD)
        self.revision = int(listed.revision) if listed.revision.isdecimal() else 0
        indexes = [listed.record(kind) for kind in ROOTS]
        paths = [each.location.path("") for each in indexes if each is not None]
        if len(paths) == len(ROOTS):
            primary, filelists, other = (_pieces(overlay, path) for path in paths)
            entries = packages_of(previous.base, skipped)
            self._rows = zip(entries, zip(primary, filelists, other, strict=True), strict=False)
        self._row = next(self._rows, None)

    def pieces(self, entry: Entry) -> Pieces | None:
        """The pieces of ``entry`` if the same file lay at the same path before."""
        key = entry.path.encode()
        while self._row is not None and self._row[0].path.encode() < key:
            self._row = next(self._rows, None)
        if self._row is None or self._row[0] != entry:
            return None
        pieces = self._row[1]
        # A list that went out of step (another version wrote it) must not mislead.
        return pieces if f'pkgid="YES">{entry.digest}<'.encode() in pieces[0] else None

    _row: tuple[Entry, Pieces] | None = None


def _pieces(overlay: TreeView, path: str) -> Iterator[bytes]:
    with overlay.open(path) as packed, gzip.GzipFile(fileobj=packed) as file:
        lines: list[bytes] = []
        for line in file:
            if line.startswith(b"<package "):
                lines = []
            lines.append(line)
            if line == b"</package>\n":
                yield b"".join(lines)
