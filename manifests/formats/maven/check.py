"""Is a Maven tree what its upstream said? Proved from the tree alone.

Every checksum that the upstream gave is compared: those in ``.sluice/maven/checksums/`` and, in a
tree that was copied whole, the strongest checksum file beside each file. No page of a web server
passes for an artifact, every POM is read, and no POM is its own ancestor. A parent that is not here
is advice: it may live in another repository.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice

from manifests.errors import FormatError, MalformedIndex
from manifests.formats.accepted import with_exceptions
from manifests.formats.base import Problem, Severity, TreeView
from manifests.formats.maven import pom, statement
from manifests.formats.maven.layout import (
    CHECKSUMS,
    Artifact,
    checksum_of,
    locate,
    shown,
)
from manifests.formats.maven.statement import Stated
from manifests.tree import PRIVATE, Entry

MAX_CHECKSUM_FILE = 4096
#: Checksums that are asked for together.
_AT_ONCE = 1000
#: Kinds of files that never begin with a mark-up tag.
_BINARY = frozenset(
    ("jar", "war", "ear", "rar", "aar", "zip", "har", "sar", "par", "nbm", "hpi", "jpi", "tar.gz",
     "tgz", "tar.bz2", "tar.xz", "gz", "bz2", "xz", "exe", "dll", "so", "module", "json", "asc")
)  # fmt: skip
_ORDER = list(CHECKSUMS)
Place = tuple[str, str, str]
"""Group, artifact, version."""


def check(view: TreeView) -> Iterator[Problem]:
    """All problems of the tree, accepted ones as advice. Raises FormatError."""
    return with_exceptions(_problems(view), view)


def _problems(view: TreeView) -> Iterator[Problem]:
    yield from _compared(view, _statements(view))
    yield from _compared(view, _beside(view))
    yield from _contents(view)


def _statements(view: TreeView) -> Iterator[tuple[str, Stated]]:
    for path, stated in statement.read(view):
        if path.startswith(PRIVATE):
            raise MalformedIndex("a statement about a private file", where=shown(path))
        yield path, stated


def _beside(view: TreeView) -> Iterator[tuple[str, Stated]]:
    """The strongest readable checksum file of each file that has any."""
    best: dict[str, int] = {}
    current = ""
    for entry in view.entries():
        folder = entry.path.rpartition("/")[0]
        if folder != current:  # all files of one folder stand together, but for its sub-folders
            yield from _read_beside(view, best)
            best, current = {}, folder
        found = checksum_of(entry.path)
        if found is not None and not entry.path.startswith(PRIVATE):
            rank = _ORDER.index(found[1])
            best[found[0]] = min(rank, best.get(found[0], rank))
    yield from _read_beside(view, best)


def _read_beside(view: TreeView, best: dict[str, int]) -> Iterator[tuple[str, Stated]]:
    for path, rank in best.items():
        if view.lookup(path) is None:
            continue  # the checksum of a file that was not copied, or a file of that name
        for algorithm in _ORDER[rank:]:
            entry = view.lookup(f"{path}.{algorithm}")
            if entry is None or entry.size > MAX_CHECKSUM_FILE:
                continue
            with view.open(entry) as file:
                value = statement.parse_checksum(file.read(MAX_CHECKSUM_FILE), algorithm)
            if value is not None:
                yield path, (algorithm, value)
                break


def _compared(view: TreeView, stated: Iterable[tuple[str, Stated]]) -> Iterator[Problem]:
    rest = iter(stated)
    while some := list(islice(rest, _AT_ONCE)):
        entries = [view.lookup(path) for path, _ in some]
        asked: dict[str, dict[str, Entry]] = {}
        for (path, (algorithm, _)), entry in zip(some, entries, strict=True):
            if entry is not None:
                asked.setdefault(algorithm, {})[path] = entry
        actual = {
            algorithm: dict(zip(of, view.checksums(list(of.values()), algorithm), strict=True))
            for algorithm, of in asked.items()
        }
        for (path, (algorithm, value)), entry in zip(some, entries, strict=True):
            if entry is None:
                yield Problem(path, "missing, the upstream's checksum of it is here")
            elif actual[algorithm][path] != value:
                yield Problem(path, f"{_who(path)}not the {algorithm} that the upstream gave")


def _contents(view: TreeView) -> Iterator[Problem]:
    """Every file by itself, then the POMs together."""
    parents: dict[Place, Place] = {}
    paths: dict[Place, str] = {}
    for entry in view.entries():
        artifact = None if entry.path.startswith(PRIVATE) else locate(entry.path)
        if artifact is None:
            continue
        try:
            if artifact.extension == "pom" and not artifact.classifier:
                found = pom.read(view, entry)
                if found.broken:
                    what = f"{artifact}: {found.broken}"
                    yield Problem(entry.path, what, Severity.ADVICE)
                parent = parent_of(found)
                place = place_of(artifact)
                paths[place] = entry.path
                if parent is not None:
                    parents[place] = parent
            elif is_binary(artifact) and _is_page(view, entry):
                yield Problem(entry.path, f"{artifact}: a web page instead of the file")
        except FormatError as error:
            yield Problem(entry.path, f"{artifact}: {error.what}")
    yield from _ancestry(parents, paths)


def _ancestry(parents: dict[Place, Place], paths: dict[Place, str]) -> Iterator[Problem]:
    for place in cycles(parents):
        yield Problem(paths[place], f"{':'.join(place)}: is its own ancestor by its parents")
    for place, parent in parents.items():
        if parent not in paths:
            what = f"{':'.join(place)}: its parent {shown(':'.join(parent))} is not here"
            yield Problem(paths[place], what, Severity.ADVICE)


def _is_page(view: TreeView, entry: Entry) -> bool:
    """Whether mark-up stands where no file of this kind has any."""
    with view.open(entry) as file:
        return looks_like_page(file.read(64))


def is_binary(artifact: Artifact) -> bool:
    """Whether no file of this kind begins with mark-up."""
    return artifact.extension in _BINARY or artifact.extension.rpartition(".")[2] in _BINARY


def looks_like_page(head: bytes) -> bool:
    """Whether the first bytes of a file are mark-up."""
    return head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")


def place_of(artifact: Artifact) -> Place:
    """What a POM at this place is called by its children."""
    return artifact.group, artifact.name, artifact.version


def parent_of(found: pom.Pom) -> Place | None:
    """The parent's place, if it is written out: a range or a property leads nowhere from here."""
    return found.parent if found.parent is not None and _written_out(found.parent) else None


@lru_cache(256)  # many POMs have one parent
def _written_out(place: Place) -> bool:
    group, name, version = place
    artifact = Artifact(group, name, version, "pom", "", version)
    return locate(artifact.path) == artifact


def cycles(parents: dict[Place, Place]) -> Iterator[Place]:
    """Every place that is its own ancestor; each is visited once."""
    done: set[Place] = set()
    for start in parents:
        chain: dict[Place, None] = {}
        at: Place | None = start
        while at is not None and at not in done and at not in chain:
            chain[at] = None
            at = parents.get(at)
        if at is not None and at in chain:
            names = list(chain)
            yield from names[names.index(at) :]
        done.update(chain)


def _who(path: str) -> str:
    artifact = locate(path)
    return f"{artifact}: " if artifact else ""
