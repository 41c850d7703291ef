"""Which original registries the served repositories replace."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from manifests.errors import FormatError, StoreError
from manifests.formats.base import TreeView
from manifests.formats.oci import facts
from manifests.formats.oci.layout import FACTS
from manifests.formats.oci.origin import is_origin
from manifests.zone.served import Serve
from repo_server.log import report
from store.records import Publication
from store.store import Store

FORMAT = "oci"
#: Bytes of facts that a server reads; they are read whenever something is published.
_MAX_FACTS = 32 << 20


@dataclass(frozen=True, slots=True)
class Images:
    """A repository of images, as far as it matters here. ``view`` may raise BlobMissing."""

    name: str
    stream: str
    view: Callable[[], TreeView]


class Trouble(NamedTuple):
    """Why a registry's place is empty; ``repository`` is "" where it is about several."""

    repository: str
    what: str


def origins_of(serve: Serve, repositories: Iterable[Images]) -> dict[str, tuple[str, ...]]:
    """Original registries, sorted, each with the repositories that replace it, in order.

    What is wrong with a claim is written to the log.
    """
    found, troubles = claims(serve, repositories)
    for each in troubles:
        report(each.what, **({"repository": each.repository} if each.repository else {}))
    return found


def claims(
    serve: Serve, repositories: Iterable[Images]
) -> tuple[dict[str, tuple[str, ...]], list[Trouble]]:
    """The same, and what is wrong.

    What zone.yaml says of a registry goes before what bundles say of it. If bundles of two
    streams claim one, nobody replaces it until zone.yaml says who: no stream can take
    another's place.
    """
    troubles: list[Trouble] = []
    ours: dict[str, list[str]] = {}
    theirs: dict[str, list[Images]] = {}
    for each in sorted(repositories, key=lambda one: one.name):
        settings = serve.registries.get(each.name)
        if settings is not None and settings.replaces is not None:
            for origin in settings.replaces:
                ours.setdefault(origin, []).append(each.name)
            continue
        origin, what = _said_by_tree(each)
        if what:
            troubles.append(Trouble(each.name, f"{what}; it replaces no registry"))
        elif origin:
            theirs.setdefault(origin, []).append(each)
    found = {origin: tuple(names) for origin, names in ours.items()}
    for origin, some in sorted(theirs.items()):
        if origin in found:
            continue
        if len({each.stream for each in some}) > 1:
            names = ", ".join(f"{each.name} (of {each.stream})" for each in some)
            what = f"{names} of different streams say that they replace {origin}"
            remedy = "nobody does until zone.yaml says who (serve: registries: NAME: replaces)"
            troubles.append(Trouble("", f"{what}; {remedy}"))
            continue
        found[origin] = tuple(each.name for each in some)
    return dict(sorted(found.items())), troubles


def claim_warnings(
    serve: Serve, store: Store, publications: Iterable[Publication]
) -> Iterator[str]:
    """A line for each registry whose place is empty although somebody claims it."""
    some = [
        Images(each.repository, each.stream, partial(store.view, each.tree, each.overlay))
        for each in publications
        if each.format == FORMAT
    ]
    for each in claims(serve, some)[1]:
        yield f"{each.repository}: {each.what}" if each.repository else each.what


def _said_by_tree(each: Images) -> tuple[str, str]:
    """The registry that a tree names, or what is wrong with that."""
    try:
        view = each.view()
        entry = view.lookup(FACTS)
        if entry is not None and entry.size > _MAX_FACTS:
            return "", f"{FACTS} is too large"
        said = facts.read(view).replaces
    except (FormatError, StoreError) as problem:
        return "", str(problem)
    if said and not is_origin(said):
        return "", f"it says that it replaces {said[:80]!r}, which is no registry"
    return said, ""
