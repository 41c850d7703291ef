"""Which packages of an upstream a filtered repository holds."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import BinaryIO

from manifests.formats.base import Spec
from manifests.formats.bounded import inflate
from manifests.formats.yum.primary import Package
from manifests.formats.yum.version import Evr

_MAX_LINE = 1 << 16


class Selection:
    """The filters of a spec: include, exclude, arches, newest.

    Globs stand for a name, ``name.arch``, ``name-version-release.arch`` or the
    same with an epoch. ``noarch`` is part of every architecture. ``newest``
    counts versions of one name and architecture; packages of modules are exempt, since
    each stream needs its own.
    """

    def __init__(self, spec: Spec) -> None:
        self._include = _pattern(spec.include)
        self._exclude = _pattern(spec.exclude)
        self._arches = frozenset(spec.arches) | {"noarch"} if spec.arches else frozenset()
        self.newest = spec.newest
        self.modular: frozenset[str] = frozenset()

    def matches(self, package: Package) -> bool:
        """Whether the package passes all filters but ``newest``."""
        if self._arches and package.arch not in self._arches:
            return False
        if self._include is None and self._exclude is None:
            return True
        forms = _forms(package)
        if self._include is not None and not any(map(self._include.match, forms)):
            return False
        return self._exclude is None or not any(map(self._exclude.match, forms))

    def newest_of(self, packages: Iterable[Package]) -> dict[tuple[str, str], Evr]:
        """The oldest version that ``newest`` keeps, for each name and architecture."""
        best: dict[tuple[str, str], list[Evr]] = {}
        count = self.newest or 0
        for package in packages:
            if package.nevra in self.modular or not self.matches(package):
                continue
            versions = best.setdefault((package.name, package.arch), [])
            if package.evr not in versions:
                versions.append(package.evr)
                versions.sort(key=Evr.key, reverse=True)
                del versions[count:]
        return {key: versions[-1] for key, versions in best.items()}

    def keeps(self, package: Package, oldest: dict[tuple[str, str], Evr] | None) -> bool:
        """Whether the repository holds the package; ``oldest`` comes from ``newest_of``."""
        if not self.matches(package):
            return False
        if oldest is None or package.nevra in self.modular:
            return True
        return package.evr.key() >= oldest[package.name, package.arch].key()


def modular(source: BinaryIO, where: str) -> frozenset[str]:
    """The NEVRAs that a modules.yaml lists as artifacts (modulemd v2 ``artifacts.rpms``).

    No other list item is one word with a colon in it, so the YAML of an outsider need
    not be interpreted.
    """
    found: set[str] = set()
    rest = b""
    for block in inflate(source, where=where):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()[-_MAX_LINE:]
        found.update(_artifacts(lines))
    found.update(_artifacts([rest]))
    return frozenset(found)


def _artifacts(lines: Iterable[bytes]) -> Iterable[str]:
    for line in lines:
        words = line.split(None, 2) if len(line) < 1024 else []
        if len(words) == 2 and words[0] == b"-" and b":" in words[1]:
            yield words[1].strip(b"\"'").decode("utf-8", "replace")


def _pattern(globs: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(glob) for glob in globs)) if globs else None


def _forms(package: Package) -> tuple[str, ...]:
    epoch, version, release = package.evr
    name, arch = package.name, package.arch
    plain = f"{name}-{version}-{release}"
    full = f"{name}-{epoch or 0}:{version}-{release}"
    return name, f"{name}.{arch}", plain, f"{plain}.{arch}", full, f"{full}.{arch}"
