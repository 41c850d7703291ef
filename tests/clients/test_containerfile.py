"""The Containerfile, built and run by the real programs without a network.

The base image has the folders of a system and this machine's /usr as a volume, so that
nothing has to be pulled.
"""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import tools
from tests.support.dist import build_archive
from tests.support.podman import Podman
from tests.support.zones import Zones

UID = 10001
BASE = "localhost/base:1"
PROGRAMS = ("--volume", "/usr:/usr:ro")


@pytest.fixture
def podman() -> Iterator[Podman]:
    folder = Path(tempfile.mkdtemp(prefix="sluice-", dir="/var/tmp"))
    made = Podman(folder)
    yield made
    made.run("rm", "--all", "--force", "--time", "0", check=False)
    made.close()
    shutil.rmtree(folder)


def base_image(podman: Podman, folder: Path) -> None:
    root = folder / "base"
    for name in ("etc", "opt", "tmp", "usr", "var/lib", "var/tmp", "usr/local/bin", "mnt"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / name).symlink_to(f"usr/{name}")
    (root / "tmp").chmod(0o1777)
    for name in ("ld.so.cache", "login.defs", "nsswitch.conf"):
        shutil.copy(Path("/etc") / name, root / "etc" / name)
    shutil.copytree("/etc/alternatives", root / "etc" / "alternatives", symlinks=True)
    shutil.copytree("/etc/pam.d", root / "etc" / "pam.d")
    (root / "etc" / "passwd").write_text("root:x:0:0:root:/:/bin/sh\n")
    (root / "etc" / "group").write_text("root:x:0:\n")
    (root / "etc" / "shadow").write_text("root:*:19000:0:99999:7:::\n")
    packed = folder / "base.tar"
    with tarfile.open(packed, "w") as tar:
        tar.add(root, ".")
    podman.run("import", packed, BASE)


@pytest.mark.soak
def test_an_inside_runs_as_a_container(podman: Podman, tmp_path: Path) -> None:
    checkout = build_archive(tmp_path / "checkout").parent.parent
    base_image(podman, tmp_path)
    local = tmp_path / "local"
    local.mkdir()
    podman.run(
        "build", "--isolation", "chroot", "--pull=never", "--build-arg", f"BASE={BASE}",
        "--volume", f"{local}:/usr/local/bin",
        "--signature-policy", podman.base / "policy.json", *PROGRAMS,
        "--tag", "sluice", checkout, timeout=600,
    )  # fmt: skip

    vendor = tmp_path / "vendor"
    vendor.mkdir()
    (vendor / "a.txt").write_text("first")
    upstream = {"format": "files", "upstream": f"file://{vendor}"}
    port = tools.free_port()
    volume = tmp_path / "volume"
    zones = Zones(tmp_path / "zones", {"tools": upstream})
    zones.configure_inside(serve={"listen": f"127.0.0.1:{port}"})
    shutil.copytree(zones.inside, volume / "zone")
    tools.run(["chown", "--recursive", f"{UID}:{UID}", volume])
    # Down to the volume everybody may go.
    for folder in [volume, *volume.parents][:4]:
        folder.chmod(folder.stat().st_mode | 0o711)
    here = (*PROGRAMS, "--volume", f"{volume}:/var/lib/sluice", "--network", "host")
    said = podman.run("run", "--rm", *here, "sluice", "status").stdout
    assert "hq" in said

    podman.run("run", "--detach", "--name", "zone", *here, "sluice")
    for word in ("sync", "pack", "send"):
        zones.out(word)
    for part in (zones.outside / "outbox").iterdir():
        target = volume / "zone" / "inbox" / part.name
        shutil.copy(part, target.with_name(f".{part.name}"))
        os.chown(target.with_name(f".{part.name}"), UID, UID)
        target.with_name(f".{part.name}").rename(target)

    def served() -> bool:
        try:
            url = f"http://127.0.0.1:{port}/files/tools/a.txt"
            with urllib.request.urlopen(url, timeout=10) as answer:
                return bool(answer.read() == b"first")
        except OSError:
            return False

    until = time.monotonic() + 120
    while not served():
        assert time.monotonic() < until, podman.run("logs", "zone").stdout
        time.sleep(0.2)
    listed = podman.run("exec", "zone", "cat", "/proc/1/status", "/proc/1/cmdline").stdout
    assert f"\nUid:\t{UID}\t" in listed
    assert listed.rstrip("\0").endswith("run"), "something stands between the engine and it"
    podman.run("stop", "--time", "60", "zone")
    assert podman.run("inspect", "--format", "{{.State.ExitCode}}", "zone").stdout.strip() == "0"
