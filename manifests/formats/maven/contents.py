"""What a folder of the layout holds: complete versions, SNAPSHOT builds, a plugin.

A version counts as complete, and so is listed, if a file besides its POM is there, or if the POM
needs none (packaging ``pom``, or relocated). A build reads the POMs of versions that it does not
use in the end; a range must not lead to those. Sources and javadoc alone complete nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from manifests.errors import BadPath, FormatError
from manifests.formats.base import TreeView
from manifests.formats.maven import pom
from manifests.formats.maven.layout import METADATA, Artifact, coordinates, is_snapshot, locate
from manifests.formats.maven.metadata import Build, Metadata
from manifests.formats.maven.plugin import Plugin, describe
from manifests.formats.maven.version import in_order

_SIDE = frozenset(("sources", "javadoc", "test-sources", "test-javadoc", "tests"))


@dataclass(slots=True)
class Version:
    """The files of one version's folder, signatures left out."""

    files: list[Artifact]

    def pom(self) -> Artifact | None:
        """The (newest) POM."""
        return self.newest("pom", "")

    def newest(self, extension: str, classifier: str) -> Artifact | None:
        """The newest file of a kind; a literal ``-SNAPSHOT`` is older than any build."""
        files = (f for f in self.files if (f.extension, f.classifier) == (extension, classifier))
        return max(files, key=_age, default=None)

    def main(self) -> bool:
        """Whether there is a file that a dependency may mean."""
        return any(f.extension != "pom" and f.classifier not in _SIDE for f in self.files)


def _age(artifact: Artifact) -> tuple[str, int]:
    return artifact.moment or ("", 0)


class Home:
    """The folder of one artifact. Looks at POMs only where the names do not tell enough.

    ``files`` are all of the artifact's files by version; without them they are looked up.
    """

    def __init__(
        self, view: TreeView, path: str, files: Mapping[str, list[Artifact]] | None = None
    ) -> None:
        self._view = view
        self.path = path
        self.group, self.name = path.rpartition("/")[0].replace("/", "."), path.rpartition("/")[2]
        found = _by_version(view, path) if files is None else files
        self._folders: dict[str, Version] = {}
        for version in found:
            unsigned = [file for file in found[version] if not file.extension.endswith(".asc")]
            if unsigned:
                self._folders[version] = Version(unsigned)
        self.versions = [n for n in in_order(self._folders) if self._complete(self._folders[n])]

    def _complete(self, version: Version) -> bool:
        return version.main() or _is_pom_alone(self._view, version)

    def plugin(self) -> Plugin | None:
        """The plugin that the newest version is, if its POM says so and its JAR can be read."""
        if not self.versions:
            return None
        newest = self._folders[self.versions[-1]]
        located, jar = newest.pom(), newest.newest("jar", "")
        if located is None or jar is None:
            return None
        read = pom.try_read(self._view, located.path)
        if read is None or read.packaging != "maven-plugin":
            return None
        try:
            with self._view.open(jar.path) as file:
                return describe(file, self.name, jar.path)
        except FormatError:
            return None  # one broken JAR must not keep the others back; ``check`` names it

    def updated(self) -> str:
        """The time of the newest SNAPSHOT build, if there is one."""
        return max(
            (_moment(file) for version in self.versions if is_snapshot(version)
             for file in self._folders[version].files),
            default="",
        )  # fmt: skip


def holds(view: TreeView, want: str) -> bool:
    """Whether a path, or what coordinates stand for, is there.

    Coordinates without an extension are there with their POM and its main file, or with a POM
    that needs none. Any build of a SNAPSHOT will do, unless one is named.
    """
    if "/" in want:
        return view.lookup(want) is not None
    try:
        wanted = coordinates(want)
    except BadPath:
        return False
    version = Version(files_of(view, wanted.folder))
    if wanted.build != wanted.version:
        version.files = [file for file in version.files if file.build == wanted.build]
    if wanted.extension:
        return version.newest(wanted.extension, wanted.classifier) is not None
    if version.pom() is None:
        return False
    if any(not f.classifier and not f.extension.startswith("pom") for f in version.files):
        return True
    return _is_pom_alone(view, version)


def _is_pom_alone(view: TreeView, version: Version) -> bool:
    """Whether the POM of a version says that nothing else belongs to it."""
    located = version.pom()
    read = pom.try_read(view, located.path) if located else None
    return read is not None and (read.packaging == "pom" or read.relocated)


def snapshot(files: Sequence[Artifact]) -> Metadata:
    """What SNAPSHOT-level metadata says of the files in a version's folder; at least one."""
    newest: dict[tuple[str, str], Artifact] = {}
    for file in files:
        key = (file.classifier, file.extension)
        if key not in newest or _age(newest[key]) < _age(file):
            newest[key] = file
    builds = (
        Build(f.extension, f.classifier, f.build, _moment(f)) for _, f in sorted(newest.items())
    )
    return Metadata(
        files[0].group,
        files[0].name,
        files[0].version,
        updated=max(map(_moment, files)),
        moment=max((f.moment for f in files if f.moment), default=None),
        builds=tuple(builds),
    )


def _moment(file: Artifact) -> str:
    return file.moment[0].replace(".", "") if file.moment else ""


def files_of(view: TreeView, folder: str) -> list[Artifact]:
    """The artifacts in a version's folder, signatures too."""
    found = []
    for name, entry in view.children(folder):
        artifact = locate(f"{folder}/{name}") if entry is not None and name != METADATA else None
        if artifact is not None:
            found.append(artifact)
    return found


def _by_version(view: TreeView, home: str) -> dict[str, list[Artifact]]:
    names = [name for name, entry in view.children(home) if entry is None]
    return {name: files_of(view, f"{home}/{name}") for name in names}
