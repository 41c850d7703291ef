"""The format contract carries Maven: a throw-away crawl with checksum fallbacks and parents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from manifests.formats import xmlstream
from manifests.formats.base import Absent, Crawl, Result, Spec, Wanted
from manifests.formats.bounded import read_small
from tests.support.formats import Broken, drive

CHECKSUMS = ("sha1", "md5")


@dataclass(frozen=True)
class Step:
    """``path`` is the artifact; ``tried`` counts the checksum files that were asked for."""

    path: str
    tried: int | None = None
    required: bool = True


class Pom:
    """Collects what a crawl follows: the parent's coordinates and the packaging."""

    deepest = 3

    def __init__(self) -> None:
        self.names: list[str] = []
        self.parent: dict[str, str] = {}
        self.packaging = "jar"

    def start(self, depth: int, name: str, attributes: dict[str, str]) -> None:
        self.names[depth - 1 :] = [name]

    def end(self, depth: int, name: str, text: str) -> None:
        if depth == 3 and self.names[1] == "parent":
            self.parent[name] = text.strip()
        elif depth == 2 and name == "packaging":
            self.packaging = text.strip()


def place(group: str, artifact: str, version: str, kind: str) -> str:
    return f"{group.replace('.', '/')}/{artifact}/{version}/{artifact}-{version}.{kind}"


class MavenCrawl:
    def __init__(self, coordinates: list[str]) -> None:
        self._coordinates = coordinates

    def start(self) -> Iterable[Wanted]:
        for each in self._coordinates:
            group, artifact, version = each.split(":")
            folder = f"{group.replace('.', '/')}/{artifact}"
            yield Wanted(f"{folder}/maven-metadata.xml", volatile=True, keep=False, required=False)
            yield self._checksum(Step(place(group, artifact, version, "pom"), 0))

    def _checksum(self, step: Step) -> Wanted:
        """The next checksum file, which is for parsing only: ours are derived."""
        assert step.tried is not None
        path = f"{step.path}.{CHECKSUMS[step.tried]}"
        return Wanted(path, limit=1000, required=False, parse=True, keep=False, note=step)

    def _artifact(self, step: Step, digests: dict[str, str]) -> Wanted:
        return Wanted(
            step.path,
            digests=digests,
            limit=None if digests else 1 << 30,
            required=step.required,
            parse=step.path.endswith(".pom"),
            note=Step(step.path, None, step.required),
        )

    def feed(self, wanted: Wanted, result: Result) -> Iterable[Wanted]:
        step = wanted.note
        if not isinstance(step, Step):
            return
        if step.tried is None:
            if not isinstance(result, Absent):
                with result.body.open() as file:
                    yield from self._pom(step.path, read_small(file, 1 << 20, step.path))
        elif isinstance(result, Absent):
            if step.tried + 1 < len(CHECKSUMS):
                yield self._checksum(Step(step.path, step.tried + 1, step.required))
            else:
                yield self._artifact(step, {})
        else:
            with result.body.open() as file:
                words = read_small(file, 1000, wanted.path).split()
            yield self._artifact(step, {CHECKSUMS[step.tried]: words[0].decode().lower()})

    def _pom(self, path: str, data: bytes) -> Iterator[Wanted]:
        pom = Pom()
        for _ in xmlstream.read([data], pom, path):
            pass
        if pom.packaging != "pom":
            yield self._checksum(Step(re.sub(r"pom$", pom.packaging, path), 0))
        if pom.parent:
            parent = place(
                pom.parent["groupId"], pom.parent["artifactId"], pom.parent["version"], "pom"
            )
            # A parent may live in another repository; then its absence is advice.
            yield self._checksum(Step(parent, 0, required=False))

    def facts(self) -> Iterable[tuple[str, bytes]]:
        return ()


def pom(parent: str = "", packaging: str = "jar") -> bytes:
    names = ("groupId", "artifactId", "version")
    rows = "".join(f"<{n}>{v}</{n}>" for n, v in zip(names, parent.split(":"), strict=False))
    inner = f"<parent>{rows}</parent>" if parent else ""
    space = 'xmlns="http://maven.apache.org/POM/4.0.0"'
    return f"<project {space}>{inner}<packaging>{packaging}</packaging></project>".encode()


def upstream() -> dict[str, bytes]:
    app, base = "org/example/app/1.0/app-1.0", "org/example/base/2/base-2"
    files = {
        f"{app}.pom": pom("org.example:base:2"),
        f"{app}.jar": b"jar",
        f"{base}.pom": pom("org.elsewhere:root:9", "pom"),
        "org/example/app/maven-metadata.xml": b"<metadata/>",
    }
    files[f"{app}.pom.sha1"] = hashlib.sha1(files[f"{app}.pom"]).hexdigest().encode() + b"  app\n"
    files[f"{app}.jar.md5"] = hashlib.md5(b"jar").hexdigest().upper().encode()
    return files


def run_of(files: dict[str, bytes]) -> tuple[set[str], list[str]]:
    crawl: Crawl = MavenCrawl(["org.example:app:1.0"])
    run = drive(crawl, files)
    return set(run.files), run.asked


def test_artifacts_come_with_their_parents_and_without_checksum_files() -> None:
    kept, asked = run_of(upstream())
    assert kept == {
        "org/example/app/1.0/app-1.0.pom",
        "org/example/app/1.0/app-1.0.jar",
        "org/example/base/2/base-2.pom",
    }
    assert asked.index("org/example/app/1.0/app-1.0.jar.sha1") < asked.index(
        "org/example/app/1.0/app-1.0.jar.md5"
    )
    assert "org/example/app/1.0/app-1.0.pom.md5" not in asked
    assert "org/elsewhere/root/9/root-9.pom" in asked


@pytest.mark.parametrize("wrong", ["app-1.0.pom.sha1", "app-1.0.jar.md5"])
def test_each_checksum_is_a_promise(wrong: str) -> None:
    files = upstream()
    path = f"org/example/app/1.0/{wrong}"
    files[path] = b"0" * len(files[path].split()[0])
    with pytest.raises(Broken, match="not the promised"):
        run_of(files)


def test_a_missing_root_is_a_failure_and_a_spec_says_nothing_about_it() -> None:
    files = upstream()
    del files["org/example/app/1.0/app-1.0.jar"]
    with pytest.raises(Broken, match="absent"):
        run_of(files)
    assert not Spec("m", options={"artifacts": ["org.example:app:1.0"]}).filtered
