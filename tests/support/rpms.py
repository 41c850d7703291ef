"""Real RPMs, built by rpmbuild from generated spec text and signed by rpmsign."""

from __future__ import annotations

import fcntl
import hashlib
import os
import random
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support import tools
from tests.support.gpg import GpgHome

BUILD_TIME = 1_700_000_000
"""Build and file time of all packages, in seconds since 1970."""


def noise(seed: str, size: int) -> bytes:
    """``size`` bytes that no codec shrinks, the same for the same ``seed``."""
    return random.Random(seed).randbytes(size)


@dataclass(frozen=True)
class Package:
    """What a package shall be. ``files`` are pairs (absolute path, content)."""

    name: str
    version: str = "1.0"
    release: str = "1"
    arch: str = "noarch"
    epoch: int = 0
    requires: tuple[str, ...] = ()
    provides: tuple[str, ...] = ()
    obsoletes: tuple[str, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    summary: str = ""

    @property
    def filename(self) -> str:
        """``name-version-release.arch.rpm``"""
        return f"{self.name}-{self.version}-{self.release}.{self.arch}.rpm"

    @property
    def nevra(self) -> str:
        """``name-epoch:version-release.arch``, the epoch always written (as modules do)."""
        return f"{self.name}-{self.epoch}:{self.version}-{self.release}.{self.arch}"

    @property
    def content(self) -> tuple[tuple[str, bytes], ...]:
        """The files, or one small default file."""
        default = (f"/usr/share/{self.name}/{self.name}.txt", f"{self.nevra}\n".encode())
        return self.files or (default,)


def build(
    packages: Sequence[Package],
    into: Path,
    *,
    key: GpgHome | None = None,
    payload: str = "w6.gzdio",
) -> list[Path]:
    """Build ``packages`` below ``into``, signed if there is a ``key``; paths in their order.

    Same packages, same bytes (before signing). One rpmbuild makes a whole batch.
    """
    into.mkdir(parents=True, exist_ok=True)
    for batch in _batches(packages):
        with tempfile.TemporaryDirectory(prefix="sluice-rpm-") as scratch:
            _rpmbuild(batch, into, Path(scratch), payload)
    built = [into / package.filename for package in packages]
    if key is not None:
        sign(built, key)
    for path in built:
        os.utime(path, (BUILD_TIME, BUILD_TIME))
    return built


def sign(paths: Sequence[Path], key: GpgHome) -> None:
    """Replace the signature in each of the package files by one of ``key``."""
    if not paths:
        return
    env = tools.clean_env(key.home, GNUPGHOME=str(key.home))
    define = ["--define", f"_gpg_name {key.fingerprint}", "--define", f"__gpg {tools.need('gpg')}"]
    tools.run([tools.need("rpmsign"), *define, "--addsign", *paths], env=env)


def _batches(packages: Iterable[Package]) -> list[list[Package]]:
    """Split so that no batch has one name twice, nor two packages with the same path."""
    batches: list[tuple[set[str], list[Package]]] = []
    for package in packages:
        claims = {package.name, *(path for path, _ in package.content)}
        for taken, batch in batches:
            if not taken & claims:
                taken |= claims
                batch.append(package)
                break
        else:
            batches.append((claims, [package]))
    return [batch for _, batch in batches]


def _rpmbuild(batch: list[Package], into: Path, scratch: Path, payload: str) -> None:
    sources = scratch / "files"
    for package in batch:
        for path, content in package.content:
            target = sources / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
    spec = scratch / "batch.spec"
    spec.write_text(_spec(batch), "utf-8")
    defines = {
        "_topdir": str(scratch),
        "_sourcedir": str(sources),
        "_rpmdir": str(into),
        "_rpmfilename": "%%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        "_tmppath": str(scratch),
        "_buildhost": "build.example.org",
        "_binary_payload": payload,
        "use_source_date_epoch_as_buildtime": "1",
        "clamp_mtime_to_source_date_epoch": "1",
        "source_date_epoch_from_changelog": "0",
        "__os_install_post": "%{nil}",
        "_build_id_links": "none",
        "debug_package": "%{nil}",
    }
    words = [word for name, value in defines.items() for word in ("--define", f"{name} {value}")]
    env = tools.clean_env(scratch, SOURCE_DATE_EPOCH=str(BUILD_TIME))
    tools.run([tools.need("rpmbuild"), "-bb", "--target", "x86_64", *words, spec], env=env)


def _spec(batch: list[Package]) -> str:
    lines = [
        "Name: batch", "Version: 1", "Release: 1", "Summary: Never built itself",
        "License: Apache-2.0", "%description", "None.", "",
    ]  # fmt: skip
    for package in batch:
        lines += [
            f"%package -n {package.name}",
            f"Version: {package.version}",
            f"Release: {package.release}",
            f"Summary: {package.summary or 'Example package ' + package.name}",
            "AutoReqProv: no",
        ]
        if package.arch == "noarch":
            lines.append("BuildArch: noarch")
        if package.epoch:
            lines.append(f"Epoch: {package.epoch}")
        lines += [f"Requires: {what}" for what in package.requires]
        lines += [f"Provides: {what}" for what in package.provides]
        lines += [f"Obsoletes: {what}" for what in package.obsoletes]
        lines += [f"%description -n {package.name}", "Made for a test.", ""]
    lines += ["%install", "cp -a %{_sourcedir}/. %{buildroot}/", ""]
    for package in batch:
        lines += [f"%files -n {package.name}", "%defattr(0644,root,root,0755)"]
        lines += ['"{}"'.format(path.replace("%", "%%")) for path, _ in package.content]
        lines.append("")
    return "\n".join(lines)


class RpmCache:
    """Builds each package once per test run, also when several processes share ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def get(
        self, *packages: Package, key: GpgHome | None = None, payload: str = "w6.gzdio"
    ) -> list[Path]:
        """Paths of the packages in their order: shared and read-only, copy but never change."""
        places = [self._place(package, key, payload) for package in packages]
        wanted = zip(packages, places, strict=True)
        if any(not place.exists() for place in places):
            with (self.root / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                missing = {place: package for package, place in wanted if not place.exists()}
                self._fill(missing, key, payload)
        return places

    def _place(self, package: Package, key: GpgHome | None, payload: str) -> Path:
        signer = key.fingerprint if key is not None else "unsigned"
        name = hashlib.sha256(repr((package, signer, payload)).encode()).hexdigest()
        return self.root / name[:32] / package.filename

    def _fill(self, missing: dict[Path, Package], key: GpgHome | None, payload: str) -> None:
        # Packages that differ only in content share a file name, so one folder for each round.
        rounds: list[dict[Path, Package]] = []
        for place, package in missing.items():
            for other in rounds:
                if all(package.filename != known.filename for known in other.values()):
                    other[place] = package
                    break
            else:
                rounds.append({place: package})
        for chosen in rounds:
            with tempfile.TemporaryDirectory(dir=self.root) as scratch:
                built = build(list(chosen.values()), Path(scratch), key=key, payload=payload)
                for path, place in zip(built, chosen, strict=True):
                    place.parent.mkdir(exist_ok=True)
                    path.chmod(0o444)
                    shutil.move(path, place)
