"""What roots need: found once by the real Maven, and again when something it rests on changed.

All artifacts, BOMs and wants of a repository are one closure, every project is one of its own.
A closure remembers the paths that were asked for, and what was seen of every index on the way:
as long as the roots and these are the same, nothing has to be resolved again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from manifests import canonical, errors
from manifests.digest import Digest
from manifests.formats.maven.layout import locate
from manifests.zone import model as zone
from mirror.maven.capture import workplace
from mirror.maven.proxy import Proxy
from mirror.maven.pull import Pull
from mirror.maven.resolving import Maven, Resolved, Version
from mirror.report import printable
from store.records import Closure, RootKind
from store.store import Store

TOGETHER = "artifacts"
"""The name of the closure of all coordinates; a project's begins with ``project ``."""
_AGAIN = timedelta(days=1)
"""After how long what a BOM manages and nobody has is looked for again."""
_RULES = 2
_MAX_POM = 4 << 20
_MOST_MODULES = 2000


class Closures:
    """The closures of one repository, brought up to date."""

    def __init__(self, store: Store, repository: zone.Repository, pull: Pull) -> None:
        self._store = store
        self._repository = repository
        self._maven = repository.maven
        self._pull = pull

    def update(self) -> list[Closure]:
        """All closures, resolved anew where needed. Raises StoreError; other failures are

        part of each closure, by name.
        """
        name = self._repository.name
        self._configured()
        with self._store.ledger.read() as tx:
            known = tx.closures(name)
            wants = [one.root for one in tx.roots(name) if one.kind is RootKind.WANT]
        wanted = {TOGETHER: self._fingerprint([*self._maven.artifacts, "-", *wants])}
        if not (self._maven.artifacts or self._maven.boms or wants):
            wanted = {}
        for project in self._maven.projects:
            wanted[f"project {project}"] = self._fingerprint(_project(project))
        found = []
        for each, fingerprint in wanted.items():
            closure = known.get(each)
            if closure is None or closure.fingerprint != fingerprint or self._due(closure):
                closure = self._resolve(each, fingerprint, wants, closure)
                with self._store.ledger.write() as tx:
                    tx.set_closure(name, closure)
            found.append(closure)
        gone = sorted(known.keys() - wanted.keys())
        if gone:
            with self._store.ledger.write() as tx:
                for each in gone:
                    tx.drop_closure(name, each)
        return found

    def _configured(self) -> None:
        """Make the ledger's roots those of zone.yaml."""
        rows = {
            RootKind.ARTIFACT: self._maven.artifacts,
            RootKind.BOM: self._maven.boms,
            RootKind.PROJECT: tuple(map(str, self._maven.projects)),
        }
        name = self._repository.name
        with self._store.ledger.read() as tx:
            have = {one.root: one.kind for one in tx.roots(name) if one.kind in rows}
        if all(set(names) == {r for r, k in have.items() if k is kind}
               for kind, names in rows.items()):  # fmt: skip
            return
        with self._store.ledger.write() as tx:
            for root, kind in have.items():
                if root not in rows[kind]:
                    tx.drop_root(name, root)
            for kind, names in rows.items():
                tx.add_roots(name, kind, names, "zone.yaml")

    def _fingerprint(self, of: Iterable[str]) -> Digest:
        what = {
            "of": list(of),
            "boms": list(self._maven.boms),
            "rules": _RULES,
            "sides": [
                self._maven.sources,
                self._maven.javadoc,
                *([True] if self._maven.signatures else []),
            ],
            "upstream": list(self._repository.upstream.urls),
        }
        return Digest(hashlib.sha256(canonical.dumps(what)).hexdigest())

    def _due(self, closure: Closure) -> bool:
        """Whether it may come out differently now."""
        roots = {*self._maven.artifacts, *self._maven.boms, *map(str, self._maven.projects)}
        if any(name in roots for name in closure.unresolved):
            return True
        if closure.unresolved and self._store.ledger.now() - closure.at > _AGAIN:
            return True
        for path, seen in closure.indexes.items():
            try:
                held = self._pull.get(path, record=False)
            except (errors.UpstreamError, errors.FormatError):
                continue  # what is here stays as it is
            if ("" if held is None else held.digest) != seen:
                return True
        return False

    def _resolve(
        self, name: str, fingerprint: Digest, wants: Sequence[str], before: Closure | None
    ) -> Closure:
        self._pull.start_collecting()
        with (
            Proxy(self._store, self._repository.name, self._pull).serving() as proxy,
            workplace(proxy.url) as place,
        ):
            if name == TOGETHER:
                found = self._coordinates(lambda: Maven(place, self._store, self._pull), wants)
            else:
                project = Path(name.removeprefix("project "))
                found = self._one(
                    str(project),
                    lambda: Maven(place, self._store, self._pull).project(project, str(project)),
                )
        self._sides(found.listed)
        # Kept out by name: Maven tells only which root failed for it, or goes on without it.
        unresolved = {**self._pull.tally.failures, **found.unresolved}
        collected = dict(self._pull.collected)
        indexes = {path: seen for path, seen in collected.items() if path.endswith(".xml")}
        paths = [path for path in collected if path not in indexes]
        if unresolved and before is not None and before.fingerprint == fingerprint:
            paths += before.paths
        return Closure(
            name,
            fingerprint,
            tuple(sorted(set(paths))),
            dict(sorted(unresolved.items())),
            self._store.ledger.now(),
            indexes,
        )

    def _one(self, name: str, resolve: Callable[[], Resolved]) -> Resolved:
        try:
            return resolve()
        except (errors.UpstreamError, errors.FormatError, errors.ConfigError) as error:
            return Resolved({name: printable(error.what)})

    def _coordinates(self, maven: Callable[[], Maven], wants: Sequence[str]) -> Resolved:
        found = Resolved()
        wanted = dict.fromkeys([*self._maven.artifacts, *wants])
        for bom in self._maven.boms:
            wanted[f"{bom.rpartition(':')[0]}:pom:{bom.rpartition(':')[2]}"] = None
            try:
                wanted.update(dict.fromkeys(maven().managed(bom)))
            except (errors.UpstreamError, errors.FormatError, errors.ConfigError) as error:
                found.unresolved[bom] = printable(error.what)
        try:
            resolved = maven().dependencies(list(wanted))
            found.unresolved |= resolved.unresolved
            found.listed = resolved.listed
        except (errors.UpstreamError, errors.FormatError, errors.ConfigError) as error:
            found.unresolved |= dict.fromkeys(wanted, printable(error.what))
        return found

    def _sides(self, listed: set[Version] | None) -> None:
        """Sources and javadoc of the JARs in the closure, where the upstream has them.

        Plugins, and what resolves, go without: only what is ``listed``, if that is known.
        """
        sides = [name for name in ("sources", "javadoc") if getattr(self._maven, name)]
        for path in list(self._pull.collected) if sides else []:
            artifact = locate(path)
            if artifact is None or artifact.extension != "jar" or artifact.classifier:
                continue
            place = (artifact.group, artifact.name)
            versions = {(*place, artifact.version), (*place, artifact.build or artifact.version)}
            if listed is not None and not versions & listed:
                continue
            for side in sides:
                try:
                    self._pull.get(replace(artifact, classifier=side).path)
                except (errors.UpstreamError, errors.FormatError):
                    continue  # noted by name


def _project(pom: Path) -> list[str]:
    """What a project's closure depends on: its POMs and Maven's settings beside them."""
    rows = [str(pom)]
    files = [pom, *sorted(pom.parent.rglob("pom.xml")), *sorted(pom.parent.glob(".mvn/*"))]
    for file in dict.fromkeys(files[:_MOST_MODULES]):
        try:
            with file.open("rb") as opened:
                data = opened.read(_MAX_POM)
        except OSError:
            continue  # Maven says what is missing
        rows += [str(file.relative_to(pom.parent)), hashlib.sha256(data).hexdigest()]
    return rows
