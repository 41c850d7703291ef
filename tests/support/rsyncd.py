"""A real rsync daemon on a free loopback port."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import tools


class Rsyncd:
    """Serves ``modules`` (name -> folder) read-only while the context is open.

    ``users`` (name -> password) makes every module ask for one of them.
    ``options`` are further lines for every module, such as ``{"timeout": "5"}``.
    """

    def __init__(
        self,
        modules: Mapping[str, Path],
        *,
        users: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
    ) -> None:
        self.modules = dict(modules)
        self.users = dict(users or {})
        self.options = dict(options or {})
        self.port = 0
        self.pid = 0

    def url(self, module: str, path: str = "", *, user: str = "") -> str:
        """``rsync://127.0.0.1:PORT/MODULE/PATH``"""
        who = f"{user}@" if user else ""
        return f"rsync://{who}127.0.0.1:{self.port}/{module}/{path}"

    def transfers(self) -> str:
        """What the daemon logged so far: one line for each connection and file."""
        return (self._home / "rsyncd.log").read_text("utf-8", "replace")

    def start(self) -> None:
        """Start, also again after ``stop`` (then on the same port)."""
        self._home = Path(tempfile.mkdtemp(prefix="sluice-rsyncd-"))
        self.port = self.port or tools.free_port()
        config = self._home / "rsyncd.conf"
        config.write_text(self._config(), "utf-8")
        log = self._home / "output"
        command = [tools.need("rsync"), "--daemon", "--no-detach", f"--config={config}"]
        self._process = tools.spawn(command, log=log)
        self.pid = self._process.pid
        try:
            tools.wait_for_port(self.port, self._process, log=self._home / "rsyncd.log")
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """End the daemon; connections that are open break off."""
        tools.stop(self._process)
        shutil.rmtree(self._home, ignore_errors=True)

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

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()


def _keep_own_user() -> list[str]:
    return ["uid = root", "gid = root"] if Path("/proc/self").stat().st_uid == 0 else []
