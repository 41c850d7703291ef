"""The spool: where parts wait, flat in one folder for each stream."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from manifests.bundle import PartName, draft_part_name
from manifests.durable import Durable
from store.records import BundleRecord, PartRecord

TAR = ".tar"


class Spool:
    """The part files of one stream below ``folder``."""

    def __init__(self, files: Durable, folder: Path, stream: str) -> None:
        self._files = files
        self.folder = folder / stream

    def draft_part(self, draft: str, part: int) -> Path:
        """A part of a draft."""
        return self.folder / draft_part_name(draft, part)

    def part(self, name: PartName) -> Path:
        """A part of a released bundle."""
        return self.folder / f"{name}{TAR}"

    @staticmethod
    def file_name(part: PartRecord) -> str:
        """What the file of a released part is called."""
        return part.name + TAR

    def prepare(self) -> None:
        """Make the folder."""
        self._files.mkdir(self.folder)

    def sweep(self, parts: list[PartRecord]) -> int:
        """Remove files that belong to no released part; how many. Only if there is no draft."""
        owned = {self.file_name(part) for part in parts}
        gone = [path for path in self._all() if path.name not in owned]
        for path in gone:
            self._files.unlink(path)
        return len(gone)

    def drop_draft(self, draft: str) -> None:
        """Remove the files of a draft."""
        for path in self._all():
            if path.name.startswith(f"{draft}-") and path.name.endswith(".draft"):
                self._files.unlink(path)

    def drop_bundle(self, bundle: BundleRecord) -> None:
        """Remove the parts of a bundle that was sent; `recreate` makes them again."""
        for part in range(1, bundle.parts + 1):
            name = PartName(bundle.stream, bundle.epoch, bundle.sequence, part, bundle.parts)
            self._files.unlink(self.part(name))

    def _all(self) -> Iterator[Path]:
        if self.folder.is_dir():
            yield from sorted(path for path in self.folder.iterdir() if path.is_file())
