"""A machine that boots the real systemd as PID 1, without a network.

Its disk is an overlay over this machine's own: what it writes is gone with it, and
nothing has to be downloaded. Needs root, podman and runc.
"""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import tools
from tests.support.podman import Podman

NAME = "machine"


class Machine:
    """Use as a context manager; commands run as root inside."""

    def __init__(self) -> None:
        # Not below /tmp, which the machine has of its own.
        self._folder = tempfile.TemporaryDirectory(prefix="sluice-", dir="/var/tmp")
        self._podman = Podman(Path(self._folder.name))

    def __enter__(self) -> Self:
        for program in ("systemctl", "runc"):
            tools.need(program)
        self._podman.run(
            "run", "--detach", "--name", NAME, "--network", "none", "--systemd", "always",
            "--cap-add", "SYS_ADMIN", "--tmpfs", "/tmp:rw,notmpcopyup",
            "--tmpfs", "/run:rw,notmpcopyup", "--rootfs", "/:O", "/sbin/init",
        )  # fmt: skip
        # `degraded`: services of this machine that find no hardware there do not matter.
        try:
            self.until("systemctl is-system-running --wait | grep -E 'running|degraded'")
        except BaseException:
            self.__exit__(None, None, None)  # nobody else would end it
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._podman.run("rm", "--force", "--time", "0", NAME, check=False)
        self._folder.cleanup()

    def run(self, script: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a shell script there."""
        return self._podman.run("exec", NAME, "/bin/sh", "-euc", script, check=check)

    def copy(self, source: Path, target: str) -> None:
        """Put a file of this machine there."""
        self._podman.run("cp", source, f"{NAME}:{target}")

    def until(self, script: str, seconds: float = 60.0) -> str:
        """Run ``script`` until it succeeds; what it printed then."""
        end = time.monotonic() + seconds
        while True:
            done = self.run(script, check=False)
            if done.returncode == 0:
                return done.stdout
            assert time.monotonic() < end, (
                f"{script}\n{done.stdout}\n{done.stderr}\n{self.journal()}"
            )
            time.sleep(0.2)

    def journal(self) -> str:
        """The end of the journal."""
        return self.run("journalctl --no-pager -n 60 2>&1", check=False).stdout
