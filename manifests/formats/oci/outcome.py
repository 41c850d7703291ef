"""The end of a crawl: which images are complete, and what takes the place of those that are not.

An image that the registry has no more goes. One that it has and does not give as it should keeps
what the previous tree has of it, with all that belongs to it; the report names it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from manifests.formats.base import Problem, Severity, TreeView
from manifests.formats.oci import facts
from manifests.formats.oci.approval import Approval
from manifests.formats.oci.clients import obstacle
from manifests.formats.oci.closure import ImageTree
from manifests.formats.oci.graph import Graph
from manifests.formats.oci.layout import (
    Folder,
    is_attached_tag,
    locate,
    tag_path,
)
from manifests.formats.oci.rules import Asked, ImageRule
from manifests.formats.oci.tags import select
from manifests.tree import Entry


class SeenImage(Protocol):
    """What a crawl knows of one image; see ``crawl.Image``."""

    name: str
    rules: tuple[ImageRule, ...]
    roots: dict[str, str]
    named: set[str]
    listed: set[str]
    complete: bool
    unlisted: str
    gone: bool
    bad_tags: list[str]

    @property
    def lists(self) -> bool: ...


class SeenRegistry(Protocol):
    """What a crawl knows at its end; see ``crawl.OciCrawl``."""

    @property
    def images(self) -> Mapping[str, SeenImage]: ...

    graph: Graph
    uncatalogued: str
    bad_names: list[str]


@dataclass(slots=True)
class Outcome:
    """What the tree is made of, and what is to be said of it.

    ``failed``: by name, what is not as the registry has it, and why. ``kept``: names of those
    whose last good state stands in. ``expected``: paths of the previous tree that are gone because
    nothing asks for them any more, although the registry has them.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    notes: list[Problem] = field(default_factory=list)
    left_out: dict[str, set[str]] = field(default_factory=dict)
    expected: set[str] = field(default_factory=set)

    @property
    def problems(self) -> list[Problem]:
        """Everything as advice, failures first."""
        found = []
        for name, what in self.failed.items():
            state = "its last good state stays" if name in self.kept else "it is not mirrored"
            found.append(Problem(name, f"{what}; {state}", Severity.ADVICE))
        return [*found, *self.notes]


def settle(
    seen: SeenRegistry,
    asked: Asked,
    entries: Mapping[str, Entry],
    previous: TreeView | None,
    approval: Approval | None = None,
) -> Outcome:
    """Decide for every image that was asked for; with ``approval`` each must be signed."""
    return _Settling(seen, asked, entries, previous, approval).run()


class _Settling:
    """One decision. Names in reports are ``IMAGE:TAG``, ``IMAGE@DIGEST`` or an image."""

    def __init__(
        self,
        seen: SeenRegistry,
        asked: Asked,
        entries: Mapping[str, Entry],
        previous: TreeView | None,
        approval: Approval | None,
    ) -> None:
        self._seen = seen
        self._approval = approval
        self._graph = seen.graph
        self._asked = asked
        self._entries = dict(entries)
        for path, (digest, size) in seen.graph.arrived.items():
            self._entries[path] = Entry(path, digest, size)
        for entry in list(seen.graph.share(self._entries)):
            self._entries[entry.path] = entry
        self._previous = previous
        self._before = facts.Facts() if previous is None else facts.read(previous)
        self._out = Outcome()

    def run(self) -> Outcome:
        for image in self._seen.images.values():
            self._image(image)
        if self._seen.uncatalogued:
            self._catalog()
        for name in self._seen.bad_names:
            self._note(name, "not the name of an image; never asked for")
        self._unasked()
        return self._out

    def _note(self, name: str, what: str) -> None:
        self._out.notes.append(Problem(name, what, Severity.ADVICE))

    # --- one image

    def _image(self, image: SeenImage) -> None:
        tree = None if self._previous is None else ImageTree(self._previous, image.name)
        complete: list[str] = []
        for path, name in image.roots.items():
            if path in self._graph.gone:
                if path in image.named:
                    self._note(name, "the registry does not have it")
                continue
            what = self._graph.obstacle(image.name, path, self._entries)
            if not what and self._approval is not None:
                what = self._approval.obstacle(image.name, path, self._graph, self._entries)
            if what:
                self._fail(name, what, self._trusted(tree, path), path)
            else:
                complete.append(path)
                self._warn(image.name, name, path)
        self._take(image, tree, complete)
        if image.lists and image.unlisted and not image.gone:
            self._unlisted(image, tree)
        elif image.gone and not image.roots:
            self._note(image.name, "the registry does not have it")
        elif image.lists and image.complete and not image.roots:
            self._note(image.name, "no tag of it is wanted")
        for tag in image.bad_tags:
            self._note(f"{image.name}:{tag}", "not a tag; never asked for")
        if tree is not None:
            self._expect(image, tree)

    def _fail(self, name: str, what: str, tree: ImageTree | None, path: str) -> None:
        """Report, and keep what the previous tree has at ``path``."""
        self._out.failed.setdefault(name, what)
        found = {} if tree is None else tree.belongings(path)
        if found:
            self._out.kept.add(name)
            self._keep(found)

    def _trusted(self, tree: ImageTree | None, path: str) -> ImageTree | None:
        """``tree`` if what it has at ``path`` may stand in: it must be signed as well."""
        if self._approval is None or self._previous is None:
            return tree
        return tree if self._approval.stood(self._previous, path) else None

    def _keep(self, found: Mapping[str, Entry]) -> None:
        for path, entry in found.items():
            self._out.entries.setdefault(path, entry)
            place = locate(path)
            if place is not None and place.image in self._before.left_out:
                self._out.left_out.setdefault(place.image, set()).update(
                    self._before.left_out[place.image]
                )

    def _warn(self, image: str, name: str, path: str) -> None:
        """Say which clients cannot pull it."""
        for client in self._asked.clients:
            places = dict.fromkeys(self._graph.closure(image, path))
            found = [self._graph.documents[p] for p in places if p in self._graph.documents]
            what = next((said for each in found if (said := obstacle(client, each))), "")
            if what:
                self._note(name, f"{client} cannot pull it: {what}")

    def _take(self, image: SeenImage, tree: ImageTree | None, complete: Iterable[str]) -> None:
        """Enter complete tags and manifests, and then whatever refers to them."""
        waiting = list(complete)
        referring: set[str] = set()
        while waiting:
            path = waiting.pop()
            fresh = []
            for place in self._graph.closure(image.name, path):
                # Also where an older state of something else has kept its own.
                self._out.entries[place] = self._entries[place]
                if place in self._graph.documents and place not in referring:
                    referring.add(place)
                    fresh.append(place)
            for place in fresh:
                waiting += self._referrers(image, tree, place)
        left_out = self._graph.left_out.get(image.name)
        if left_out:
            self._out.left_out.setdefault(image.name, set()).update(left_out)

    def _referrers(self, image: SeenImage, tree: ImageTree | None, subject: str) -> Iterable[str]:
        """Complete referrers of a manifest; of the others the last good state."""
        found = locate(subject)
        assert found is not None
        what = self._graph.failed.get(f"{subject} referrers", "")
        if what:
            name = f"{image.name}@{found.reference}"
            self._out.failed.setdefault(name, f"what refers to it: {what}")
            self._out.kept.add(name)
            for path in () if tree is None else tree.referrers(found.reference):
                assert tree is not None
                self._keep(tree.belongings(path))
        for path in self._graph.referrers.get(subject, ()):
            place = locate(path)
            assert place is not None
            sign = ":" if place.folder is Folder.TAGS else "@"
            name = f"{image.name}{sign}{place.reference}"
            if path in self._graph.gone:
                continue
            what = self._graph.obstacle(image.name, path, self._entries)
            if what:
                self._fail(name, what, tree, path)
            else:
                yield path

    # --- lists that could not be read

    def _unlisted(self, image: SeenImage, tree: ImageTree | None) -> None:
        """Keep the tags that the rules would have chosen from the previous tree."""
        self._out.failed.setdefault(image.name, image.unlisted)
        for tag in self._chosen(image, () if tree is None else tree.tags()):
            path = tag_path(image.name, tag)
            if path not in image.roots and tree is not None:
                self._keep(tree.belongings(path))
                self._out.kept.add(image.name)

    def _catalog(self) -> None:
        """Keep all images of the previous tree that only the catalog could have named."""
        for rule in self._asked.images:
            if rule.is_glob:
                self._out.failed.setdefault(rule.name, self._seen.uncatalogued)
        if self._previous is None:
            return
        for entry in self._previous.entries():
            place = locate(entry.path)
            if place is None or place.image in self._seen.images:
                continue
            for rule in self._asked.images:
                if rule.is_glob and rule.matches(place.image):
                    self._keep({entry.path: entry})
                    self._out.kept.add(rule.name)

    @staticmethod
    def _chosen(image: SeenImage, tags: Collection[str]) -> list[str]:
        return [tag for rule in image.rules if rule.lists for tag in select(rule, tags)]

    def _unasked(self) -> None:
        """Images that no rule is about any more are no loss either."""
        for entry in self._previous.entries() if self._previous is not None else ():
            place = locate(entry.path) if "/_tags/" in entry.path else None
            if place is not None and not any(r.matches(place.image) for r in self._asked.images):
                self._out.expected.add(entry.path)

    def _expect(self, image: SeenImage, tree: ImageTree) -> None:
        """Tags that the registry still has and nobody asks for, and those of images that went."""
        for tag in tree.tags():
            path = tag_path(image.name, tag)
            if path not in self._out.entries and (tag in image.listed or is_attached_tag(tag)):
                self._out.expected.add(path)
