"""The format contract carries OCI: a throw-away crawl with Accept headers and digests."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest

from manifests.digest import sha256_of
from manifests.errors import MalformedIndex
from manifests.formats.base import Absent, Crawl, Result, Spec, Wanted
from manifests.formats.bounded import read_small
from tests.support.formats import Answer, Broken, drive

INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
ACCEPT = {"accept": f"{INDEX}, {MANIFEST}"}


@dataclass(frozen=True)
class Manifest:
    """The media type, as far as it is known."""

    kind: str


class OciCrawl:
    """Tags of one image, their indexes and manifests for some platforms, configs and layers."""

    def __init__(self, spec: Spec, image: str) -> None:
        self._image = image
        self._platforms = spec.arches
        self._types: dict[str, str] = {}

    def start(self) -> Iterable[Wanted]:
        yield self._tags(f"v2/{self._image}/tags/list")

    def _tags(self, url: str) -> Wanted:
        page = sha256_of(url.encode())
        return Wanted(
            f"{self._image}/tags/{page}", url, parse=True, keep=False, volatile=True, limit=1 << 20,
            note="tags",
        )  # fmt: skip

    def _manifest(self, reference: str, size: int | None = None, kind: str = "") -> Wanted:
        """By digest it is a promise; by tag it may move, and the copy stands on it.

        What a promise names may come without headers, so its type travels along.
        """
        url = f"v2/{self._image}/manifests/{reference}"
        algorithm, colon, digits = reference.partition(":")
        path = f"{self._image}/manifests/{reference.replace(':', '/')}"
        digests = {algorithm: digits} if colon else {}
        return Wanted(
            path, url, headers=ACCEPT, digests=digests, size=size, parse=True, limit=4 << 20,
            volatile=not colon, confirm=not colon, note=Manifest(kind),
        )  # fmt: skip

    def feed(self, wanted: Wanted, result: Result) -> Iterable[Wanted]:
        if isinstance(result, Absent):
            return
        with result.body.open() as file:
            try:
                found = json.loads(read_small(file, 4 << 20, wanted.path))
            except ValueError as error:
                raise MalformedIndex("not JSON", where=wanted.path) from error
        if wanted.note == "tags":
            yield from (self._manifest(tag) for tag in found["tags"])
            if link := result.headers.get("link", ""):
                yield self._tags(link.partition("<")[2].partition(">")[0].lstrip("/"))
            return
        digest = f"sha256:{result.body.digest}"
        stated = result.headers.get("docker-content-digest", digest)
        if stated != digest:
            raise MalformedIndex("a digest header that does not fit", where=wanted.path)
        assert isinstance(wanted.note, Manifest)
        kind = wanted.note.kind or result.headers["content-type"]
        self._types[digest] = kind
        if wanted.volatile:
            # The same bytes under their digest; the mirror has them and asks nobody.
            yield self._manifest(digest, result.body.size, kind)
        yield from self._children(found, kind)

    def _children(self, found: dict[str, object], kind: str) -> Iterator[Wanted]:
        rows = found.get("manifests" if kind == INDEX else "layers")
        assert isinstance(rows, list)
        if kind == INDEX:
            for row in rows:
                if not self._platforms or row["platform"]["architecture"] in self._platforms:
                    yield self._manifest(row["digest"], row["size"], row["mediaType"])
            return
        for row in [found["config"], *rows]:
            assert isinstance(row, dict)
            algorithm, _, digits = row["digest"].partition(":")
            yield Wanted(
                f"{self._image}/blobs/{algorithm}/{digits}",
                f"v2/{self._image}/blobs/{row['digest']}",
                digests={algorithm: digits},
                size=row["size"],
            )

    def facts(self) -> Iterable[tuple[str, bytes]]:
        yield ".sluice/oci/types.json", json.dumps(self._types, sort_keys=True).encode()


def described(data: bytes, **more: object) -> dict[str, object]:
    return {"digest": f"sha256:{sha256_of(data)}", "size": len(data), **more}


class Registry:
    """Answers as a registry does, from a dict of manifests and blobs."""

    def __init__(self) -> None:
        self.config, self.layer, self.other = b"{}", b"layer", b"layer of arm"
        self.manifests: dict[str, tuple[bytes, str]] = {}
        self.requests: list[tuple[str, str]] = []
        rows = []
        for arch, layer in (("amd64", self.layer), ("arm64", self.other)):
            body = {"config": described(self.config), "layers": [described(layer)]}
            data = json.dumps({"mediaType": MANIFEST, **body}).encode()
            self.manifests[f"sha256:{sha256_of(data)}"] = (data, MANIFEST)
            rows.append(described(data, mediaType=MANIFEST, platform={"architecture": arch}))
        index = json.dumps({"manifests": rows}).encode()
        for name in ("v1", f"sha256:{sha256_of(index)}"):
            self.manifests[name] = (index, INDEX)
        self.manifests["v2"] = self.manifests[str(rows[0]["digest"])]
        self.blobs = {f"sha256:{sha256_of(b)}": b for b in (self.config, self.layer, self.other)}

    def __call__(self, url: str, wanted: Wanted) -> Answer | None:
        accept = wanted.headers.get("accept", "")
        self.requests.append((url, accept))
        name = url.rpartition("/")[2]
        if url == "v2/team/app/tags/list":
            link = {"link": '</v2/team/app/tags/list?last=v1>; rel="next"'}
            return b'{"tags": ["v1"]}', link
        if url == "v2/team/app/tags/list?last=v1":
            return b'{"tags": ["v2"]}', {}
        if "/manifests/" in url and name in self.manifests:
            data, kind = self.manifests[name]
            if kind not in accept:
                return None
            return data, {
                "content-type": kind,
                "docker-content-digest": f"sha256:{sha256_of(data)}",
            }
        return (self.blobs[name], {}) if name in self.blobs else None


def crawl(spec: Spec, registry: Registry) -> set[str]:
    under_test: Crawl = OciCrawl(spec, "team/app")
    run = drive(under_test, registry)
    types = json.loads(run.files.pop(".sluice/oci/types.json"))
    assert set(types.values()) <= {INDEX, MANIFEST}
    assert run.confirmed == ["team/app/manifests/v1", "team/app/manifests/v2"]
    return set(run.files)


def test_tags_lead_to_everything_that_they_name() -> None:
    registry = Registry()
    kept = crawl(Spec("o"), registry)
    manifests = {f"team/app/manifests/{name.replace(':', '/')}" for name in registry.manifests}
    blobs = {f"team/app/blobs/{name.replace(':', '/')}" for name in registry.blobs}
    assert kept == manifests | blobs
    index = f"v2/team/app/manifests/sha256:{sha256_of(registry.manifests['v1'][0])}"
    assert index not in [url for url, _ in registry.requests]
    assert len(registry.requests) == len(set(registry.requests))


def test_platforms_that_are_not_wanted_leave_a_sparse_index() -> None:
    registry = Registry()
    kept = crawl(Spec("o", arches=("amd64",)), registry)
    assert f"team/app/blobs/sha256/{sha256_of(registry.layer)}" in kept
    assert f"team/app/blobs/sha256/{sha256_of(registry.other)}" not in kept


def test_other_bytes_than_the_digest_promised_are_refused() -> None:
    registry = Registry()
    name = f"sha256:{sha256_of(registry.layer)}"
    registry.blobs[name] = b"LAYER"
    with pytest.raises(Broken, match="sha256"):
        crawl(Spec("o"), registry)
