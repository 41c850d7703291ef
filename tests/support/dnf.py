"""A real dnf with an empty install root and nothing shared with the machine it runs on."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support import tools


@dataclass(frozen=True)
class DnfRepo:
    """One repository as dnf sees it; ``gpgkey`` is a URL or ``file://`` path."""

    id: str
    url: str
    gpgcheck: bool = False
    repo_gpgcheck: bool = False
    gpgkey: str = ""
    options: Mapping[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """The section of a ``.repo`` file."""
        values = {
            "name": self.id,
            "baseurl": self.url,
            "enabled": "1",
            "gpgcheck": str(int(self.gpgcheck)),
            "repo_gpgcheck": str(int(self.repo_gpgcheck)),
            **({"gpgkey": self.gpgkey} if self.gpgkey else {}),
            **self.options,
        }
        return "".join(
            [f"[{self.id}]\n", *(f"{key}={value}\n" for key, value in values.items()), "\n"]
        )


class Dnf:
    """A client below ``base``. All methods take ``check=False`` to get a failure back.

    Commands return the finished process; a failed one raises AssertionError that
    shows the command, both outputs and the end of dnf's own log.
    """

    def __init__(self, base: Path, *repos: DnfRepo, releasever: str = "9") -> None:
        self.base = base
        self.root = base / "root"
        self.home = base / "home"
        self.cache = base / "cache"
        """Downloaded metadata and packages; remove it to play a new client."""
        self.repos_dir = base / "repos.d"
        for folder in (self.root, self.home, self.cache, self.repos_dir, base / "empty"):
            folder.mkdir(parents=True, exist_ok=True)
        # Debian's rpm keeps its database in the user's home, which would move it inside the root.
        (self.home / ".rpmmacros").write_text("%_dbpath /var/lib/rpm\n", "utf-8")
        self.config = base / "dnf.conf"
        self.config.write_text(self._main(releasever), "utf-8")
        self.releasever = releasever
        self.frompath: dict[str, str] = {}
        """Further repositories, id -> URL, given as ``--repofrompath``."""
        self.use(*repos)

    def use(self, *repos: DnfRepo) -> None:
        """Replace all repositories by these."""
        self.use_text("".join(repo.text() for repo in repos))

    def use_text(self, text: str) -> None:
        """Replace all repositories by this ``.repo`` file, for one that a server gave out."""
        (self.repos_dir / "test.repo").write_text(text, "utf-8")

    def run(
        self, *words: str, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """``dnf WORDS`` with everything private."""
        command = [
            tools.need("dnf"), "-y", f"--config={self.config}", f"--installroot={self.root}",
            f"--releasever={self.releasever}", f"--setopt=reposdir={self.repos_dir}",
            f"--setopt=cachedir={self.cache}",
        ]  # fmt: skip
        # Other plug-ins write below the machine's /var and read its /etc.
        if "reposync" in words:
            command += ["--disableplugin=*", "--enableplugin=reposync"]
        else:
            command.append("--noplugins")
        for name, url in self.frompath.items():
            command += [f"--repofrompath={name},{url}"]
        done = tools.run(
            [*command, *words], check=False, env=tools.clean_env(self.home), timeout=timeout
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{tools.describe(done)}\n--- dnf.log\n{self._log()}")
        return done

    def close(self) -> None:
        """End the agents that gpg left behind when dnf imported repository keys."""
        for home in self.cache.glob("*/pubring"):
            tools.run([tools.need("gpgconf"), "--homedir", home, "--kill", "all"], check=False)

    def install(self, *names: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Install from metadata that is fetched anew."""
        return self.run("--refresh", "install", *names, check=check)

    def update(self, *names: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("--refresh", "update", *names, check=check)

    def remove(self, *names: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run("remove", *names, check=check)

    def makecache(self, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Ends with 0 even if a repository is broken: assert on ``install`` instead."""
        return self.run("--refresh", "makecache", check=check)

    def updateinfo(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``updateinfo list`` by default."""
        return self.run("--refresh", "updateinfo", *(words or ("list",)), check=check)

    def module(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``module list`` by default."""
        return self.run("--refresh", "module", *(words or ("list",)), check=check)

    def group(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """``group list`` by default."""
        return self.run("--refresh", "group", *(words or ("list",)), check=check)

    def reposync(
        self, target: Path, *words: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Mirror all repositories with their metadata below ``target/ID``."""
        return self.run(
            "--refresh", "reposync", "--download-metadata", f"--download-path={target}", *words,
            check=check,
        )  # fmt: skip

    def available(self) -> list[str]:
        """``name-epoch:version-release.arch`` of all the repositories offer, sorted."""
        words = ("repoquery", "--qf", "%{name}-%{epoch}:%{version}-%{release}.%{arch}")
        return sorted(self.run("--refresh", "--quiet", *words).stdout.split())

    def installed(self) -> list[str]:
        """``rpm_query`` of this client's root."""
        return rpm_query(self.root, home=self.home)

    def _main(self, releasever: str) -> str:
        empty = self.base / "empty"
        values = {
            "reposdir": self.repos_dir,
            "cachedir": self.cache,
            "persistdir": "/var/lib/dnf",
            "logdir": "/var/log",
            "varsdir": empty,
            "pluginconfpath": empty,
            "keepcache": 0,
            "gpgcheck": 1,
            "localpkg_gpgcheck": 0,
            "install_weak_deps": 0,
            "best": 1,
            "skip_if_unavailable": 0,
            "retries": 1,
            "timeout": 20,
            "zchunk": 0,
            "color": "never",
            "module_platform_id": f"platform:el{releasever}",
        }
        return "[main]\n" + "".join(f"{key}={value}\n" for key, value in values.items())

    def _log(self) -> str:
        log = self.root / "var/log/dnf.log"
        return log.read_text("utf-8", "replace")[-3000:] if log.exists() else "(none)"


def rpm_query(root: Path, *, home: Path | None = None) -> list[str]:
    """``name-version-release.arch`` of all packages in an install root, sorted; no keys."""
    words: list[str | Path] = [
        "--root",
        root,
        "--dbpath",
        "/var/lib/rpm",
        "-qa",
        "--qf",
        "%{nvra}\n",
    ]
    env = tools.clean_env(home or root)
    found = tools.run([tools.need("rpm"), *words], env=env).stdout.split()
    return sorted(name for name in found if not name.startswith("gpg-pubkey-"))
