"""The repository layout: which path holds which artifact (Maven's "default" layout).

``GROUP/ARTIFACT/VERSION/ARTIFACT-VERSION[-CLASSIFIER].EXTENSION`` with the dots of the group
as slashes. A SNAPSHOT's files lie in the folder ``BASE-SNAPSHOT`` and carry either that name
or ``BASE-YYYYMMDD.HHMMSS-BUILD``. Coordinates are written as Maven's resolver reads them:
``GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256

from manifests.errors import BadPath
from manifests.tree import PRIVATE, check_path

METADATA = "maven-metadata.xml"
#: Strongest first; the value is the length in hexadecimal digits.
CHECKSUMS = {"sha512": 128, "sha256": 64, "sha1": 40, "md5": 32}
#: What Maven calls SNAPSHOT: the end of a version that stands for its newest build.
SNAPSHOT = "SNAPSHOT"

# What Maven itself allows in identifiers; in versions whatever is no separator anywhere.
_ID = re.compile(r"[A-Za-z0-9_.-]+")
_VERSION = re.compile(r"""[^\\/:"<>|?*\[\](){},;%\s]+""")
_GROUP = re.compile(r"[A-Za-z0-9_-]+(?:/[A-Za-z0-9_-]+)*")
_EXTENSION = re.compile(r"(?:-(.+?))?\.((?:tar\.)?[A-Za-z0-9_+-]+(?:\.asc)?)")
_BUILD = re.compile(r"(.*?)-([0-9]{8}\.[0-9]{6})-([1-9][0-9]{0,8})")
_SUM_ENDINGS = tuple(f".{kind}" for kind in CHECKSUMS)


@dataclass(frozen=True, slots=True)
class Artifact:
    """One file of the layout. ``version`` is that of its folder (``1.0-SNAPSHOT``).

    ``build`` is the version in the file's name: another one only for a SNAPSHOT's build.
    """

    group: str
    name: str
    version: str
    extension: str
    classifier: str = ""
    build: str = ""

    @property
    def snapshot(self) -> bool:
        return is_snapshot(self.version)

    @property
    def folder(self) -> str:
        """The version's folder."""
        return f"{self.home}/{self.version}"

    @property
    def home(self) -> str:
        """The folder of the artifact, with one folder for each version."""
        return f"{self.group.replace('.', '/')}/{self.name}"

    @property
    def path(self) -> str:
        return f"{self.folder}/{self.file}"

    @property
    def file(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.build or self.version}{classifier}.{self.extension}"

    @property
    def moment(self) -> tuple[str, int] | None:
        """Time stamp and build number of a SNAPSHOT's build."""
        found = _BUILD.fullmatch(self.build) if self.build != self.version else None
        return (found[2], int(found[3])) if found else None

    def __str__(self) -> str:
        middle = f":{self.extension}" if self.extension != "jar" or self.classifier else ""
        middle += f":{self.classifier}" if self.classifier else ""
        return f"{self.group}:{self.name}{middle}:{self.version}"


def is_snapshot(version: str) -> bool:
    """Whether ``version`` is the folder of a SNAPSHOT."""
    return version == SNAPSHOT or version.endswith("-" + SNAPSHOT)


def locate(path: str) -> Artifact | None:
    """The artifact that belongs at ``path``; None for whatever is no artifact.

    Checksum files and metadata are none; a signature is one, with the extension ``jar.asc``.
    """
    folder, _, file = path.rpartition("/")
    place = _place(folder)
    if place is None or path.endswith(_SUM_ENDINGS):
        return None
    group, name, version = place
    if not file.startswith(f"{name}-"):
        return None
    rest = file[len(name) + 1 :]
    build = version
    if not rest.startswith((f"{version}.", f"{version}-")):
        found = _BUILD.match(rest) if is_snapshot(version) else None
        if found is None or found[1] != version.removesuffix(SNAPSHOT).removesuffix("-"):
            return None
        build = found[0]
    tail = _EXTENSION.fullmatch(rest[len(build) :])
    if tail is None or not _VERSION.fullmatch(file):
        return None
    return Artifact(group, name, version, tail[2], tail[1] or "", build)


@lru_cache(256)  # the files of a folder follow each other
def _place(folder: str) -> tuple[str, str, str] | None:
    """Group, artifact and version of a version's folder."""
    parts = folder.rsplit("/", 2)
    if len(parts) != 3:
        return None
    group, name, version = parts
    if not (_GROUP.fullmatch(group) and _ID.fullmatch(name) and _VERSION.fullmatch(version)):
        return None
    return group.replace("/", "."), name, version


def coordinates(text: str) -> Artifact:
    """Read ``GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION``; raises BadPath.

    Without an extension the artifact has the empty one: the POM knows what belongs to it.
    A version like ``1.0-20240501.120000-3`` names that build of a SNAPSHOT.
    """
    words = text.split(":")
    if not 3 <= len(words) <= 5:
        raise BadPath("not GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION", where=shown(text))
    group, name, version = words[0], words[1], words[-1]
    extension = words[2] if len(words) > 3 else ""
    classifier = words[3] if len(words) > 4 else ""
    build = version
    if (found := _BUILD.fullmatch(version)) is not None:
        version = f"{found[1]}-{SNAPSHOT}"
    artifact = Artifact(group, name, version, extension, classifier, build)
    sample = artifact if extension else Artifact(group, name, version, "pom", "", build)
    if locate(safe_path(sample.path)) != sample:
        raise BadPath("coordinates that the repository layout cannot hold", where=shown(text))
    return artifact


def safe_path(path: str) -> str:
    """``path`` if an upstream may be asked for it: one of a tree, unescaped; raises BadPath."""
    if "%" in path or "\\" in path:
        raise BadPath("an escaped or backward slash in a path", where=shown(path))
    if check_path(path).startswith(PRIVATE):
        raise BadPath(f"a path below {PRIVATE}", where=shown(path))
    return path


def checksum_of(path: str) -> tuple[str, str] | None:
    """(file, algorithm) for the path of a checksum file, else None."""
    if not path.endswith(_SUM_ENDINGS):
        return None
    file, _, algorithm = path.rpartition(".")
    return file, algorithm


def named(path: str) -> str:
    """How a report names the file at ``path``: its coordinates, or else the path."""
    artifact = locate(path)
    return str(artifact) if artifact else shown(path)


def shown(text: str) -> str:
    """A stranger's text as one printable ASCII line."""
    return ascii(text[:200])[1:-1]


def shard_of(path: str) -> str:
    """Two digits that stand for the folder of ``path``; the same for all files of a version."""
    return sha256(path.rpartition("/")[0].encode()).hexdigest()[:2]
