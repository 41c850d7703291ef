"""A real podman with storage of its own and nothing shared with the machine it runs on."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.support import tools
from tests.support.skopeo import ANYTHING

# crun and cgroups of systemd's need an own systemd; a container without one may not raise limits.
_CONF = """[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "cni"
network_config_dir = "{networks}"
"""


class Podman:
    """A client below ``base``, which should be short: podman makes sockets there.

    ``auth`` is the file with credentials that docker reads too.

    ``registries_conf`` is the text of that file (containers-registries.conf(5)),
    ``policy`` that of policy.json. ``close`` removes all images and containers.
    """

    def __init__(
        self, base: Path, *, registries_conf: str = "", policy: dict[str, Any] | None = None
    ) -> None:
        self.base = base
        self.auth = base / "auth.json"
        for folder in (base / "home", base / "tmp", base / "run", base / "registries.d"):
            folder.mkdir(parents=True, exist_ok=True)
        (base / "policy.json").write_text(json.dumps(policy or ANYTHING), "utf-8")
        (base / "containers.conf").write_text(_CONF.format(networks=base / "networks"), "utf-8")
        self.auth.write_text("{}", "utf-8")
        self.configure(registries_conf)

    def configure(self, registries_conf: str) -> None:
        """Replace registries.conf, such as by one that a server gave out."""
        (self.base / "registries.conf").write_text(registries_conf, "utf-8")

    def run(
        self, *words: str | Path, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """``podman WORDS`` with everything private."""
        command: list[str | Path] = [
            tools.need("podman"), "--root", self.base / "root", "--runroot", self.base / "run",
            "--tmpdir", self.base / "tmp", "--storage-driver", "vfs",
        ]  # fmt: skip
        env = tools.clean_env(
            self.base / "home",
            CONTAINERS_CONF=str(self.base / "containers.conf"),
            CONTAINERS_REGISTRIES_CONF=str(self.base / "registries.conf"),
            REGISTRY_AUTH_FILE=str(self.auth),
            XDG_RUNTIME_DIR=str(self.base / "run"),
            TMPDIR=str(self.base / "tmp"),
        )
        return tools.run([*command, *words], check=check, env=env, timeout=timeout)

    def pull(
        self,
        reference: str,
        *words: str | Path,
        verify: bool = False,
        ca: Path | None = None,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Pull ``[HOST/]IMAGE[:TAG|@DIGEST]``, from HTTP too unless ``verify``; prints the id.

        ``verify`` leaves the choice to registries.conf; ``ca`` is a folder with ``*.crt``.
        """
        command: list[str | Path] = ["pull", "--quiet"]
        command += ["--signature-policy", self.base / "policy.json"]
        if ca is not None:
            command += ["--cert-dir", ca]
        elif not verify:
            command.append("--tls-verify=false")
        return self.run(*command, *words, reference, check=check)

    def start(self, reference: str, *, check: bool = True) -> str:
        """Run a pulled image once and return what it printed."""
        return self.run("run", "--rm", "--pull=never", reference, check=check).stdout

    def images(self) -> dict[str, list[str]]:
        """Digests of what was pulled -> names."""
        listed = json.loads(self.run("images", "--format", "json").stdout)
        return {one["Digest"]: one.get("Names") or [] for one in listed}

    def close(self) -> None:
        """Remove everything that was pulled."""
        if (self.base / "root").exists():
            self.run("rmi", "--all", "--force", check=False)
        shutil.rmtree(self.base / "root", ignore_errors=True)
