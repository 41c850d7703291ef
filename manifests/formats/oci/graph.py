"""What a crawl has seen: which document names what, and what did not come."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from manifests.digest import Digest
from manifests.formats.oci.check import MAX_DEPTH
from manifests.formats.oci.document import Descriptor, Document, Index
from manifests.formats.oci.layout import blob_path, manifest_path
from manifests.tree import Entry


@dataclass(slots=True)
class Graph:
    """All by tree path."""

    documents: dict[str, Document] = field(default_factory=dict)
    arrived: dict[str, tuple[Digest, int]] = field(default_factory=dict)
    """Manifests that came by their tag: the same bytes lie under their digest."""
    tags: dict[str, str] = field(default_factory=dict)
    """A tag's path and its manifest's."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why something is not as it should be."""
    gone: set[str] = field(default_factory=set)
    """What the registry does not have."""
    left_out: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By image: digests that an index names and that are not wanted."""
    wanted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """By image: digests that an index names and that are."""
    judged: dict[tuple[str, int], str] = field(default_factory=dict)
    """What ``obstacle`` found, by path and depth."""
    referrers: dict[str, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    """What refers to a manifest: paths of tags and of manifests."""

    shared: dict[tuple[str, int], dict[str, None]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    """By digest and stated size of a blob: its paths in all images that need it."""

    def leave_out(self, image: str, digest: str) -> None:
        """Note that an index names what nobody wants, unless another index has it wanted."""
        if digest not in self.wanted[image]:
            self.left_out[image].add(digest)

    def want(self, image: str, digest: str) -> None:
        """Note that it is wanted, whatever other indexes said."""
        self.wanted[image].add(digest)
        self.left_out[image].discard(digest)

    def needs(self, path: str, row: Descriptor) -> bool:
        """Note that a blob is needed at ``path``; whether it must be asked for there.

        What several images need is asked for in one of them, as long as that does not fail.
        """
        paths = self.shared[row.digest, row.size]
        fresh = path not in paths
        asked = any(other not in self.failed for other in paths)
        paths[path] = None
        return fresh and not asked

    def another(self, path: str, row: Descriptor) -> str:
        """Where else to ask for a blob that ``path`` did not give; "" for nowhere."""
        paths = self.shared[row.digest, row.size]
        return next((other for other in paths if other not in self.failed), "")

    def share(self, entries: Mapping[str, Entry]) -> Iterator[Entry]:
        """Entries of blobs that came for another image, or only for another one."""
        for paths in self.shared.values():
            found = next((entries[path] for path in paths if path in entries), None)
            for path in paths if found is not None else ():
                if path not in entries and found is not None:
                    self.failed.pop(path, None)
                    yield Entry(path, found.digest, found.size)

    def fail(self, path: str, what: str) -> None:
        """The first reason stands."""
        self.failed.setdefault(path, what)

    def obstacle(self, image: str, path: str, entries: Mapping[str, Entry], depth: int = 0) -> str:
        """Why the tag or manifest at ``path`` is not complete; "" if it is.

        ``entries`` are the same at every call.
        """
        path = self.tags.get(path, path)
        # Many indexes may name the same ones: each is looked at once.
        if (path, depth) not in self.judged:
            self.judged[path, depth] = self._obstacle(image, path, entries, depth)
        return self.judged[path, depth]

    def _obstacle(self, image: str, path: str, entries: Mapping[str, Entry], depth: int) -> str:
        if path in self.failed:
            return self.failed[path]
        found = self.documents.get(path)
        if found is None:
            return "it did not arrive"
        if isinstance(found, Index):
            if depth >= MAX_DEPTH:
                return f"indexes nested more than {MAX_DEPTH} deep"
            return self._index_obstacle(image, found, entries, depth)
        for row in found.blobs:
            place = blob_path(image, row.digest)
            entry = entries.get(place)
            if place in self.failed:
                return f"{row.digest}: {self.failed[place]}"
            if entry is None:
                return f"{row.digest} did not arrive"
            if entry.size != row.size:
                return f"{row.digest} has {entry.size} bytes, the manifest says {row.size}"
        return ""

    def _index_obstacle(
        self, image: str, found: Index, entries: Mapping[str, Entry], depth: int
    ) -> str:
        here = 0
        for row in found.manifests:
            if row.digest in self.left_out.get(image, ()):
                continue
            place = manifest_path(image, row.digest)
            if place in self.gone:
                # Sparse upstream, too: legal, as long as something is there.
                self.left_out[image].add(row.digest)
                continue
            what = self._stated(place, row, entries) or self.obstacle(
                image, place, entries, depth + 1
            )
            if what:
                return f"{row.platform or row.digest}: {what}"
            here += 1
        if found.manifests and not here:
            return "nothing that its index names can be had"
        return ""

    def _stated(self, place: str, row: Descriptor, entries: Mapping[str, Entry]) -> str:
        """Whether an index lies about a manifest."""
        found, entry = self.documents.get(place), entries.get(place)
        if found is not None and found.media_type != row.media_type:
            return f"it is {found.media_type}, its index says {row.media_type}"
        if entry is not None and entry.size != row.size:
            return f"it has {entry.size} bytes, its index says {row.size}"
        return ""

    def closure(self, image: str, path: str) -> Iterator[str]:
        """All paths that belong to a complete tag or manifest, itself included, each once."""
        seen: set[str] = set()
        waiting = [path]
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            yield path
            if path in self.tags:
                waiting.append(self.tags[path])
                continue
            found = self.documents.get(path)
            if isinstance(found, Index):
                left_out = self.left_out.get(image, ())
                waiting += [
                    manifest_path(image, row.digest)
                    for row in found.manifests
                    if row.digest not in left_out
                ]
            elif found is not None:
                waiting += [blob_path(image, row.digest) for row in found.blobs]
