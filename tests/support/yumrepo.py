"""Yum repositories as a vendor makes them: createrepo_c, modifyrepo_c, a signed repomd.xml."""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support import tools
from tests.support.gpg import GpgHome
from tests.support.rpms import BUILD_TIME

Checksum = Literal["sha1", "sha256", "sha512"]
Compression = Literal["gz", "xz", "bz2", "zstd"]
Layout = Literal["flat", "letters"]
"""Where packages lie: beside ``repodata``, or in ``Packages/a/``."""


@dataclass
class YumRepo:
    """A repository folder. Change it with ``add`` and ``remove``, then ``publish``.

    ``extras`` are further records of repomd.xml by type (``updateinfo``, ``modules``,
    ``productid``, any other), ``comps`` becomes the group file. Each publication has
    its own revision and time, so the same steps give the same bytes.
    """

    root: Path
    checksum: Checksum = "sha256"
    compression: Compression = "gz"
    layout: Layout = "flat"
    base_url: str = ""
    """Written as ``xml:base`` of every package."""
    key: GpgHome | None = None
    """Signs repomd.xml; its public key lies beside the signature."""
    comps: bytes | None = None
    extras: dict[str, bytes] = field(default_factory=dict)
    revision: int = BUILD_TIME

    @property
    def repodata(self) -> Path:
        return self.root / "repodata"

    @property
    def repomd(self) -> Path:
        return self.repodata / "repomd.xml"

    def place(self, filename: str) -> Path:
        """Where a package of this file name belongs."""
        if self.layout == "letters":
            return self.root / "Packages" / filename[0].lower() / filename
        return self.root / filename

    def packages(self) -> list[str]:
        """Paths of all package files relative to the root, sorted."""
        return sorted(path.relative_to(self.root).as_posix() for path in self.root.rglob("*.rpm"))

    def add(self, *rpms: Path) -> None:
        """Copy package files in (replacing those of the same name) without publishing."""
        for source in rpms:
            target = self.place(source.name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            shutil.copyfile(source, target)
            os.utime(target, (BUILD_TIME, BUILD_TIME))

    def remove(self, *filenames: str) -> None:
        """Delete package files without publishing; a missing one is an error."""
        for filename in filenames:
            self.place(filename).unlink()

    def publish(self) -> YumRepo:
        """Make new metadata of what is there, sign it, and put it in place of the old."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.revision += 1
        with tempfile.TemporaryDirectory(prefix="sluice-repo-") as scratch:
            fresh = self._createrepo(Path(scratch))
            self._add_extras(Path(scratch), fresh)
            self._settle(fresh)
            if self.key is not None:
                self.sign(fresh)
            shutil.rmtree(self.repodata, ignore_errors=True)
            shutil.move(fresh, self.repodata)
        return self

    def sign(self, repodata: Path | None = None, *, key: GpgHome | None = None) -> None:
        """Sign repomd.xml anew, with ``key`` or the repository's own."""
        signer = key or self.key
        assert signer is not None, "this repository has no key"
        folder = repodata or self.repodata
        signer.detach_sign(folder / "repomd.xml")
        signer.export(folder / "repomd.xml.key")

    def update(self, add: Iterable[Path] = (), remove: Iterable[str] = ()) -> YumRepo:
        """One upstream update: add, remove, publish."""
        self.add(*add)
        self.remove(*remove)
        return self.publish()

    def _createrepo(self, scratch: Path) -> Path:
        words = [
            *self._program("createrepo_c"), "--quiet", "--no-database", "--workers=1",
            "--error-exit-val", f"--checksum={self.checksum}",
            f"--repomd-checksum={self.checksum}",
            f"--general-compress-type={self.compression}", f"--outputdir={scratch}",
            f"--revision={self.revision}", "--set-timestamp-to-revision",
        ]  # fmt: skip
        if self.base_url:
            words.append(f"--baseurl={self.base_url}")
        if self.comps is not None:
            comps = scratch / "comps.xml"
            comps.write_bytes(self.comps)
            words.append(f"--groupfile={comps}")
        # Only packages are shown to it: newer versions pick up every modules.yaml they see.
        listing = scratch / "packages.txt"
        listing.write_text("".join(f"{path}\n" for path in self.packages()), "utf-8")
        tools.run([*words, f"--pkglist={listing}", self.root])
        return scratch / "repodata"

    def _add_extras(self, scratch: Path, fresh: Path) -> None:
        for kind, content in self.extras.items():
            suffix = {"modules": ".yaml", "updateinfo": ".xml", "productid": ""}.get(kind, ".txt")
            source = scratch / f"{kind}{suffix}"
            source.write_bytes(content)
            words = [
                *self._program("modifyrepo_c"), f"--mdtype={kind}", f"--checksum={self.checksum}",
                "--unique-md-filenames", f"--compress-type={self.compression}",
            ]  # fmt: skip
            tools.run([*words, source, fresh])

    def _settle(self, fresh: Path) -> None:
        """Give every record the publication's time instead of the clock's."""
        text = (fresh / "repomd.xml").read_text("utf-8")
        stamp = f"<timestamp>{self.revision}</timestamp>"
        text = re.sub(r"<timestamp>[0-9.]+</timestamp>", stamp, text)
        (fresh / "repomd.xml").write_text(text, "utf-8")
        for path in fresh.iterdir():
            os.utime(path, (self.revision, self.revision))

    def _program(self, name: str) -> list[str]:
        """The Python package's program, which knows zstd; the system's where SHA-1 is asked for."""
        beside = Path(sys.executable).with_name(name)
        if self.checksum != "sha1" and beside.exists():
            return [str(beside)]
        if self.compression == "zstd":
            raise AssertionError("no createrepo_c here writes SHA-1 together with zstd")
        return [tools.need(name)]
