"""Where a yum tree keeps its indexes and our own facts about it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from manifests import jsontext
from manifests.errors import MalformedIndex
from manifests.formats.base import FACTS, TreeView
from manifests.formats.bounded import read_small
from manifests.formats.yum.repomd import REPOMD
from manifests.formats.yum.treeinfo import NAMES as TREEINFO_NAMES
from manifests.tree import PRIVATE

#: Raw upstream indexes that derived metadata carries on: ``.sluice/yum/TYPE/NAME``.
RAW = PRIVATE + "yum/"
#: The upstream's own repomd.xml of a filtered repository, so that it can be verified.
UPSTREAM_REPOMD = RAW + "upstream/repomd.xml"
DERIVED_FACTS = json.dumps({"metadata": "derived"}).encode() + b"\n"

_REMADE = re.compile(
    r"(?:primary|filelists|filelists-ext|other)(?:_.*)?|(?:prestodelta|deltainfo|susedata).*|.*_zck"
)


def carried_on(kind: str) -> bool:
    """Whether derived metadata has a record of the upstream's; the rest is remade or dropped."""
    return not _REMADE.fullmatch(kind)


def is_derived(view: TreeView) -> bool:
    """Whether the tree's facts say that its indexes are derived. Raises FormatError."""
    if view.lookup(FACTS) is None:
        return False
    with view.open(FACTS) as file:
        data = read_small(file, 1 << 16, FACTS)
    try:
        facts = jsontext.loads(data)
    except ValueError as error:
        raise MalformedIndex("not JSON", where=FACTS) from error
    if not isinstance(facts, dict) or facts.get("metadata", "verbatim") not in (
        "derived",
        "verbatim",
    ):
        raise MalformedIndex("not the facts of a yum repository", where=FACTS)
    return facts.get("metadata") == "derived"


def is_package(path: str) -> bool:
    return path.endswith(".rpm") and not path.startswith(PRIVATE)


@dataclass(slots=True)
class Layout:
    """What one pass over the paths finds. A prefix is a folder with its slash, or "".

    ``packages`` counts the ``.rpm`` files.
    """

    repositories: list[str] = field(default_factory=list)
    treeinfos: list[str] = field(default_factory=list)
    packages: int = 0


def survey(view: TreeView) -> Layout:
    """Find the repositories and installer trees of a view."""
    layout = Layout()
    for entry in view.entries():
        path = entry.path
        if path.startswith(PRIVATE):
            continue
        if path.endswith(".rpm"):
            layout.packages += 1
        elif path == REPOMD or path.endswith("/" + REPOMD):
            layout.repositories.append(path[: -len(REPOMD)])
        elif path.rpartition("/")[2] in TREEINFO_NAMES:
            layout.treeinfos.append(path)
    return layout


def raw_records(view: TreeView) -> Iterator[tuple[str, str]]:
    """(type, path) of the raw upstream indexes that a filtered tree carries."""
    for entry in view.entries(RAW):
        kind, slash, name = entry.path[len(RAW) :].partition("/")
        if slash and "/" not in name and kind != "upstream":
            yield kind, entry.path
