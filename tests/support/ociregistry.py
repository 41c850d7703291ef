"""A registry in memory for crawls: images made of bytes, answers as the distribution API gives."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from manifests.digest import sha256_of
from manifests.formats.base import Wanted
from manifests.formats.oci import media
from tests.support.formats import Answer

Json = dict[str, object]


def digest(data: bytes) -> str:
    """``sha256:HEX``."""
    return f"sha256:{sha256_of(data)}"


def described(data: bytes, media_type: str, **more: object) -> Json:
    """A descriptor."""
    return {"mediaType": media_type, "digest": digest(data), "size": len(data), **more}


def manifest(
    config: bytes, /, *layers: bytes, media_type: str = media.OCI_MANIFEST, **more: object
) -> bytes:
    """An image manifest; layers are plain tars by their media type."""
    docker = media_type == media.DOCKER_MANIFEST
    kind = media.DOCKER_LAYER if docker else media.OCI_LAYER
    body: Json = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": described(config, media.DOCKER_CONFIG if docker else media.OCI_CONFIG),
        "layers": [described(layer, kind) for layer in layers],
        **more,
    }
    return json.dumps(body).encode()


def index(*rows: Json, media_type: str = media.OCI_INDEX, **more: object) -> bytes:
    """An index of ``row``s."""
    body: Json = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(rows), **more}
    return json.dumps(body).encode()


def row(data: bytes, platform: str = "", **more: object) -> Json:
    """What an index says of a manifest."""
    kind = str(json.loads(data)["mediaType"])
    found = described(data, kind, **more)
    if platform:
        system, architecture, *variant = platform.split("/")
        found["platform"] = {"os": system, "architecture": architecture}
        if variant:
            found["platform"] |= {"variant": variant[0]}  # type: ignore[operator]
    return found


@dataclass
class MemoryRegistry:
    """``drive``'s upstream. ``page``: names on one page of a list."""

    page: int = 1000
    api: bool = False
    """Whether it lists referrers."""
    tags: dict[str, dict[str, bytes]] = field(default_factory=dict)
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    answers: dict[str, Answer | None] = field(default_factory=dict)
    """By URL: what is said instead."""

    def push(self, image: str, tag: str, data: bytes, *blobs: bytes) -> bytes:
        """Put a manifest there, under a tag if one is named, with its config and layers."""
        self.tags.setdefault(image, {})
        if tag:
            self.tags[image][tag] = data
        for each in (data, *blobs):
            self.blobs[image, digest(each)] = each
        return data

    def image(self, image: str, tag: str, *layers: bytes, **more: object) -> bytes:
        """An image of these layers."""
        config = json.dumps({"architecture": "amd64", "os": "linux", "of": tag}).encode()
        data = manifest(config, *layers, **more)  # type: ignore[arg-type]
        return self.push(image, tag, data, config, *layers)

    def __call__(self, url: str, wanted: Wanted) -> Answer | None:
        self.asked.append(url)
        if url in self.answers:
            return self.answers[url]
        path, _, query = url.partition("?")
        if path == "v2/_catalog":
            return self._list(path, query, "repositories", sorted(self.tags))
        image, _, rest = path.removeprefix("v2/").partition("/tags/")
        if rest == "list":
            if image not in self.tags:
                return None
            return self._list(path, query, "tags", sorted(self.tags[image]))
        for word in ("/manifests/", "/blobs/", "/referrers/"):
            image, sign, reference = path.removeprefix("v2/").partition(word)
            if sign:
                break
        if word == "/referrers/":
            return self._referrers(image, reference) if self.api else None
        if word == "/blobs/":
            found = self.blobs.get((image, reference))
            return None if found is None else (found, {})
        data = self.tags.get(image, {}).get(reference) or self.blobs.get((image, reference))
        return None if data is None else (data, self.headers(data))

    def headers(self, data: bytes) -> Mapping[str, str]:
        """Of a manifest."""
        kind = json.loads(data).get("mediaType", media.OCI_MANIFEST)
        return {"content-type": kind, "docker-content-digest": digest(data)}

    def _list(self, path: str, query: str, key: str, names: list[str]) -> Answer:
        last = query.partition("last=")[2].partition("&")[0]
        names = [name for name in names if name > last]
        body = json.dumps({key: names[: self.page]}).encode()
        if len(names) <= self.page:
            return body, {}
        link = f'</{path}?n={self.page}&last={names[self.page - 1]}>; rel="next"'
        return body, {"link": link}

    def _referrers(self, image: str, subject: str) -> Answer:
        rows = []
        for (name, _), data in self.blobs.items():
            if name == image and data.startswith(b'{"schemaVersion'):
                found = json.loads(data)
                if found.get("subject", {}).get("digest") == subject:
                    rows.append(row(data))
        return index(*rows), {"content-type": media.OCI_INDEX}
