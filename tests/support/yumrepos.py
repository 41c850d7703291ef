"""Small yum repositories, written by hand so that every byte can be wrong."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
from collections.abc import Callable
from dataclasses import dataclass, field

from backports import zstd

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd.compress,
}


def digest(algorithm: str, data: bytes) -> str:
    return hashlib.new("sha1" if algorithm == "sha" else algorithm, data).hexdigest()


@dataclass
class Rpm:
    """A line of primary.xml; the bytes need not be a real package."""

    name: str
    version: str = "1.0"
    release: str = "1"
    arch: str = "noarch"
    epoch: str = "0"
    href: str = ""
    base: str = ""
    data: bytes = b""

    def __post_init__(self) -> None:
        file = f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"
        self.href = self.href or f"Packages/{file}"
        self.data = self.data or f"bytes of {self.epoch}:{file}".encode()

    def xml(self, algorithm: str) -> str:
        base = f' xml:base="{self.base}"' if self.base else ""
        return (
            f'<package type="rpm"><name>{self.name}</name><arch>{self.arch}</arch>'
            f'<version epoch="{self.epoch}" ver="{self.version}" rel="{self.release}"/>'
            f'<checksum type="{algorithm}" pkgid="YES">{digest(algorithm, self.data)}</checksum>'
            f"<summary>s</summary><description>d &amp; e</description>"
            f'<time file="1" build="1700000000"/>'
            f'<size package="{len(self.data)}" installed="1" archive="1"/>'
            f'<location{base} href="{self.href}"/>'
            f'<format><rpm:provides><rpm:entry name="{self.name}"/></rpm:provides></format>'
            f"</package>"
        )


@dataclass
class Repo:
    """A repository; ``extra`` maps a record type to (file name, bytes)."""

    rpms: list[Rpm] = field(default_factory=list)
    algorithm: str = "sha256"
    suffix: str = ".gz"
    prefix: str = ""
    extra: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    deltas: list[Rpm] = field(default_factory=list)
    primary: bytes | None = None

    def primary_xml(self) -> bytes:
        if self.primary is not None:
            return self.primary
        rows = "\n".join(rpm.xml(self.algorithm) for rpm in self.rpms)
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<metadata xmlns="http://linux.duke.edu/metadata/common" '
            'xmlns:rpm="http://linux.duke.edu/metadata/rpm" '
            f'packages="{len(self.rpms)}">\n{rows}\n</metadata>\n'
        ).encode()

    def deltas_xml(self) -> bytes:
        rows = "".join(
            f'<newpackage name="{d.name}" epoch="0" version="{d.version}" release="{d.release}" '
            f'arch="{d.arch}"><delta oldepoch="0" oldversion="0" oldrelease="1">'
            f"<filename>{d.href}</filename><sequence>x</sequence><size>{len(d.data)}</size>"
            f'<checksum type="{self.algorithm}">{digest(self.algorithm, d.data)}</checksum>'
            f"</delta></newpackage>"
            for d in self.deltas
        )
        return f"<prestodelta>{rows}</prestodelta>".encode()

    def record(self, kind: str, path: str, packed: bytes, plain: bytes) -> str:
        algorithm = self.algorithm
        return (
            f'<data type="{kind}"><checksum type="{algorithm}">{digest(algorithm, packed)}'
            f'</checksum><open-checksum type="{algorithm}">{digest(algorithm, plain)}'
            f'</open-checksum><location href="{path}"/><timestamp>1</timestamp>'
            f"<size>{len(packed)}</size><open-size>{len(plain)}</open-size></data>"
        )

    def files(self) -> dict[str, bytes]:
        """Every file of the repository by its path."""
        pack = COMPRESS[self.suffix]
        found: dict[str, bytes] = {}
        records = []
        parts = {"primary": self.primary_xml(), "filelists": b"<filelists/>", "other": b"<o/>"}
        if self.deltas:
            parts["prestodelta"] = self.deltas_xml()
        for kind, plain in parts.items():
            packed = pack(plain)
            path = f"repodata/{digest(self.algorithm, packed)}-{kind}.xml{self.suffix}"
            found[self.prefix + path] = packed
            records.append(self.record(kind, path, packed, plain))
        for kind, (name, data) in self.extra.items():
            found[f"{self.prefix}repodata/{name}"] = data
            records.append(self.record(kind, f"repodata/{name}", data, data))
        found[self.prefix + "repodata/repomd.xml"] = (
            '<?xml version="1.0"?><repomd xmlns="http://linux.duke.edu/metadata/repo">'
            f"<revision>1</revision>{''.join(records)}</repomd>"
        ).encode()
        for rpm in [*self.rpms, *self.deltas]:
            found[self.prefix + rpm.href] = rpm.data
        return found
