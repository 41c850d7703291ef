"""A real skopeo with nothing shared with the machine it runs on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.support import tools

ANYTHING: dict[str, Any] = {"default": [{"type": "insecureAcceptAnything"}]}
"""A signature policy that accepts every image (containers-policy.json(5))."""


class Skopeo:
    """A client below ``base``; registries speak HTTP, or TLS with a certificate not asked for.

    ``ca`` is a folder with ``*.crt`` to verify servers by instead. ``registries_conf``
    and ``policy`` are the texts of the files of that name. Methods take
    ``check=False`` to get a failure back.
    """

    def __init__(
        self,
        base: Path,
        *,
        ca: Path | None = None,
        registries_conf: str = "",
        policy: dict[str, Any] | None = None,
    ) -> None:
        self.base = base
        self.ca = ca
        self.auth = base / "auth.json"
        """What ``login`` wrote: the file that podman and docker share."""
        for folder in (base / "home", base / "tmp", base / "registries.d"):
            folder.mkdir(parents=True, exist_ok=True)
        (base / "registries.conf").write_text(registries_conf, "utf-8")
        (base / "policy.json").write_text(json.dumps(policy or ANYTHING), "utf-8")

    def run(
        self, *words: str | Path, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """``skopeo WORDS`` with everything private."""
        command: list[str | Path] = [
            tools.need("skopeo"), "--policy", self.base / "policy.json",
            "--registries-conf", self.base / "registries.conf",
            "--registries.d", self.base / "registries.d", "--tmpdir", self.base / "tmp",
        ]  # fmt: skip
        env = tools.clean_env(
            self.base / "home", REGISTRY_AUTH_FILE=str(self.auth), XDG_RUNTIME_DIR=str(self.base)
        )
        return tools.run([*command, *words], check=check, env=env, timeout=timeout)

    def login(self, host: str, user: str, password: str) -> None:
        """Keep credentials in ``auth``, as ``skopeo login`` writes them."""
        words = ["login", *self._tls(""), "-u", user, "-p", password, host]
        self.run(*words)

    def copy(
        self, source: str, target: str, *words: str, every: bool = True, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Copy unchanged, all platforms if ``every``: ``docker://HOST/IMAGE``, ``oci:DIR:TAG``."""
        command = ["copy", "--quiet", "--preserve-digests", *(["--all"] if every else [])]
        command += [*self._tls("src-"), *self._tls("dest-")]
        return self.run(*command, *words, source, target, check=check)

    def raw(self, reference: str) -> bytes:
        """The manifest's bytes of ``docker://HOST/IMAGE[:TAG|@DIGEST]``."""
        return self.run("inspect", "--raw", *self._tls(""), reference).stdout.encode()

    def inspect(self, reference: str, *, check: bool = True) -> dict[str, Any]:
        """What skopeo says about an image of this platform."""
        done = self.run("inspect", *self._tls(""), reference, check=check)
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def tags(self, image: str) -> list[str]:
        """The tag list of ``docker://HOST/IMAGE``."""
        answer = json.loads(self.run("list-tags", *self._tls(""), image).stdout)
        found: list[str] = answer["Tags"]
        return found

    def sync(
        self, image: str, target: str, *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """All tags of ``HOST/IMAGE`` to the registry ``HOST[/PREFIX]``."""
        command = ["sync", "--all", "--preserve-digests", "--src", "docker", "--dest", "docker"]
        command += [*self._tls("src-"), *self._tls("dest-")]
        return self.run(*command, *words, image, target, check=check)

    def _tls(self, side: str) -> list[str]:
        if self.ca is not None:
            return [f"--{side}cert-dir", str(self.ca)]
        return [f"--{side}tls-verify=false"]
