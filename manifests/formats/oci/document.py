"""Reading manifests and indexes, which strangers write.

OCI Image Specification 1.1 (descriptor.md, manifest.md, image-index.md); Docker Image Manifest
Version 2, Schema 2. Nothing is repaired: bytes that two clients could understand differently are
refused, such as a name that stands twice, or a document that is manifest and index at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn, cast

from manifests import jsontext
from manifests.errors import MalformedIndex, OversizedIndex
from manifests.formats.bounded import read_small
from manifests.formats.oci import media
from manifests.formats.oci.layout import is_oci_digest, shown
from manifests.tree import MAX_SIZE

#: Bytes of a manifest or an index; registries take no larger ones.
MAX_BYTES = 4 << 20
MAX_LAYERS = 4096
MAX_CHILDREN = 4096
_NONE: Mapping[str, str] = MappingProxyType({})
_WORD = re.compile(r"[\x20-\x7e]{0,200}")


@dataclass(frozen=True, slots=True)
class Platform:
    """What a manifest of an index runs on."""

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""

    def __str__(self) -> str:
        """``linux/arm64/v8``."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """What a document says of another one. ``size`` is bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)


@dataclass(frozen=True, slots=True)
class Manifest:
    """An image, or an artifact."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    @property
    def kind(self) -> str:
        """What an index of referrers says of it as ``artifactType``."""
        return self.artifact_type or self.config.media_type

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers."""
        return (self.config, *self.layers)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests, for several platforms or of several kinds."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=lambda: _NONE)

    @property
    def kind(self) -> str:
        """What an index of referrers says of it as ``artifactType``."""
        return self.artifact_type


Document = Manifest | Index


def read(file: BinaryIO, where: str, announced: str = "") -> Document:
    """Read and parse at most ``MAX_BYTES``; see ``parse``."""
    return parse(read_small(file, MAX_BYTES, where), where, announced)


def parse(data: bytes, where: str, announced: str = "") -> Document:
    """The document in ``data``. ``announced`` is the media type that somebody else stated for it.

    Raises OversizedIndex, and MalformedIndex: no strict JSON, another media type than announced,
    schema 1, layers that may not be passed on, fields of the wrong kind.
    """
    if len(data) > MAX_BYTES:
        raise OversizedIndex(f"a manifest of more than {MAX_BYTES} bytes", where=where)
    if announced in media.SCHEMA_1:
        _refuse_schema_1(where)
    reader = _Reader(where)
    top = reader.mapping(load(data, where), "the document")
    version = top.get("schemaVersion")
    media_type = reader.text(top, "mediaType")
    if version == 1 or media_type in media.SCHEMA_1:
        _refuse_schema_1(where)
    if version != 2 or isinstance(version, bool):
        reader.fail("its schemaVersion is not 2")
    is_index = "manifests" in top
    if is_index and ("config" in top or "layers" in top or "fsLayers" in top):
        reader.fail("it is manifest and index at once")
    media_type = media_type or (media.OCI_INDEX if is_index else media.OCI_MANIFEST)
    if media_type not in (media.INDEXES if is_index else media.MANIFESTS):
        kind = "an index" if is_index else "a manifest"
        reader.fail(f"it is {kind} and calls itself {shown(media_type)}")
    if announced and announced != media_type:
        reader.fail(f"it is {media_type}, announced as {shown(announced)}")
    common: dict[str, Any] = {
        "media_type": media_type,
        "subject": reader.descriptor(top["subject"], "subject") if top.get("subject") else None,
        "artifact_type": reader.media_type(top, "artifactType"),
        "annotations": reader.annotations(top),
    }
    if is_index:
        rows = reader.rows(top, "manifests", MAX_CHILDREN)
        return Index(manifests=rows, **common)
    layers = reader.rows(top, "layers", MAX_LAYERS)
    config = reader.descriptor(top.get("config"), "config")
    manifest = Manifest(config=config, layers=layers, **common)
    for layer in manifest.layers:
        if media.is_foreign(layer.media_type):
            raise MalformedIndex(
                "it has a layer that may not be passed on (foreign, non-distributable)",
                where=where,
                remedy="leave it out by `platforms`, or have it built with layers of its own",
            )
    return manifest


def load(data: bytes, where: str) -> object:
    """JSON (RFC 8259) in UTF-8; every name once, no numbers but integers in manifests' range."""
    try:
        return cast(object, jsontext.loads(data, objects=_once, integers=_integer))
    except ValueError as error:
        detail = shown(str(error)) if isinstance(error, _Twice) else "not JSON"
        raise MalformedIndex(detail, where=where) from error


class _Twice(ValueError):
    """A name stands twice in one object."""


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _Twice(f"JSON with the name {name[:60]!r} twice")
            seen.add(name)
    return found


def _integer(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number of too many digits")
    return int(text)


class _Reader:
    """Takes fields out of parsed JSON."""

    def __init__(self, where: str) -> None:
        self._where = where

    def fail(self, what: str) -> NoReturn:
        raise MalformedIndex(what, where=self._where)

    def mapping(self, value: object, what: str) -> dict[str, object]:
        if not isinstance(value, dict):
            self.fail(f"{what} is not an object")
        return value

    def text(self, source: Mapping[str, object], key: str) -> str:
        value = source.get(key)
        if value is None:
            return ""
        if not isinstance(value, str) or not _WORD.fullmatch(value):
            self.fail(f"`{key}` is not a short text")
        return value

    def media_type(self, source: Mapping[str, object], key: str) -> str:
        value = self.text(source, key)
        if value and not media.is_media_type(value):
            self.fail(f"`{key}` is not a media type: {shown(value)}")
        return value

    def annotations(self, source: Mapping[str, object]) -> Mapping[str, str]:
        value = source.get("annotations")
        if not value and value in (None, {}):
            return _NONE
        found = self.mapping(value, "`annotations`")
        if not all(isinstance(each, str) for each in found.values()):
            self.fail("an annotation is not text")
        return {key: str(each) for key, each in found.items()}

    def rows(self, source: Mapping[str, object], key: str, most: int) -> tuple[Descriptor, ...]:
        value = source.get(key)
        if value is None and key == "layers":
            self.fail("it has neither `layers` nor `manifests`")
        if not isinstance(value, list):
            self.fail(f"`{key}` is not a list")
        if len(value) > most:
            self.fail(f"`{key}` has more than {most} entries")
        return tuple(self.descriptor(each, key) for each in value)

    def descriptor(self, value: object, what: str) -> Descriptor:
        found = self.mapping(value, f"an entry of `{what}`")
        digest, size = self.text(found, "digest"), found.get("size")
        if not is_oci_digest(digest):
            self.fail(f"an entry of `{what}` has no digest in sha256 or sha512: {shown(digest)!r}")
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_SIZE:
            self.fail(f"an entry of `{what}` has no size")
        media_type = self.media_type(found, "mediaType")
        if not media_type:
            self.fail(f"an entry of `{what}` has no media type")
        platform = found.get("platform")
        # A registry's images name the same few layers again and again.
        return Descriptor(
            sys.intern(media_type),
            sys.intern(digest),
            size,
            None if platform is None else self._platform(platform),
            self.media_type(found, "artifactType"),
            self.annotations(found),
        )

    def _platform(self, value: object) -> Platform:
        found = self.mapping(value, "`platform`")
        return Platform(
            self.text(found, "os"),
            self.text(found, "architecture"),
            self.text(found, "variant"),
            self.text(found, "os.version"),
        )


def _refuse_schema_1(where: str) -> NoReturn:
    raise MalformedIndex(
        "it is an image of schema 1, which present clients no longer pull",
        where=where,
        remedy="have it pushed again by a present client, which writes schema 2 or OCI",
    )
