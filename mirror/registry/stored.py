"""Images in an OCI layout or a ``docker save`` archive, as a registry would name them.

OCI Image Specification 1.1, image-layout.md; names by ``org.opencontainers.image.ref.name`` and
containerd's annotation. Docker Image Specification 1.2, "Combined Image JSON + Filesystem Changeset
Format": such an archive has no manifest, so one of schema 2 is made, always the same for the same
archive, and its layers must be those that the config names.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from manifests import canonical, errors
from manifests.formats.bounded import compression, read_small
from manifests.formats.oci import document, media
from manifests.formats.oci.document import Index
from manifests.formats.oci.layout import is_oci_digest, split_digest
from mirror.registry.files import Files
from mirror.report import printable

_REF = "org.opencontainers.image.ref.name"
_NAME = "io.containerd.image.name"
_MOST_IMAGES = 10_000
_MOST_LAYERS = 500
_BLOCK = 1 << 20


@dataclass(slots=True)
class Stored:
    """Images by name, and their bytes by digest."""

    files: Files
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    """Image, tag, digest."""
    members: dict[str, str] = field(default_factory=dict)
    """By digest: the file's name, where it is not the layout's."""
    made: dict[str, bytes] = field(default_factory=dict)
    """Manifests that were made here, by digest."""
    referrers: dict[str, list[dict[str, object]]] = field(default_factory=dict)
    """By digest: descriptors of what refers to it."""

    def open(self, digest: str) -> BinaryIO | None:
        """The bytes of a manifest or blob; None if it is not here."""
        if digest in self.made:
            return io.BytesIO(self.made[digest])
        algorithm, digits = split_digest(digest)
        return self.files.open(self.members.get(digest, f"blobs/{algorithm}/{digits}"))

    def add(self, image: str, tag: str, digest: str) -> None:
        """Give a digest a name."""
        self.tags.setdefault(image, {})[tag] = digest


def read_stored(files: Files, default: str) -> Stored:
    """All images. ``default`` names those that only have a tag; "" if zone.yaml names none alone.

    Raises UpstreamRefused: neither layout nor archive, or images without a name.
    """
    if _read(files, "oci-layout") is not None:
        return _layout(files, default)
    # Its layers have any name, so only where no name leads out. A layout's are found by digest.
    listed = _read(files, "manifest.json") if files.packed else None
    if listed is not None:
        return _docker(files, listed, default)
    raise errors.UpstreamRefused(
        "neither an OCI layout (`oci-layout`) nor an archive by docker save (`manifest.json`)",
        where=files.source,
        remedy="check `upstream`",
    )


def _layout(files: Files, default: str) -> Stored:
    stored = Stored(files)
    data = _read(files, "index.json")
    found = None if data is None else document.parse(data, "index.json")
    if not isinstance(found, Index):
        raise _bad(files, "`index.json` is no index")
    nameless = []
    for row in found.manifests:
        name = row.annotations.get(_NAME, "") or row.annotations.get(_REF, "")
        if name:
            stored.add(*_named(files, name, row.annotations.get(_REF, ""), default), row.digest)
        else:
            nameless.append(row.digest)
        _referrer(stored, row.digest)
    if len(nameless) == 1 and not stored.tags:
        stored.add(_only(files, default), "latest", nameless[0])
    elif nameless and default:
        stored.tags.setdefault(default, {})
    return stored


def _referrer(stored: Stored, digest: str) -> None:
    """Enter what a manifest of ``index.json`` refers to; the crawl says what is wrong with it."""
    file = stored.open(digest)
    if file is None:
        return
    with file:
        try:
            data = read_small(file, document.MAX_BYTES, digest)
            one = document.parse(data, digest)
        except errors.FormatError:
            return
    if one.subject is not None:
        row: dict[str, object] = {
            "mediaType": one.media_type, "digest": digest, "size": len(data),
        }  # fmt: skip
        stored.referrers.setdefault(one.subject.digest, []).append(row)


def _named(files: Files, name: str, tag: str, default: str) -> tuple[str, str]:
    """Image and tag that a full name (``HOST/IMAGE:TAG``) or a mere tag stands for."""
    if "/" not in name and ":" not in name:
        return _only(files, default), name
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    image, colon, own = name.partition("@")[0].rpartition(":")
    if not colon:
        image, own = own, "latest"
    return image, tag if tag and ":" not in tag and "/" not in tag else own


def _only(files: Files, default: str) -> str:
    if not default:
        raise errors.UpstreamRefused(
            "there are tags without the name of an image",
            where=files.source,
            remedy="name exactly one image in `images`, which these tags belong to",
        )
    return default


def _docker(files: Files, listed: bytes, default: str) -> Stored:
    stored = Stored(files)
    rows = document.load(listed, "manifest.json")
    if not isinstance(rows, list) or len(rows) > _MOST_IMAGES:
        raise _bad(files, "`manifest.json` is no list of images")
    known: dict[str, tuple[str, int, str]] = {}
    for row in rows:
        digest = _image(stored, row, known)
        names = row.get("RepoTags") or []
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _bad(files, "`RepoTags` is no list of names")
        for name in names:
            stored.add(*_named(files, name, "", default), digest)
        if not names:
            stored.add(_only(files, default), "latest", digest)
    return stored


def _image(stored: Stored, row: object, known: dict[str, tuple[str, int, str]]) -> str:
    """Make the manifest of one image; its digest."""
    files = stored.files
    layers = row.get("Layers") if isinstance(row, dict) else None
    config = row.get("Config") if isinstance(row, dict) else None
    if not isinstance(config, str) or not isinstance(layers, list) or len(layers) > _MOST_LAYERS:
        raise _bad(files, "an image of `manifest.json` lacks `Config` or `Layers`")
    data = _read(files, config)
    if data is None:
        raise _bad(files, f"{printable(config)} is not in it")
    diff_ids = _diff_ids(data)
    if len(diff_ids) != len(layers):
        raise _bad(files, f"{printable(config)} names other layers than `manifest.json`")
    descriptors = []
    for name, diff_id in zip(layers, diff_ids, strict=True):
        if not isinstance(name, str):
            raise _bad(files, "a layer without a name")
        if name not in known:
            known[name] = _layer(files, name)
        digest, size, kind = known[name]
        if kind == "plain" and digest != diff_id:
            raise _bad(files, f"{printable(name)} is {digest}, its config says {diff_id}")
        stored.members[digest] = name
        suffix = "" if kind == "plain" else f".{kind}"
        descriptors.append(
            {"mediaType": media.DOCKER_LAYER + suffix, "size": size, "digest": digest}
        )
    own = f"sha256:{hashlib.sha256(data).hexdigest()}"
    stored.made[own] = data
    value = {
        "schemaVersion": 2,
        "mediaType": media.DOCKER_MANIFEST,
        "config": {"mediaType": media.DOCKER_CONFIG, "size": len(data), "digest": own},
        "layers": descriptors,
    }
    manifest = canonical.dumps(value)
    digest = f"sha256:{hashlib.sha256(manifest).hexdigest()}"
    stored.made[digest] = manifest
    return digest


def _diff_ids(config: bytes) -> list[str]:
    found = document.load(config, "config")
    rootfs = found.get("rootfs") if isinstance(found, dict) else None
    rows = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    good = isinstance(rows, list) and all(isinstance(r, str) and is_oci_digest(r) for r in rows)
    return list(rows) if good and isinstance(rows, list) else []


def _layer(files: Files, name: str) -> tuple[str, int, str]:
    """Digest, size and kind of compression."""
    file = files.open(name)
    if file is None:
        raise _bad(files, f"{printable(name)} is not in it")
    hasher, size, kind = hashlib.sha256(), 0, ""
    with file:
        for block in _blocks(file):
            kind = kind or compression(block[:16])
            hasher.update(block)
            size += len(block)
    if kind not in ("plain", "gzip", "zstd", ""):
        raise _bad(files, f"{printable(name)} is compressed by {kind}")
    return f"sha256:{hasher.hexdigest()}", size, kind or "plain"


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _read(files: Files, name: str) -> bytes | None:
    try:
        file = files.open(name)
    except errors.BadPath:
        return None
    if file is None:
        return None
    with file:
        return read_small(file, document.MAX_BYTES, name)


def _bad(files: Files, what: str) -> errors.UpstreamRefused:
    return errors.UpstreamRefused(
        what, where=files.source, remedy="make the layout or archive anew, or check `upstream`"
    )
