"""``maven-metadata.xml``: what an artifact's, a SNAPSHOT's or a group's folder holds.

Repository Metadata model 1.1. One document may say all three, since a folder can be a group and an
artifact at once. No clock is read: ``lastUpdated`` is the newest SNAPSHOT build's time, or the
beginning of time where only releases are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape

from manifests.formats import xmlstream
from manifests.formats.maven.layout import is_snapshot
from manifests.formats.maven.plugin import Plugin
from manifests.formats.maven.version import in_order

MAX_BYTES = 16 << 20
NEVER = "19700101000000"
_MOMENT = re.compile(r"[0-9]{14}")
_STAMP = re.compile(r"[0-9]{8}\.[0-9]{6}")
_BUILD = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True, slots=True)
class Build:
    """The newest file of one kind in a SNAPSHOT's folder (``snapshotVersion``)."""

    extension: str
    classifier: str
    value: str
    updated: str = ""


@dataclass(frozen=True, slots=True)
class Metadata:
    """``latest`` is the newest of ``versions``, ``release`` the newest that is no SNAPSHOT."""

    group: str = ""
    artifact: str = ""
    version: str = ""
    """Of a SNAPSHOT's folder only."""
    versions: tuple[str, ...] = ()
    updated: str = ""
    """``yyyyMMddHHmmss``, UTC."""
    moment: tuple[str, int] | None = None
    """Time stamp and number of a SNAPSHOT's newest build."""
    builds: tuple[Build, ...] = ()
    plugins: tuple[Plugin, ...] = ()

    @property
    def empty(self) -> bool:
        return not (self.versions or self.builds or self.plugins)


def write(data: Metadata) -> bytes:
    """The document; the same value gives the same bytes. Versions are put in Maven's order."""
    rows = ['<?xml version="1.0" encoding="UTF-8"?>', '<metadata modelVersion="1.1.0">']
    if data.versions or data.builds:
        rows.append(_element(1, "groupId", data.group))
        rows.append(_element(1, "artifactId", data.artifact))
        if data.version:
            rows.append(_element(1, "version", data.version))
        rows.append("  <versioning>")
        rows += _versions(data.versions)
        if data.builds:
            rows += _snapshot(data)
        rows.append(_element(2, "lastUpdated", data.updated or NEVER))
        if data.builds:
            rows.append("    <snapshotVersions>")
            for each in sorted(data.builds, key=lambda b: (b.classifier, b.extension)):
                rows += _build(each)
            rows.append("    </snapshotVersions>")
        rows.append("  </versioning>")
    if data.plugins:
        rows.append("  <plugins>")
        for plugin in sorted(data.plugins, key=lambda p: (p.prefix, p.artifact)):
            rows.append("    <plugin>")
            rows.append(_element(3, "name", plugin.name))
            rows.append(_element(3, "prefix", plugin.prefix))
            rows.append(_element(3, "artifactId", plugin.artifact))
            rows.append("    </plugin>")
        rows.append("  </plugins>")
    rows.append("</metadata>\n")
    return "\n".join(rows).encode()


def _versions(versions: Iterable[str]) -> list[str]:
    ordered = in_order(set(versions))
    if not ordered:
        return []
    releases = [version for version in ordered if not is_snapshot(version)]
    rows = [_element(2, "latest", ordered[-1])]
    if releases:
        rows.append(_element(2, "release", releases[-1]))
    return [
        *rows,
        "    <versions>",
        *(_element(3, "version", version) for version in ordered),
        "    </versions>",
    ]


def _snapshot(data: Metadata) -> list[str]:
    if data.moment is None:
        return []
    return [
        "    <snapshot>",
        _element(3, "timestamp", data.moment[0]),
        _element(3, "buildNumber", str(data.moment[1])),
        "    </snapshot>",
    ]


def _build(build: Build) -> list[str]:
    return [
        "      <snapshotVersion>",
        *([_element(4, "classifier", build.classifier)] if build.classifier else []),
        _element(4, "extension", build.extension),
        _element(4, "value", build.value),
        *([_element(4, "updated", build.updated)] if build.updated else []),
        "      </snapshotVersion>",
    ]


def _element(depth: int, name: str, text: str) -> str:
    return f"{'  ' * depth}<{name}>{escape(text, quote=False)}</{name}>"


@dataclass(slots=True)
class _Reading:
    deepest: int = 5
    names: list[str] = field(default_factory=list)
    found: dict[str, str] = field(default_factory=dict)
    versions: list[str] = field(default_factory=list)
    row: dict[str, str] = field(default_factory=dict)
    builds: list[Build] = field(default_factory=list)
    plugins: list[Plugin] = field(default_factory=list)

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        self.names[depth - 1 :] = [name]

    def end(self, depth: int, name: str, text: str) -> None:
        where, text = "/".join(self.names[1:depth]), text.strip()
        row = self.row
        if where == "versioning/versions/version":
            self.versions.append(text)
        elif where == "versioning/snapshotVersions/snapshotVersion":
            if "extension" in row and "value" in row:
                self.builds.append(
                    Build(row["extension"], row.get("classifier", ""), row["value"],
                          row.get("updated", ""))
                )  # fmt: skip
            row.clear()
        elif where == "plugins/plugin":
            if "prefix" in row and "artifactId" in row:
                name = row.get("name", "") or row["artifactId"]
                self.plugins.append(Plugin(name, row["prefix"], row["artifactId"]))
            row.clear()
        elif depth > 3 or where.startswith("plugins/"):
            row[name] = text
            self.found[where] = text
        else:
            self.found[where] = text


def read(data: bytes, where: str) -> Metadata:
    """Read a document of an upstream, or ours. Values are strangers' text.

    Raises ForbiddenXml, MalformedIndex, OversizedIndex.
    """
    reading = _Reading()
    for _ in xmlstream.read([data], reading, where):
        pass
    found = reading.found
    stamp = found.get("versioning/snapshot/timestamp", "")
    number = found.get("versioning/snapshot/buildNumber", "")
    updated = found.get("versioning/lastUpdated", "")
    return Metadata(
        found.get("groupId", ""),
        found.get("artifactId", ""),
        found.get("version", ""),
        tuple(reading.versions),
        updated if _MOMENT.fullmatch(updated) else "",
        (stamp, int(number)) if _STAMP.fullmatch(stamp) and _BUILD.fullmatch(number) else None,
        tuple(reading.builds),
        tuple(reading.plugins),
    )


def merged(documents: Iterable[Metadata]) -> Metadata:
    """One document for several repositories of which the first that has something wins.

    Versions are united; of each kind of SNAPSHOT file the newest build counts.
    """
    all_of = list(documents)
    first = next((each for each in all_of if each.group), Metadata())
    builds: dict[tuple[str, str], Build] = {}
    plugins: dict[str, Plugin] = {}
    for each in all_of:
        for build in each.builds:
            key = (build.classifier, build.extension)
            if key not in builds or builds[key].updated < build.updated:
                builds[key] = build
        for plugin in each.plugins:
            plugins.setdefault(plugin.prefix, plugin)
    return Metadata(
        first.group,
        first.artifact,
        first.version,
        tuple(version for each in all_of for version in each.versions),
        max((each.updated for each in all_of), default=""),
        max((each.moment for each in all_of if each.moment), default=None),
        tuple(builds.values()),
        tuple(plugins.values()),
    )
