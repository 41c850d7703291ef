"""``yum``: RPM repositories, as dnf and yum read them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote

from manifests.formats.base import (
    FACTS,
    Answer,
    Crawl,
    Derived,
    Missing,
    Problem,
    Request,
    Signed,
    Signer,
    Spec,
    StaticFormat,
    TreeView,
)
from manifests.formats.described import Described, Opener, plain
from manifests.formats.yum import nevra
from manifests.formats.yum.check import check
from manifests.formats.yum.layout import (
    DERIVED_FACTS,
    UPSTREAM_REPOMD,
    is_derived,
    is_package,
    survey,
)
from manifests.formats.yum.repomd import REPOMD
from manifests.tree import PRIVATE

_BY_CONTENT = re.compile(r"(?:.*/)?(?:repodata/[0-9a-f]{32,128}-[^/]+|[^/]+\.d?rpm)")


class YumFormat(StaticFormat):
    """RPM repositories, verbatim or with derived metadata."""

    name = "yum"

    def selects(self, spec: Spec) -> bool:
        return spec.filtered or spec.metadata == "derived"

    def crawl(self, spec: Spec, previous: TreeView | None) -> Crawl:
        # Loaded when it is needed: only the mirror crawls, and it starts seldom.
        from manifests.formats.yum.crawl import YumCrawl

        return YumCrawl(spec)

    def facts(self, spec: Spec, view: TreeView) -> Iterable[tuple[str, bytes]]:
        """A folder of packages without any metadata is derived from."""
        layout = survey(view)
        plain = not layout.repositories and layout.packages > 0
        if spec.metadata == "derived" or (plain and spec.metadata == "auto"):
            yield FACTS, DERIVED_FACTS

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        return check(view)

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterator[Signed]:
        """repomd.xml with its ``.asc``, whether that is there or not.

        Derived metadata carries no signature of the upstream, so then the
        packages are named in any case; the upstream's own repomd.xml only if
        its signature is in the tree.
        """
        derived = is_derived(view)
        if derived:
            if view.lookup(UPSTREAM_REPOMD + ".asc") is not None:
                yield Signed(UPSTREAM_REPOMD, "openpgp-detached", UPSTREAM_REPOMD + ".asc")
        else:
            for prefix in survey(view).repositories:
                path = prefix + REPOMD
                yield Signed(path, "openpgp-detached", path + ".asc")
        if packages or derived:
            for entry in view.entries():
                if is_package(entry.path):
                    yield Signed(entry.path, "rpm")

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, bytes | Path]]:
        # Loaded when it is needed: createrepo_c takes longer to load than a no-change sync.
        from manifests.formats.yum.derive import derive

        return derive(view, previous, signer)

    def describe(self, path: str, opener: Opener) -> Described:
        """A package by the header inside it; by its name if it is not here."""
        if path.startswith(PRIVATE) or not is_package(path):
            return plain(path, "index" if "/repodata/" in f"/{path}" else "file")
        found = nevra.of_name(path)
        file = opener()
        if file is not None:
            with file:
                found = nevra.of_file(file) or found
        if found is None:
            return plain(path)
        return Described("package", str(found), f"{found.name}.{found.arch}", found.evr)

    def immutable(self, path: str) -> bool:
        return bool(_BY_CONTENT.fullmatch(path))

    def answer(self, request: Request, view: TreeView) -> Answer:
        """Static. Some clients escape an already escaped location once more."""
        answer = super().answer(request, view)
        if isinstance(answer, Missing) and "%" in request.path:
            again = super().answer(replace(request, path=unquote(request.path)), view)
            return answer if isinstance(again, Missing) else again
        return answer
