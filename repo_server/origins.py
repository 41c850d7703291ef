"""Which original registries the served repositories replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from manifests.errors import FormatError, StoreError
from manifests.formats.base import TreeView
from manifests.formats.oci import facts
from manifests.formats.oci.layout import FACTS
from manifests.formats.oci.origin import is_origin
from manifests.zone.served import Serve
from repo_server.log import report

FORMAT = "oci"
#: Bytes of facts that a server reads; they are read whenever something is published.
_MAX_FACTS = 32 << 20


@dataclass(frozen=True, slots=True)
class Images:
    """A repository of images, as far as it matters here. ``view`` may raise BlobMissing."""

    name: str
    stream: str
    view: Callable[[], TreeView]


def origins_of(serve: Serve, repositories: Iterable[Images]) -> dict[str, tuple[str, ...]]:
    """Original registries, sorted, each with the repositories that replace it, in order.

    What zone.yaml says of a registry goes before what bundles say of it. If bundles of two
    streams claim one, nobody replaces it until zone.yaml says who: no stream can take
    another's place.
    """
    ours: dict[str, list[str]] = {}
    theirs: dict[str, list[Images]] = {}
    for each in sorted(repositories, key=lambda one: one.name):
        settings = serve.registries.get(each.name)
        if settings is not None and settings.replaces is not None:
            for origin in settings.replaces:
                ours.setdefault(origin, []).append(each.name)
        elif origin := _said_by_tree(each):
            theirs.setdefault(origin, []).append(each)
    found = {origin: tuple(names) for origin, names in ours.items()}
    for origin, some in theirs.items():
        if origin in found:
            continue
        if len({each.stream for each in some}) > 1:
            names = ", ".join(each.name for each in some)
            report(
                f"{names} of different streams say that they replace {origin}; nobody does until"
                " zone.yaml says who (serve: registries: NAME: replaces)"
            )
            continue
        found[origin] = tuple(each.name for each in some)
    return dict(sorted(found.items()))


def _said_by_tree(each: Images) -> str:
    try:
        view = each.view()
        entry = view.lookup(FACTS)
        if entry is not None and entry.size > _MAX_FACTS:
            report(f"{FACTS} is too large; it replaces no registry", repository=each.name)
            return ""
        said = facts.read(view).replaces
    except (FormatError, StoreError) as problem:
        report(f"{problem}; it replaces no registry", repository=each.name)
        return ""
    if said and not is_origin(said):
        what = f"it says that it replaces {said[:80]!r}, which is no registry"
        report(what, repository=each.name)
        return ""
    return said
