"""One version's folder while it is crawled: what is wanted of it, and which of its builds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from manifests.digest import Digest
from manifests.formats.base import TreeView
from manifests.formats.maven import metadata, roots
from manifests.formats.maven.layout import locate
from manifests.formats.maven.roots import Root


@dataclass(slots=True, eq=False)
class Folder:
    """``path`` is that of the version; ``files`` are what was asked for there."""

    path: str
    files: list[Root] = field(default_factory=list)
    bare: bool = False
    """Whether its POM decides what else is wanted."""
    waiting: list[Root] = field(default_factory=list)
    """Until the first file's checksum is known."""
    probing: bool = False
    first: int = 0
    """Which kind of checksum to ask for first."""
    wanted: dict[str, Root] = field(default_factory=dict)
    """By path, all that was asked of the upstream."""
    builds: dict[tuple[str, str], str] = field(default_factory=dict)
    """The newest build of each (extension, classifier) of a SNAPSHOT; ("", ""): of all others."""
    bad: dict[str, str] = field(default_factory=dict)
    """Why nothing of a build is taken. A release has one build, which is its version."""
    out: set[str] = field(default_factory=set)
    """The paths that were left out."""

    def left(self, root: Root) -> bool:
        """Whether it was left out already."""
        return root.path in self.out

    @property
    def name(self) -> str:
        """``GROUP:ARTIFACT:VERSION``, for reports."""
        home, _, version = self.path.rpartition("/")
        group, _, name = home.rpartition("/")
        return f"{group.replace('/', '.')}:{name}:{version}"

    def why(self, root: Root) -> str:
        """Why nothing of the build that ``root`` belongs to is taken; "" if it is."""
        return self.bad.get(root.artifact.build, "") if root.artifact else ""

    def build(self, extension: str, classifier: str) -> str:
        """The newest build of a kind, or ""."""
        return self.builds.get((extension, classifier)) or self.builds.get(("", ""), "")

    def current(self) -> Iterator[Root]:
        """A SNAPSHOT's newest builds, and those asked for by their time or by a listing."""
        for root in self.files:
            artifact = root.artifact
            build = "" if artifact is None else self.build(artifact.extension, artifact.classifier)
            if artifact is None or not build or root.digests:
                yield root
                continue
            current = replace(artifact, build=build)
            if roots.known(current):
                yield Root(current.path, current)
            if artifact.moment:
                yield root

    def here(self, tree: TreeView | None) -> Iterator[Root]:
        """The artifacts that a tree has in this folder."""
        for name, entry in tree.children(self.path) if tree is not None else ():
            artifact = locate(f"{self.path}/{name}") if entry is not None else None
            if artifact is not None:
                yield Root(artifact.path, artifact)

    def older(self, tree: TreeView | None, root: Root) -> Iterator[Root]:
        """In the place of a SNAPSHOT's build: the newest other one of its kind in ``tree``."""
        artifact = root.artifact
        if artifact is None or not artifact.moment:
            return
        kind = (artifact.extension, artifact.classifier)
        others = [
            (one.artifact.moment, one)
            for one in self.here(tree)
            if one.path not in self.wanted
            and one.artifact is not None
            and one.artifact.moment is not None
            and (one.artifact.extension, one.artifact.classifier) == kind
        ]
        if others:
            yield max(others, key=lambda each: each[0])[1]


@dataclass(frozen=True, slots=True)
class Note:
    """What a wanted file is for. ``kind``: an index into the checksum kinds; -1 for the file.

    ``seen``: it is asked for a second time; then this came the first time.
    """

    folder: Folder
    root: Root
    kind: int = -1
    leads: bool = False
    seen: Digest | None = None


def is_pom(root: Root) -> bool:
    """Whether it is a version's POM."""
    artifact = root.artifact
    return artifact is not None and artifact.extension == "pom" and not artifact.classifier


def changes(root: Root) -> bool:
    """Whether the same path may get other bytes: a literal SNAPSHOT, or no artifact at all."""
    artifact = root.artifact
    return artifact is None or (artifact.snapshot and artifact.moment is None)


def newest(found: metadata.Metadata) -> dict[tuple[str, str], str]:
    """The build of each (extension, classifier); under ("", "") that of old metadata for all."""
    builds = {(each.extension, each.classifier): each.value for each in found.builds}
    if not builds and found.moment is not None:
        base = found.version.removesuffix("SNAPSHOT")
        builds["", ""] = f"{base}{found.moment[0]}-{found.moment[1]}"
    return builds
