"""``maven``: repositories of Java artifacts, as Maven, Gradle, Ivy and IDEs read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from manifests.errors import BadPath
from manifests.formats.base import (
    Answer,
    Crawl,
    Derived,
    Made,
    Missing,
    Problem,
    Request,
    SendEntry,
    Signed,
    Signer,
    Spec,
    StaticFormat,
    TreeView,
    content_type,
)
from manifests.formats.described import Described, Opener, plain
from manifests.formats.maven.check import check
from manifests.formats.maven.contents import holds
from manifests.formats.maven.derive import derive
from manifests.formats.maven.layout import METADATA, Artifact, checksum_of, coordinates, locate
from manifests.formats.maven.merge import merge
from manifests.formats.merging import Merge
from manifests.tree import PRIVATE, Entry

_TYPES = {
    "jar": "application/java-archive",
    "war": "application/java-archive",
    "ear": "application/java-archive",
    "aar": "application/java-archive",
    "pom": "text/xml",
    "module": "application/json",
    "zip": "application/zip",
}


class MavenFormat(StaticFormat):
    """Artifacts verbatim; metadata derived; checksums made when they are asked for."""

    name = "maven"
    mergeable = True

    def selects(self, spec: Spec) -> bool:
        return spec.filtered or "roots" in spec.options

    def crawl(self, spec: Spec, previous: TreeView | None) -> Crawl:
        # Loaded when it is needed: only the mirror crawls, and it starts seldom.
        from manifests.formats.maven.crawl import MavenCrawl

        return MavenCrawl(spec, previous)

    def describe(self, path: str, opener: Opener) -> Described:
        """An artifact by its coordinates."""
        artifact = locate(path)
        if artifact is None:
            return plain(path, "checksum" if checksum_of(path) else "file")
        name = f"{artifact.group}:{artifact.name}"
        return Described("artifact", str(artifact), name, artifact.build or artifact.version)

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        return check(view)

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterator[Signed]:
        """With ``packages`` every artifact with its ``.asc``, whether that is there or not."""
        if not packages:
            return
        for entry in view.entries():
            artifact = None if entry.path.startswith(PRIVATE) else locate(entry.path)
            if artifact is not None and not artifact.extension.endswith(".asc"):
                yield Signed(entry.path, "openpgp-detached", entry.path + ".asc")

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, Made]]:
        return derive(view, previous)

    def merge(self, path: str) -> Merge | None:
        return merge(path)

    def may_be_root(self, text: str) -> bool:
        """Coordinates."""
        try:
            coordinates(text)
        except BadPath:
            return False
        return True

    def holds(self, want: str, view: TreeView) -> bool:
        return holds(view, want)

    def immutable(self, path: str) -> bool:
        """Releases and single builds of a SNAPSHOT."""
        artifact = locate(path)
        return artifact is not None and (not artifact.snapshot or artifact.moment is not None)

    def answer(self, request: Request, view: TreeView) -> Answer:
        """Files as they are; the checksum of any of them; 404, and a want for artifacts only."""
        path = request.path
        if path.startswith(PRIVATE):
            return Missing()
        entry = view.lookup(path)
        summed = checksum_of(path)
        if summed is not None:
            file, algorithm = summed
            of = None if file.startswith(PRIVATE) else _there(view, file)
            if of is not None:
                # Ours also where the upstream's own lies in the tree: one form for all clients.
                value = view.checksums([of], algorithm)[0].encode()
                return SendEntry(of, "text/plain", self.immutable(file), body=value)
        if entry is not None:
            if _there(view, path) is None:
                return Missing()
            return SendEntry(entry, _type(path), self.immutable(path))
        answer = super().answer(request, view)
        if not isinstance(answer, Missing):
            return answer
        artifact = locate(path) if summed is None else None
        if artifact is None or artifact.extension.endswith(".asc"):
            return Missing()
        return Missing(want=_want(artifact))


def _want(artifact: Artifact) -> str:
    """One want for a POM and its JAR: clients ask for both, and either brings the other."""
    if artifact.extension == "pom" and not artifact.classifier:
        return str(replace(artifact, extension="jar"))
    return str(artifact)


def _there(view: TreeView, path: str) -> Entry | None:
    """The entry, unless it is metadata that was derived empty: nothing is in that folder."""
    entry = view.lookup(path)
    if entry is not None and entry.size == 0 and path.rpartition("/")[2] == METADATA:
        return None
    return entry


def _type(path: str) -> str:
    return _TYPES.get(path.rpartition(".")[2]) or content_type(path)
