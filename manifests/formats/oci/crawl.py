"""Asks a registry for images: names, tags, manifests, and all that these name.

OCI Distribution Specification 1.1; the catalog is that of Docker's Registry HTTP API V2. Whatever
goes wrong is remembered for the image that it belongs to, and the others go on: nothing that a
registry sends ends the crawl. At its end ``outcome`` says what makes up the tree.

A tag is asked for without a promise, its manifest read, and everything below comes by digest. What
the store has by its digest is asked of nobody, so that a tag that did not move costs one request.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from manifests.errors import ConfigError, FormatError, MalformedIndex
from manifests.formats.base import (
    Absent,
    Found,
    LeftOut,
    Refused,
    Result,
    Spec,
    TreeView,
    Unchanged,
    Wanted,
)
from manifests.formats.oci import asking, document, facts, media
from manifests.formats.oci.approval import Approval
from manifests.formats.oci.asking import (
    GONE,
    MAX_BLOB,
    MAX_DOCUMENTS,
    MAX_PAGES,
    MOST_PAGES,
    MOST_SHOWN,
    PAGE,
    REFUSED,
    BlobNote,
    DocumentNote,
    Image,
    PageNote,
    ReferrersNote,
    digest_of,
    failure,
)
from manifests.formats.oci.check import MAX_DEPTH
from manifests.formats.oci.document import Descriptor, Index, Manifest
from manifests.formats.oci.graph import Graph
from manifests.formats.oci.layout import (
    FACTS,
    attached_tags,
    blob_path,
    is_image,
    is_tag,
    locate,
    manifest_path,
    shown,
    tag_path,
)
from manifests.formats.oci.outcome import Outcome, settle
from manifests.formats.oci.rules import asked, wanted_platform
from manifests.formats.oci.tags import select
from manifests.tree import Entry

_ATTESTED = "vnd.docker.reference.digest"
"""BuildKit's annotation: which manifest of an index an attestation is about."""


class OciCrawl:
    """One run. Raises ConfigError for options that ask for nothing."""

    def __init__(self, spec: Spec, previous: TreeView | None) -> None:
        self._spec = spec
        self._asked = asked(spec)
        if not self._asked.images:
            raise ConfigError(
                "no images: nothing says what of this registry is wanted",
                where=spec.name,
                remedy="name `images`",
            )
        self._previous = previous
        self.images: dict[str, Image] = {}
        self.graph = Graph()
        self.fits: Callable[[Descriptor], bool] = lambda row: row.size <= MAX_BLOB
        """Whether a blob of that size can be kept; a lie must not hold the other images up."""
        self.uncatalogued = ""
        """Why the registry's catalog could not be read to its end."""
        self.bad_names: list[str] = []
        self._api: bool | None = None
        """Whether the registry lists referrers itself; None: not known yet."""
        self._unasked: list[ReferrersNote] = []
        self._outcome: Outcome | None = None
        self._pages: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def start(self) -> Iterator[Wanted | LeftOut]:
        if any(rule.is_glob for rule in self._asked.images):
            yield asking.page(f"v2/_catalog?n={PAGE}", None)
        for rule in self._asked.images:
            if not rule.is_glob:
                yield from self._begin(rule.name)

    def feed(self, wanted: Wanted, result: Result) -> Iterator[Wanted | LeftOut]:
        note = wanted.note
        if isinstance(note, PageNote):
            yield from self._paged(wanted, note, result)
        elif isinstance(note, DocumentNote):
            yield from self._came(wanted, note, result)
        elif isinstance(note, ReferrersNote):
            yield from self._referred(wanted, note, result)
        elif isinstance(note, BlobNote):
            self.graph.fail(wanted.path, failure(result).removeprefix(f"{wanted.path}: "))
            place = locate(self.graph.another(wanted.path, note.row))
            if place is not None:
                yield asking.blob(place.image, note.row)

    def facts(self) -> Iterable[tuple[str, bytes]]:
        """What was left out, and which registry this stands for."""
        left_out: Mapping[str, Iterable[str]] = self.graph.left_out
        if self._outcome is not None:
            left_out = self._outcome.left_out
        rows = {image: frozenset(digests) for image, digests in left_out.items()}
        yield FACTS, facts.write(facts.Facts(self._asked.replaces, rows))

    def outcome(self, entries: Mapping[str, Entry], approval: Approval | None = None) -> Outcome:
        """What the tree is made of; ``entries`` are the files that came."""
        self._outcome = settle(self, self._asked, entries, self._previous, approval)
        return self._outcome

    # --- names and tags

    def _begin(self, name: str) -> Iterator[Wanted]:
        if name in self.images:
            return
        rules = tuple(rule for rule in self._asked.images if rule.matches(name))
        image = self.images[name] = Image(name, rules)
        for rule in rules:
            for tag in rule.tags:
                if is_tag(tag):
                    image.named.add(tag_path(name, tag))
                    yield from self._tag(image, tag)
            for digest in rule.digests:
                path = manifest_path(name, digest)
                image.named.add(path)
                image.roots[path] = f"{name}@{digest}"
                yield asking.by_digest(DocumentNote(image), digest, None)
        if image.lists or self._asked.referrers:
            yield asking.page(f"v2/{name}/tags/list?n={PAGE}", image)

    def _paged(self, wanted: Wanted, note: PageNote, result: Result) -> Iterator[Wanted]:
        image = note.image
        what = failure(result)
        if isinstance(result, Absent | Refused):
            plain, sign, _ = wanted.url.partition(f"?n={PAGE}")
            if sign and isinstance(result, Absent) and result.status == 400:
                # Some allow fewer names on a page and do not say how many.
                yield asking.page(plain, image)
                return
            if image is None:
                self.uncatalogued = f"its catalog: {what}"
                return
            image.gone = isinstance(result, Absent) and result.status in GONE and image.lists
            image.unlisted = f"its list of tags: {what}"
            yield from self._by_name(image)
            return
        try:
            names = asking.names(result, "tags" if image is not None else "repositories")
            follow = self._next(wanted.url, result)
        except FormatError as error:
            if image is None:
                self.uncatalogued = f"its catalog: {error.what}"
            else:
                image.unlisted = f"its list of tags: {error.what}"
                yield from self._by_name(image)
            return
        if image is None:
            for name in names:
                if not is_image(name):
                    if len(self.bad_names) < MOST_SHOWN:
                        self.bad_names.append(shown(name))
                elif any(rule.is_glob and rule.matches(name) for rule in self._asked.images):
                    yield from self._begin(name)
        else:
            bad = [shown(tag) for tag in names if not is_tag(tag)]
            image.bad_tags += bad[: MOST_SHOWN - len(image.bad_tags)]
            image.listed.update(tag for tag in names if is_tag(tag))
        if follow:
            yield asking.page(follow, image)
        elif image is not None:
            yield from self._listed(image)

    def _listed(self, image: Image) -> Iterator[Wanted]:
        image.complete = True
        for rule in image.rules:
            if rule.lists:
                for tag in select(rule, image.listed):
                    yield from self._tag(image, tag)
        for digest in list(image.digests):
            yield from self._attached(image, digest)

    def _by_name(self, image: Image) -> Iterator[Wanted]:
        for digest in list(image.digests):
            yield from self._attached(image, digest)

    def _tag(self, image: Image, tag: str) -> Iterator[Wanted]:
        path = tag_path(image.name, tag)
        if path not in image.roots:
            image.roots[path] = f"{image.name}:{tag}"
            yield asking.by_tag(DocumentNote(image, tag=True), tag)

    def _next(self, url: str, result: Found | Unchanged) -> str:
        """The next page of a list. Raises MalformedIndex for one that does not end."""
        follow = asking.following(url, result.headers.get("link", ""))
        name = url.partition("?")[0]
        self._pages[name] += 1
        self._bytes[name] += result.body.size
        if follow and (self._pages[name] >= MOST_PAGES or self._bytes[name] > MAX_PAGES):
            raise MalformedIndex(
                f"it has more than {MOST_PAGES} pages, or than {MAX_PAGES} bytes", where=name
            )
        return follow

    # --- manifests

    def _came(self, wanted: Wanted, note: DocumentNote, result: Result) -> Iterator[Wanted]:
        image, graph = note.image, self.graph
        if isinstance(result, Absent | Refused):
            if isinstance(result, Absent) and result.status in GONE:
                graph.gone.add(wanted.path)
            graph.fail(wanted.path, failure(result).removeprefix(f"{wanted.path}: "))
            return
        header = media.of_header(result.headers.get("content-type", ""))
        own = f"sha256:{result.body.digest}"
        stated = result.headers.get("docker-content-digest", "").strip()
        try:
            with result.body.open() as file:
                found = document.read(file, wanted.path, note.announced or header)
        except FormatError as error:
            graph.fail(wanted.path, error.what)
            return
        digest = own if note.tag else digest_of(wanted)
        rows = found.manifests if isinstance(found, Index) else ()
        if {own, digest, stated} & {row.digest for row in rows}:
            graph.fail(wanted.path, "an index that names itself")
        elif note.announced and header and header != found.media_type:
            graph.fail(wanted.path, f"it is {found.media_type}, sent as {shown(header)}")
        elif stated.startswith("sha256:") and stated != own:
            graph.fail(wanted.path, f"it is {own}, sent as {shown(stated)}")
        elif note.subject and (found.subject is None or found.subject.digest != note.subject):
            graph.fail(wanted.path, f"it does not refer to {note.subject}")
        path = manifest_path(image.name, digest)
        if note.tag:
            graph.tags[wanted.path] = path
            graph.arrived[path] = (result.body.digest, result.body.size)
        if wanted.path in graph.failed:
            graph.tags.pop(wanted.path, None)
            return
        if path not in graph.documents:
            graph.documents[path] = found
            yield from self._follow(note, digest, found)

    def _follow(self, note: DocumentNote, digest: str, found: Index | Manifest) -> Iterator[Wanted]:
        """All that a document names."""
        image = note.image
        path = manifest_path(image.name, digest)
        if len(image.digests) >= MAX_DOCUMENTS:
            self.graph.fail(path, f"more than {MAX_DOCUMENTS} manifests of one image")
            return
        image.digests[digest] = None
        if isinstance(found, Index):
            if note.depth >= MAX_DEPTH:
                self.graph.fail(path, f"indexes nested more than {MAX_DEPTH} deep")
                return
            for row in self._wanted_rows(image, found):
                if row.media_type in media.SCHEMA_1:
                    self.graph.fail(path, f"{row.platform or row.digest}: an image of schema 1")
                elif manifest_path(image.name, row.digest) not in self.graph.documents:
                    child = DocumentNote(image, row.media_type, note.depth + 1)
                    yield asking.by_digest(child, row.digest, row.size)
        else:
            for row in found.blobs:
                if not self.fits(row):
                    what = f"{row.digest} is said to have {row.size} bytes, more than there is room"
                    self.graph.fail(path, f"{what} for")
                    return
            for row in found.blobs:
                if self.graph.needs(blob_path(image.name, row.digest), row):
                    yield asking.blob(image.name, row)
        if self._asked.referrers:
            yield from self._look_for_referrers(ReferrersNote(image, digest))

    def _wanted_rows(self, image: Image, found: Index) -> Iterator[Descriptor]:
        """Manifests for the wanted platforms, and what attests to them."""
        platforms = image.platforms
        unwanted = {
            row.digest
            for row in found.manifests
            if platforms
            and row.platform is not None
            and row.platform.os != "unknown"
            and not wanted_platform(row.platform, platforms)
        }
        for row in found.manifests:
            known = row.media_type in media.INDEXES | media.MANIFESTS | media.SCHEMA_1
            if not known or {row.digest, row.annotations.get(_ATTESTED, "")} & unwanted:
                self.graph.leave_out(image.name, row.digest)
            else:
                self.graph.want(image.name, row.digest)
                yield row

    # --- what refers to a manifest

    def _look_for_referrers(self, note: ReferrersNote) -> Iterator[Wanted]:
        """By the API, which is tried with the first digest alone, and by tags."""
        if self._api is True or (self._api is None and not self._unasked):
            yield self._ask_referrers(note)
        if self._api is None:
            self._unasked.append(note)
        yield from self._attached(note.image, note.digest)

    def _ask_referrers(self, note: ReferrersNote) -> Wanted:
        return asking.referrers(f"v2/{note.image.name}/referrers/{note.digest}", note)

    def _referred(self, wanted: Wanted, note: ReferrersNote, result: Result) -> Iterator[Wanted]:
        waiting: list[ReferrersNote] = []
        path = manifest_path(note.image.name, note.digest)
        if self._api is None:
            if not isinstance(result, Absent | Refused):
                self._api = True
            elif isinstance(result, Absent) and result.status not in REFUSED:
                # A registry that knows the call answers it for any digest.
                self._api = False
            most = 2 if self._api is None else None
            waiting, self._unasked = self._unasked[1:most], self._unasked[1:]
        if isinstance(result, Absent | Refused) and self._api is not False:
            self.graph.fail(f"{path} referrers", failure(result))
        elif not isinstance(result, Absent | Refused):
            yield from self._rows(wanted, note, result)
        if self._api is not False:
            for each in waiting:
                yield self._ask_referrers(each)

    def _rows(
        self, wanted: Wanted, note: ReferrersNote, result: Found | Unchanged
    ) -> Iterator[Wanted]:
        path = manifest_path(note.image.name, note.digest)
        try:
            with result.body.open() as file:
                found = document.read(file, wanted.path)
            follow = self._next(wanted.url, result)
        except FormatError as error:
            self.graph.fail(f"{path} referrers", error.what)
            return
        for row in found.manifests if isinstance(found, Index) else ():
            if row.media_type not in media.INDEXES | media.MANIFESTS or row.digest == note.digest:
                continue
            place = manifest_path(note.image.name, row.digest)
            self.graph.referrers[path][place] = None
            if place not in self.graph.documents:
                child = DocumentNote(note.image, row.media_type, subject=note.digest)
                yield asking.by_digest(child, row.digest, row.size)
        if follow:
            yield asking.referrers(follow, note)

    def _attached(self, image: Image, digest: str) -> Iterator[Wanted]:
        """Tags that stand for a digest: those of the list, or without a list by their names."""
        if not self._asked.referrers or not (image.complete or image.unlisted):
            return
        path = manifest_path(image.name, digest)
        for tag in attached_tags(digest):
            if image.complete and tag not in image.listed:
                continue
            place = tag_path(image.name, tag)
            if place not in self.graph.referrers[path]:
                self.graph.referrers[path][place] = None
                yield asking.by_tag(DocumentNote(image, tag=True), tag)
