"""Which original registries the served repositories replace."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from manifests.errors import FormatError, StoreError
from manifests.formats.base import TreeView
from manifests.formats.oci import facts
from manifests.formats.oci.origin import is_origin
from manifests.zone.model import Serve
from repo_server.log import report

FORMAT = "oci"


def origins_of(
    serve: Serve, views: Mapping[str, Callable[[], TreeView]]
) -> dict[str, tuple[str, ...]]:
    """Original registries, sorted, each with the repositories that replace it, in order.

    ``views`` are the repositories of images. What zone.yaml says of a registry goes before what
    bundles say of it, so that no stream can take a name that a person gave to another.
    """
    ours: dict[str, list[str]] = {}
    theirs: dict[str, list[str]] = {}
    for name, view in sorted(views.items()):
        settings = serve.registries.get(name)
        if settings is not None and settings.replaces is not None:
            said, by = settings.replaces, ours
        else:
            said, by = _said_by_tree(name, view), theirs
        for origin in said:
            by.setdefault(origin, []).append(name)
    return {origin: tuple(names) for origin, names in sorted({**theirs, **ours}.items())}


def _said_by_tree(name: str, view: Callable[[], TreeView]) -> tuple[str, ...]:
    try:
        said = facts.read(view()).replaces
    except (FormatError, StoreError) as problem:
        report(f"{problem}; it replaces no registry", repository=name)
        return ()
    if said and not is_origin(said):
        report(f"it says that it replaces {said[:80]!r}, which is no registry", repository=name)
        return ()
    return (said,) if said else ()
