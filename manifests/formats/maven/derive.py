"""Metadata for what a tree holds. Only folders whose files changed are looked at again.

The overlay has ``maven-metadata.xml`` in the folders of artifacts, SNAPSHOTs and groups with
plugins. Where an upstream's own copy lies in a folder without any of these, an empty one hides it:
it would lead to what is not there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from manifests.formats.base import Before, Derived, Made, TreeView
from manifests.formats.maven import metadata
from manifests.formats.maven.anew import documents
from manifests.formats.maven.contents import Home, files_of, snapshot
from manifests.formats.maven.layout import METADATA, is_snapshot, locate
from manifests.formats.maven.metadata import Metadata
from manifests.formats.maven.plugin import Plugin
from manifests.tree import PRIVATE, diff

#: In an overlay: which rules made it. Another edition of the rules makes everything anew.
RULES = PRIVATE + "maven/rules"
_EDITION = b"1\n"


def derive(view: TreeView, previous: Derived | None) -> Iterator[tuple[str, Made]]:
    """The overlay, or what of the previous one is otherwise now."""
    if previous is not None and _same_rules(previous.overlay):
        yield "", Before.REST
        yield from _changed(view, previous)
    else:
        for folder, made in documents(view):
            yield _path(folder), b"" if made is None else metadata.write(made)
        yield RULES, _EDITION


def _changed(view: TreeView, earlier: Derived) -> Iterator[tuple[str, Made]]:
    touched = _Touched()
    for change in diff(earlier.base.tree, view.tree):
        if not change.path.startswith(PRIVATE):
            touched.add(change.path)
    versions, plugins = _look_at(view, touched.homes, earlier)
    for folder in sorted(touched.folders | set(plugins)):
        path = _path(folder)
        before = _earlier(folder, earlier)
        made = _document(
            view,
            folder,
            versions[folder] if folder in versions else _versions_of(before),
            plugins[folder] if folder in plugins else list(before.plugins),
        )
        if not made.empty:
            yield path, metadata.write(made)
        elif view.lookup(path) is not None:
            yield path, b""
        else:
            yield path, Before.GONE


def _path(folder: str) -> str:
    return f"{folder}/{METADATA}" if folder else METADATA


class _Touched:
    """The folders that changed paths are about."""

    def __init__(self) -> None:
        self.folders: set[str] = set()
        self.homes: set[str] = set()

    def add(self, path: str) -> None:
        if path == METADATA or path.endswith("/" + METADATA):
            self.folders.add(_folder(path))
            return
        artifact = locate(path)
        if artifact is not None:
            self.homes.add(artifact.home)
            self.folders.add(artifact.home)
            if artifact.snapshot:
                self.folders.add(artifact.folder)


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _same_rules(overlay: TreeView) -> bool:
    if overlay.lookup(RULES) is None:
        return False
    with overlay.open(RULES) as file:
        return file.read(len(_EDITION) + 1) == _EDITION


def _look_at(
    view: TreeView, homes: Iterable[str], earlier: Derived
) -> tuple[dict[str, Metadata], dict[str, list[Plugin]]]:
    """Every touched artifact's versions; the plugins of every group where one is, or was, one."""
    versions: dict[str, Metadata] = {}
    now: dict[str, dict[str, Plugin | None]] = defaultdict(dict)
    for path in homes:
        home = Home(view, path)
        versions[path] = Metadata(
            home.group, home.name, versions=tuple(home.versions), updated=home.updated()
        )
        now[_folder(path)][home.name] = home.plugin()
    plugins = {}
    for group, found in now.items():
        before = {each.artifact: each for each in _earlier(group, earlier).plugins}
        after = {**before, **found}
        if any(before.get(name) != plugin for name, plugin in after.items()):
            plugins[group] = [plugin for plugin in after.values() if plugin is not None]
    return versions, plugins


def _earlier(folder: str, earlier: Derived) -> Metadata:
    """What the previous overlay says of a folder."""
    path = _path(folder)
    entry = earlier.overlay.lookup(path)
    if entry is None or entry.size == 0:
        return Metadata()
    with earlier.overlay.open(path) as file:
        return metadata.read(file.read(metadata.MAX_BYTES), path)


def _versions_of(before: Metadata) -> Metadata:
    return Metadata(before.group, before.artifact, versions=before.versions, updated=before.updated)


def _document(view: TreeView, folder: str, versions: Metadata, plugins: list[Plugin]) -> Metadata:
    """All that one folder's document says."""
    if is_snapshot(folder.rpartition("/")[2]):
        files = files_of(view, folder)
        if files:
            return snapshot(files)
    return replace(versions, plugins=tuple(plugins))
