"""``oci``: images and artifacts, as container clients pull them."""

from __future__ import annotations

from collections.abc import Iterable

from manifests.errors import BadPath
from manifests.formats.base import (
    Answer,
    Crawl,
    Derived,
    Made,
    Problem,
    Request,
    Signed,
    Signer,
    Spec,
    StaticFormat,
    TreeView,
)
from manifests.formats.described import Described, Opener, plain
from manifests.formats.oci.answer import answer, holds
from manifests.formats.oci.check import check
from manifests.formats.oci.derive import derive
from manifests.formats.oci.layout import Folder, locate, split_reference


class OciFormat(StaticFormat):
    """Manifests byte for byte; lists of referrers derived."""

    name = "oci"

    def selects(self, spec: Spec) -> bool:
        """A registry is never copied as a folder."""
        return True

    def crawl(self, spec: Spec, previous: TreeView | None) -> Crawl:
        # Loaded when it is needed: checks and the server do not need it.
        from manifests.formats.oci.crawl import OciCrawl

        return OciCrawl(spec, previous)

    def check(self, spec: Spec, view: TreeView) -> Iterable[Problem]:
        return check(view)

    def signed(self, spec: Spec, view: TreeView, *, packages: bool) -> Iterable[Signed]:
        """cosign's signatures; an image has no packages of its own."""
        from manifests.formats.oci.signing import signed

        return signed(view)

    def derive(
        self, view: TreeView, previous: Derived | None, signer: Signer | None
    ) -> Iterable[tuple[str, Made]]:
        return derive(view)

    def answer(self, request: Request, view: TreeView) -> Answer:
        return answer(request, view)

    def may_be_root(self, text: str) -> bool:
        """``IMAGE:TAG`` or ``IMAGE@DIGEST``."""
        try:
            split_reference(text)
        except BadPath:
            return False
        return "@" in text or ":" in text

    def holds(self, want: str, view: TreeView) -> bool:
        return holds(view, want)

    def describe(self, path: str, opener: Opener) -> Described:
        """A tag, or a digest of an image."""
        place = locate(path)
        if place is None:
            return plain(path)
        kind = place.folder.removeprefix("_").removesuffix("s")
        sign = ":" if place.folder is Folder.TAGS else "@"
        what = f"{place.image}{sign}{place.reference}"
        return Described(kind, what, place.image, place.reference)

    def immutable(self, path: str) -> bool:
        """All but tags and what is derived."""
        place = locate(path)
        return place is not None and place.folder in (Folder.MANIFESTS, Folder.BLOBS)
