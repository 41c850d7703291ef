"""Small container images, built by script: the same bytes on every run.

A ``Layout`` is a folder in the OCI image layout (image-spec 1.1, image-layout.md)
that skopeo reads; it may also hold Docker's media types, artifacts and signatures,
which ``tests.support.registry.Registry.push`` brings to a registry byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import random
import struct
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backports import zstd

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"

HERE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
"""This machine as images name it."""

_REF = "org.opencontainers.image.ref.name"


@dataclass(frozen=True)
class Descriptor:
    """image-spec 1.1, descriptor.md; ``more`` are further fields such as ``platform``."""

    media_type: str
    digest: str
    size: int
    more: Mapping[str, Any] = field(default_factory=dict)
    diff_id: str = ""
    """Of a layer: the digest before compression."""

    @property
    def hex(self) -> str:
        return self.digest.partition(":")[2]

    def json(self) -> dict[str, Any]:
        plain = {"mediaType": self.media_type, "digest": self.digest, "size": self.size}
        return plain | dict(self.more)

    def having(self, **more: object) -> Descriptor:
        """The same with further fields, such as ``annotations``."""
        return replace(self, more={**self.more, **more})


class Layout:
    """An OCI image layout in ``folder``; made if it is not there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = folder / "blobs/sha256"
        self.blobs.mkdir(parents=True, exist_ok=True)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}', "utf-8")
        self.tags: dict[str, Descriptor] = {}
        self._write_index()

    def blob(self, data: bytes, media_type: str = "application/octet-stream") -> Descriptor:
        """Keep any bytes."""
        name = hashlib.sha256(data).hexdigest()
        (self.blobs / name).write_bytes(data)
        return Descriptor(media_type, f"sha256:{name}", len(data))

    def document(self, value: Mapping[str, Any]) -> Descriptor:
        """Keep a manifest or index as JSON; its type is its ``mediaType``."""
        return self.blob(_json(value), str(value["mediaType"]))

    def read(self, what: Descriptor | str) -> bytes:
        digest = what.digest if isinstance(what, Descriptor) else what
        return (self.blobs / digest.partition(":")[2]).read_bytes()

    def tag(self, name: str, what: Descriptor) -> Descriptor:
        """Give ``what`` a name in ``index.json``; a second time moves it."""
        self.tags[name] = what
        self._write_index()
        return what

    def untag(self, name: str) -> None:
        del self.tags[name]
        self._write_index()

    def layer(
        self, files: Mapping[str, bytes], *, compression: str = "gzip", docker: bool = False
    ) -> Descriptor:
        """A tar of ``files``: ``gzip``, ``zstd`` or ``none``; those in ``bin/`` can run."""
        data = _tar(files)
        diff_id = f"sha256:{hashlib.sha256(data).hexdigest()}"
        suffix = "" if compression == "none" else f"+{compression}"
        if compression == "gzip":
            data = gzip.compress(data, mtime=0)
        elif compression == "zstd":
            data = zstd.compress(data, level=3)
        media_type = DOCKER_LAYER if docker else OCI_LAYER + suffix
        return replace(self.blob(data, media_type), diff_id=diff_id)

    def random_layer(self, size: int, seed: int) -> Descriptor:
        """``size`` bytes that do not compress, as a layer that no client can unpack wrongly:
        an uncompressed tar with one file."""
        path = self.folder / f"random-{seed}.tar"
        header = tarfile.TarInfo(f"data/random-{seed}.bin")
        header.size = size
        source, hasher, written = random.Random(seed), hashlib.sha256(), 0
        with path.open("wb") as out:

            def put(data: bytes) -> None:
                nonlocal written
                out.write(data)
                hasher.update(data)
                written += len(data)

            put(header.tobuf(tarfile.USTAR_FORMAT))
            for start in range(0, size, 1 << 20):
                put(source.randbytes(min(1 << 20, size - start)))
            put(bytes(-size % 512 + 1024))
        path.rename(self.blobs / hasher.hexdigest())
        digest = f"sha256:{hasher.hexdigest()}"
        return Descriptor(OCI_LAYER, digest, written, diff_id=digest)

    def image(
        self,
        text: str = "hello\n",
        *,
        architecture: str = HERE,
        docker: bool = False,
        compression: str = "gzip",
        layers: Sequence[Descriptor] = (),
        labels: Mapping[str, str] | None = None,
        **more: object,
    ) -> Descriptor:
        """An image that prints ``text``; ``layers`` lie under its own small one.

        ``docker`` makes it schema 2. ``more`` are fields of the manifest, such as
        ``annotations``. The descriptor has the platform.
        """
        program = {"bin/say": program_that_says(text, architecture)}
        own = self.layer(program, compression=compression, docker=docker)
        everything = [*layers, own]
        config = {
            "architecture": architecture,
            "os": "linux",
            "created": "2020-01-01T00:00:00Z",
            "config": {"Entrypoint": ["/bin/say"], "Labels": dict(labels or {})},
            "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in everything]},
            "history": [{"created": "2020-01-01T00:00:00Z"} for _ in everything],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
            "config": self.blob(_json(config), DOCKER_CONFIG if docker else OCI_CONFIG).json(),
            "layers": [one.json() for one in everything],
            **more,
        }
        made = self.document(manifest)
        return made.having(platform={"architecture": architecture, "os": "linux"})

    def index(
        self, manifests: Sequence[Descriptor], *, docker: bool = False, **more: object
    ) -> Descriptor:
        """An image index, or Docker's manifest list."""
        return self.document(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_LIST if docker else OCI_INDEX,
                "manifests": [one.json() for one in manifests],
                **more,
            }
        )

    def platforms(
        self, text: str = "hello\n", *names: str, docker: bool = False, **more: object
    ) -> Descriptor:
        """An index over one image each of ``names``: amd64 and arm64 by default."""
        return self.index(
            [
                self.image(text, architecture=name, docker=docker)
                for name in (names or ("amd64", "arm64"))
            ],
            docker=docker,
            **more,
        )

    def artifact(
        self,
        artifact_type: str,
        *blobs: Descriptor,
        subject: Descriptor | None = None,
        **more: object,
    ) -> Descriptor:
        """Something that is no image (image-spec 1.1, guidelines for artifact usage)."""
        value: dict[str, Any] = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": self.blob(b"{}", EMPTY).json(),
            "layers": [one.json() for one in blobs] or [self.blob(b"{}", EMPTY).json()],
        }
        if subject is not None:
            value["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).json()
        return self.document(value | more)

    def within(self, what: Descriptor) -> Iterator[Descriptor]:
        """All that a manifest needs, before itself: blobs, then manifests, in push order.

        What an index names and the layout does not hold is left out.
        """
        value = json.loads(self.read(what))
        for child in value.get("manifests", []):
            if (self.blobs / child["digest"].partition(":")[2]).exists():
                yield from self.within(_descriptor(child))
        for one in [*filter(None, [value.get("config")]), *value.get("layers", [])]:
            yield _descriptor(one)
        yield what

    def _write_index(self) -> None:
        names = [
            one.having(annotations={_REF: name}).json() for name, one in sorted(self.tags.items())
        ]
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": names}
        (self.folder / "index.json").write_bytes(_json(value))


def is_manifest(what: Descriptor) -> bool:
    """Whether it goes to ``/manifests/`` of a registry, not to ``/blobs/``."""
    return what.media_type in (OCI_MANIFEST, OCI_INDEX, DOCKER_MANIFEST, DOCKER_LIST)


def program_that_says(text: str, architecture: str = HERE) -> bytes:
    """A static Linux program (ELF) of some 200 bytes that prints ``text`` and ends with 0."""
    message = text.encode()
    machine, code = _CODE[architecture](len(message))
    base, head = 0x400000, 64 + 56
    body = code + message
    elf = b"\x7fELF\x02\x01\x01" + bytes(9)
    elf += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + head, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    total = head + len(body)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, total, total, 0x10000) + body


def _amd64(length: int) -> tuple[int, bytes]:
    end = b"\x0f\x05" + b"\xb8\x3c\x00\x00\x00" + b"\x31\xff" + b"\x0f\x05"  # exit(0)
    size = b"\xba" + struct.pack("<I", length)
    where = b"\x48\x8d\x35" + struct.pack("<i", len(size) + len(end))  # what follows the code
    return 62, b"\xb8\x01\x00\x00\x00" + b"\xbf\x01\x00\x00\x00" + where + size + end


def _arm64(length: int) -> tuple[int, bytes]:
    words = [
        0xD2800020,  # mov x0, 1
        0x10000001 | (7 * 4 >> 2) << 5,  # adr x1, what follows the code
        0xD2800002 | length << 5,
        0xD2800808,  # write
        0xD4000001,
        0xD2800000,
        0xD2800BA8,  # exit
        0xD4000001,
    ]
    return 183, struct.pack(f"<{len(words)}I", *words)


_CODE = {"amd64": _amd64, "arm64": _arm64}


def _tar(files: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(files):
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            member.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(files[name]))
    return out.getvalue()


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, indent=2).encode()


def _descriptor(value: Mapping[str, Any]) -> Descriptor:
    return Descriptor(str(value["mediaType"]), str(value["digest"]), int(value["size"]))
