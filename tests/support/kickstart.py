"""A distribution tree (kick-start tree) with small stand-ins for kernel and images."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tests.support.rpms import BUILD_TIME, noise

FILES: dict[str, int] = {
    "images/pxeboot/vmlinuz": 20_000,
    "images/pxeboot/initrd.img": 60_000,
    "images/install.img": 90_000,
    "images/efiboot.img": 10_000,
    "isolinux/isolinux.bin": 4_000,
    "isolinux/vmlinuz": 20_000,
    "isolinux/initrd.img": 60_000,
    "EFI/BOOT/BOOTX64.EFI": 8_000,
    "EFI/BOOT/grubx64.efi": 9_000,
}
"""Path below the tree -> size in bytes."""
TEXTS: dict[str, bytes] = {
    "EFI/BOOT/grub.cfg": b"linuxefi /images/pxeboot/vmlinuz\n",
    "isolinux/isolinux.cfg": b"label linux\n  kernel vmlinuz\n",
    ".discinfo": b"1700000000.0\nExample Linux 9\nx86_64\n",
    "media.repo": b"[InstallMedia]\nname=Example Linux 9\nenabled=1\ngpgcheck=1\n",
}


def add_tree(root: Path, *, seed: str = "kickstart", repomd: bool = False) -> dict[str, bytes]:
    """Lay boot files and a ``.treeinfo`` that lists their SHA-256 into a repository folder.

    With ``repomd`` the present repodata/repomd.xml is listed too, as some vendors
    do; call again after each publication then. Returns path -> content.
    """
    content = {path: noise(f"{seed}:{path}", size) for path, size in FILES.items()} | TEXTS
    for path, data in content.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    sums = {path: hashlib.sha256(content[path]).hexdigest() for path in FILES}
    if repomd:
        data = (root / "repodata/repomd.xml").read_bytes()
        sums["repodata/repomd.xml"] = hashlib.sha256(data).hexdigest()
    content[".treeinfo"] = _treeinfo(sums)
    (root / ".treeinfo").write_bytes(content[".treeinfo"])
    return content


def _treeinfo(sums: dict[str, str]) -> bytes:
    checksums = "\n".join(f"{path} = sha256:{value}" for path, value in sorted(sums.items()))
    return f"""[header]
type = productmd.treeinfo
version = 1.2

[checksums]
{checksums}

[general]
arch = x86_64
family = Example Linux
name = Example Linux 9
packagedir = Packages
platforms = x86_64,xen
repository = .
timestamp = {BUILD_TIME}
variant = BaseOS
variants = BaseOS
version = 9

[images-x86_64]
efiboot.img = images/efiboot.img
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[images-xen]
initrd = images/pxeboot/initrd.img
kernel = images/pxeboot/vmlinuz

[release]
name = Example Linux
short = EX
version = 9

[stage2]
mainimage = images/install.img

[tree]
arch = x86_64
build_timestamp = {BUILD_TIME}
platforms = x86_64,xen
variants = BaseOS

[variant-BaseOS]
id = BaseOS
name = BaseOS
packages = Packages
repository = .
type = variant
uid = BaseOS
""".encode()
