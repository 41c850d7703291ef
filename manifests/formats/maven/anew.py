"""All metadata of a tree in one pass over it, with no more in memory than the folders around.

Files of one folder stand together in a tree, so the folders that are open form a chain, and each
is told of as soon as the pass leaves it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from manifests.formats.base import TreeView
from manifests.formats.maven.contents import Home, snapshot
from manifests.formats.maven.layout import METADATA, Artifact, is_snapshot, locate
from manifests.formats.maven.metadata import Metadata
from manifests.formats.maven.plugin import Plugin
from manifests.tree import PRIVATE


@dataclass(slots=True)
class _Folder:
    path: str
    versions: dict[str, list[Artifact]] = field(default_factory=dict)
    """The files of the artifact whose folder this is."""
    files: list[Artifact] = field(default_factory=list)
    """Those of the SNAPSHOT whose folder this is."""
    plugins: list[Plugin] = field(default_factory=list)
    """Those of the group whose folder this is."""
    theirs: bool = False
    """An upstream's own document lies here."""


def documents(view: TreeView) -> Iterator[tuple[str, Metadata | None]]:
    """The document of each folder that has one; None where an upstream's own is to be hidden."""
    chain = _Chain(view)
    for entry in view.tree.entries():
        path = entry.path
        folder, _, name = path.rpartition("/")
        yield from chain.leave(path)
        if path.startswith(PRIVATE):
            continue
        if name == METADATA:
            chain.at(folder).theirs = True
            continue
        artifact = locate(path)
        if artifact is not None:
            home = folder[: -len(artifact.version) - 1]
            chain.at(home).versions.setdefault(artifact.version, []).append(artifact)
            if artifact.snapshot:
                chain.at(folder).files.append(artifact)
    yield from chain.leave(None)


class _Chain:
    """The open folders, each below the one before."""

    def __init__(self, view: TreeView) -> None:
        self._view = view
        self._open: list[_Folder] = []

    def at(self, path: str) -> _Folder:
        """A folder above the place of the pass; opened if it is not."""
        place = len(self._open)
        while place and len(self._open[place - 1].path) > len(path):
            place -= 1
        if place and self._open[place - 1].path == path:
            return self._open[place - 1]
        folder = _Folder(path)
        self._open.insert(place, folder)
        return folder

    def leave(self, path: str | None) -> Iterator[tuple[str, Metadata | None]]:
        """Close the folders that ``path`` does not lie in; all of them without one."""
        while self._open:
            folder = self._open[-1]
            if path is not None and (not folder.path or path.startswith(folder.path + "/")):
                return
            self._open.pop()
            made = self._document(folder)
            if made is not None and not made.empty:
                yield folder.path, made
            elif folder.theirs:
                yield folder.path, None

    def _document(self, folder: _Folder) -> Metadata | None:
        home = Home(self._view, folder.path, folder.versions) if folder.versions else None
        plugin = home.plugin() if home is not None else None
        if plugin is not None:
            self.at(folder.path.rpartition("/")[0]).plugins.append(plugin)
        if folder.files and is_snapshot(folder.path.rpartition("/")[2]):
            return snapshot(folder.files)
        plugins = tuple(folder.plugins)
        if home is None:
            return Metadata(plugins=plugins)
        return Metadata(
            home.group,
            home.name,
            versions=tuple(home.versions),
            updated=home.updated(),
            plugins=plugins,
        )
