"""A real rsync daemon on a free loopback port."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.support import tools
from tests.support.daemon import Daemon


class Rsyncd(Daemon):
    """Serves ``modules`` (name -> folder) read-only while the context is open.

    ``users`` (name -> password) makes every module ask for one of them.
    ``options`` are further lines for every module, such as ``{"timeout": "5"}``.
    """

    NAME = "rsyncd"
    LOG = "rsyncd.log"

    def __init__(
        self,
        modules: Mapping[str, Path],
        *,
        users: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__()
        self.modules = dict(modules)
        self.users = dict(users or {})
        self.options = dict(options or {})

    def url(self, module: str, path: str = "", *, user: str = "") -> str:
        """``rsync://127.0.0.1:PORT/MODULE/PATH``"""
        who = f"{user}@" if user else ""
        return f"rsync://{who}127.0.0.1:{self.port}/{module}/{path}"

    def transfers(self) -> str:
        """What the daemon logged so far: one line for each connection and file."""
        return (self._home / "rsyncd.log").read_text("utf-8", "replace")

    def _command(self) -> list[str | Path]:
        config = self._home / "rsyncd.conf"
        config.write_text(self._config(), "utf-8")
        return [tools.need("rsync"), "--daemon", "--no-detach", f"--config={config}"]

    def _config(self) -> str:
        lines = [
            "address = 127.0.0.1", f"port = {self.port}", "use chroot = no", "read only = yes",
            f"log file = {self._home / 'rsyncd.log'}", "transfer logging = yes",
            "reverse lookup = no",
            # As root the daemon would drop to nobody, who cannot enter the test's folders.
            *_keep_own_user(),
        ]  # fmt: skip
        if self.users:
            secrets = self._home / "secrets"
            secrets.write_text("".join(f"{u}:{p}\n" for u, p in self.users.items()), "utf-8")
            secrets.chmod(0o600)
            lines += [f"auth users = {', '.join(self.users)}", f"secrets file = {secrets}"]
        lines += [f"{name} = {value}" for name, value in self.options.items()]
        for name, folder in self.modules.items():
            lines += [f"[{name}]", f"  path = {folder}", f"  comment = {name}"]
        return "\n".join(lines) + "\n"


def _keep_own_user() -> list[str]:
    return ["uid = root", "gid = root"] if Path("/proc/self").stat().st_uid == 0 else []
