"""Running the real Maven to find out what something needs.

What Maven asks for is by construction what it will ask for inside. Each thing is a module of one
generated build, so that a single Maven resolves thousands, and one that cannot be resolved fails
alone and by name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.sax.saxutils import escape

from manifests import errors
from manifests.formats import xmlstream
from manifests.formats.maven import metadata, pom
from manifests.formats.maven.layout import METADATA, Artifact, coordinates
from manifests.formats.maven.version import in_order
from mirror.maven.clients import Workplace
from mirror.maven.pull import Pull
from mirror.report import printable
from store.store import Store

_PLUGINS = "org.apache.maven.plugins"
_RELEASE = re.compile(r"[0-9]+(\.[0-9]+)*")
_ON_PROJECT = re.compile(r"\[ERROR\] .* on project ([A-Za-z0-9_.-]+): (.*?)(?: -> \[Help \d+\])?$")
_PATIENCE = 3600.0
"""Seconds that one run of Maven may take."""
_EXTENSIONS = {"maven-plugin": "jar", "bundle": "jar", "ejb": "jar", "eclipse-plugin": "jar"}
_MAX_EFFECTIVE = 64 << 20
_MAX_SAID = 64 << 20
_NAMED = 3
_TURNS = 5
_MISSING = re.compile(r"(?:Could not find artifact|Failure to find) [^\s:]+:([^\s:,]+):")


_LISTING = "The following files have been resolved:"
_LISTED = re.compile(
    r"\[INFO\]\s+([^\s:]+):([^\s:]+):[^\s:]+(?::[^\s:]+)?:([^\s:]+):"
    r"(?:compile|provided|runtime|test|system)\b"
)

Version = tuple[str, str, str]
"""Group, artifact and version as Maven prints it."""


@dataclass(slots=True)
class Resolved:
    """What a run found: names that could not be resolved, with the reason.

    ``listed`` is what Maven resolved to, without what Maven and its plugins need themselves;
    None where it did not tell.
    """

    unresolved: dict[str, str] = field(default_factory=dict)
    listed: set[Version] | None = field(default_factory=set)


class Maven:
    """The machine's Maven, set to a workplace's settings. Raises ConfigError if there is none."""

    def __init__(self, place: Workplace, store: Store, pull: Pull) -> None:
        program = shutil.which("mvn")
        if program is None:
            raise errors.ConfigError(
                "`artifacts`, `boms`, `projects` and wants need Maven, and no `mvn` is here",
                remedy="install Maven, or capture builds on a machine that has it",
            )
        self._program = program
        self._place = place
        self._store = store
        self._pull = pull

    def dependencies(self, wanted: Sequence[str]) -> Resolved:
        """Resolve each of these coordinates as a build that depends on it would."""
        if not wanted:
            return Resolved()
        folder = self._fresh("artifacts")
        names = {f"r{number}": each for number, each in enumerate(wanted)}
        modules = "".join(f"<module>{name}</module>" for name in names)
        (folder / "pom.xml").write_text(_pom("all", f"<modules>{modules}</modules>"), "utf-8")
        for name, each in names.items():
            (folder / name).mkdir()
            (folder / name / "pom.xml").write_text(_pom(name, self._dependency(each)), "utf-8")
        plugin = self._plugin("maven-dependency-plugin")
        code, said = self._run(folder, ["-fae", f"{plugin}:resolve"], folder / "pom.xml")
        found = Resolved()
        for name, reason in _failures(said):
            if name in names:
                found.unresolved[names[name]] = reason
        if code and not found.unresolved:
            reason = _last_error(said)
            found.unresolved = dict.fromkeys(wanted, reason)
        found.listed = _listed(code, said)
        return found

    def project(self, pom: Path, name: str) -> Resolved:
        """Resolve dependencies and plugins of a project, with its modules."""
        plugin = self._plugin("maven-dependency-plugin")
        reasons: list[str] = []
        left_out: list[str] = []
        listed: set[Version] | None = None
        # One after the other, and what nobody has left out: it must not keep the others away.
        for turn, goal in enumerate(["resolve", *["resolve-plugins"] * _TURNS]):
            words = ["-fae", f"{plugin}:{goal}"]
            if left_out:
                words.append(f"-DexcludeArtifactIds={','.join(left_out)}")
            code, said = self._run(pom.parent, words, pom, again=turn > 0)
            if turn == 0:
                listed = _listed(code, said)
            if not code:
                if turn > 0:
                    break
                continue
            found = [f"{module}: {reason}" for module, reason in _failures(said)]
            reasons += found[:_NAMED] or [_last_error(said)]
            missing = _MISSING.search(" ".join(found))
            if turn > 0 and (missing is None or missing[1] in left_out):
                break
            if missing is not None:
                left_out.append(missing[1])
        return Resolved({name: "; ".join(dict.fromkeys(reasons))} if reasons else {}, listed)

    def managed(self, bom: str) -> list[str]:
        """The coordinates that a BOM manages, by Maven's effective model.

        Raises UpstreamError where Maven cannot make one.
        """
        folder = self._fresh("bom")
        group, artifact, version = bom.split(":")
        row = _row(group, artifact, version, "pom", "", "<scope>import</scope>")
        (folder / "pom.xml").write_text(
            _pom("bom", f"<dependencyManagement><dependencies>{row}</dependencies>"
                 "</dependencyManagement>"),
            "utf-8",
        )  # fmt: skip
        plugin = self._plugin("maven-help-plugin")
        target = folder / "effective.xml"
        code, said = self._run(
            folder, ["-N", f"{plugin}:effective-pom", f"-Doutput={target}"], folder / "pom.xml"
        )
        if code or not target.is_file():
            raise errors.UpstreamRefused(_last_error(said), where=bom)
        with target.open("rb") as file:
            return list(_managed(file.read(_MAX_EFFECTIVE), bom))

    # --- running

    def _dependency(self, wanted: str) -> str:
        artifact = coordinates(wanted)
        extension = artifact.extension or self._packaging(wanted)
        row = _row(
            artifact.group, artifact.name, artifact.build or artifact.version, extension,
            artifact.classifier,
        )  # fmt: skip
        return f"<dependencies>{row}</dependencies>"

    def _packaging(self, wanted: str) -> str:
        """The extension of an artifact's main file, by its POM; ``jar`` if that cannot be told."""
        artifact = coordinates(wanted)
        try:
            held = self._pull.get(self._pom_path(artifact))
            if held is None:
                return "jar"
            read = pom.parse(self._store.small(held.digest, pom.MAX_BYTES), wanted)
        except (errors.UpstreamError, errors.FormatError):
            return "jar"  # Maven says what is wrong with it
        return _EXTENSIONS.get(read.packaging, read.packaging)

    def _pom_path(self, artifact: Artifact) -> str:
        """Where the POM lies: of a SNAPSHOT that of its newest build, by its metadata."""
        path = replace(artifact, extension="pom", classifier="").path
        if not artifact.snapshot or artifact.moment:
            return path
        index = f"{artifact.folder}/{METADATA}"
        held = self._pull.get(index)
        if held is None:
            return path
        found = metadata.read(self._store.small(held.digest, metadata.MAX_BYTES), index)
        builds = (b.value for b in found.builds if (b.extension, b.classifier) == ("pom", ""))
        return replace(artifact, extension="pom", build=next(builds, artifact.build)).path

    def _plugin(self, name: str) -> str:
        """The newest release of a plugin that the upstream has."""
        path = f"{_PLUGINS.replace('.', '/')}/{name}/{METADATA}"
        try:
            held = self._pull.get(path, record=False)
            if held is not None:
                data = self._store.small(held.digest, metadata.MAX_BYTES)
                releases = [v for v in metadata.read(data, path).versions if _RELEASE.fullmatch(v)]
                if releases:
                    return f"{_PLUGINS}:{name}:{in_order(releases)[-1]}"
        except errors.FormatError:
            pass  # then Maven's own choice
        return f"{_PLUGINS}:{name}"

    def _fresh(self, name: str) -> Path:
        folder = self._place.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def _run(
        self, folder: Path, words: Sequence[str], pom: Path, *, again: bool = False
    ) -> tuple[int, str]:
        """Exit code and output, from an empty local repository, unless it is used ``again``."""
        if not again:
            shutil.rmtree(self._place.local, ignore_errors=True)
            self._place.local.mkdir()
        settings = str(self._place.settings)
        command = [self._program, "-B", "-ntp", "-C", "-s", settings, "-gs", settings,
                   f"-Dmaven.repo.local={self._place.local}", "-f", str(pom), *words]  # fmt: skip
        log = self._place.folder / "said"
        environment = self._place.environment()
        environment.pop("MAVEN_ARGS", None)
        with log.open("wb") as output:
            try:
                done = subprocess.run(
                    command,
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    timeout=_PATIENCE,
                    check=False,
                )
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = 124
        with log.open("rb") as written:
            return code, written.read(_MAX_SAID).decode("utf-8", "replace")


def _pom(name: str, content: str) -> str:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<project><modelVersion>4.0.0</modelVersion>'
        f"<groupId>sluice.closure</groupId><artifactId>{name}</artifactId><version>1</version>"
        f"<packaging>pom</packaging>{content}</project>\n"
    )


def _row(
    group: str, artifact: str, version: str, extension: str, classifier: str, more: str = ""
) -> str:
    cells = {"groupId": group, "artifactId": artifact, "version": version, "type": extension}
    if classifier:
        cells["classifier"] = classifier
    text = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in cells.items())
    return f"<dependency>{text}{more}</dependency>"


def _failures(said: str) -> Iterator[tuple[str, str]]:
    for line in said.splitlines():
        found = _ON_PROJECT.match(line)
        if found is not None:
            yield found[1], printable(_without_settings(found[2]))


def _listed(code: int, said: str) -> set[Version] | None:
    """What the dependency plugin says that it resolved; None if it does not say so."""
    if not code and _LISTING not in said:
        return None
    matches = map(_LISTED.match, said.splitlines())
    return {(match[1], match[2], match[3]) for match in matches if match is not None}


def _last_error(said: str) -> str:
    """What Maven gave as the reason: its first line of errors, else its last line of all."""
    lines = [line for line in said.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("[ERROR]") and len(line) > 10]
    found = (wrong or lines[-1:] or ["Maven said nothing"])[0].removeprefix("[ERROR]").strip()
    return printable(_without_settings(found))


def _without_settings(text: str) -> str:
    """A reason without the address of a proxy that is gone by the time it is read."""
    text = re.sub(r"\s*->\s*\[Help \d+\]$", "", text)
    text = re.sub(r"^Could not resolve dependencies for project sluice\.closure:\S+ ", "", text)
    return re.sub(r" (?:in|from/to|from) sluice \(http://[^)\s]*\)", " upstream", text)


@dataclass(slots=True)
class _Managed:
    deepest: int = 6
    names: list[str] = field(default_factory=list)
    row: dict[str, str] = field(default_factory=dict)
    found: list[Mapping[str, str]] = field(default_factory=list)

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        self.names[depth - 1 :] = [name]

    def end(self, depth: int, name: str, text: str) -> None:
        where = self.names[:depth]
        if where[-4:-1] == ["dependencyManagement", "dependencies", "dependency"]:
            self.row[name] = text.strip()
        elif where[-3:] == ["dependencyManagement", "dependencies", "dependency"]:
            self.found.append(self.row)
            self.row = {}


def _managed(data: bytes, where: str) -> Iterator[str]:
    reading = _Managed()
    for _ in xmlstream.read([data], reading, where):
        pass
    for row in reading.found:
        if row.get("scope") in ("import", "system"):
            continue
        extension, classifier = row.get("type", "jar"), row.get("classifier", "")
        if extension == "test-jar":
            extension, classifier = "jar", classifier or "tests"
        words = [row.get("groupId", ""), row.get("artifactId", "")]
        words += (
            [extension, classifier] if classifier else [extension] if extension != "jar" else []
        )
        text = ":".join([*words, row.get("version", "")])
        try:
            coordinates(text)
        except errors.BadPath:
            continue  # a version that is a range, or left open
        yield text
