"""Runs programs of the system (OpenPGP, PostgreSQL) without the system's settings."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import ConfigError, StoreError

#: program -> the packages that bring it (Debian, RHEL)
PACKAGES = {
    "gpg": ("gpg", "gnupg2"),
    "gpgconf": ("gpgconf", "gnupg2"),
    "gpgv": ("gpgv", "gnupg2"),
    "pg_dump": ("postgresql-client", "postgresql"),
    "pg_restore": ("postgresql-client", "postgresql"),
    "rpmkeys": ("rpm", "rpm"),
}
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended, and what it wrote."""

    status: int
    out: bytes
    err: str

    def complaint(self) -> str:
        """The last line of its complaints, harmless to a terminal."""
        lines = self.err.strip().splitlines()
        return lines[-1].encode("ascii", "backslashreplace").decode()[:200] if lines else ""


def run(
    program: str,
    words: Sequence[str | Path],
    *,
    home: Path,
    stdin: bytes = b"",
    seconds: float = 300,
) -> Outcome:
    """Run ``program`` in ``home`` with a bare environment.

    Raises ConfigError that names the packages if it is not installed, StoreError if it
    does not end in ``seconds``.
    """
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        debian, rhel = PACKAGES[program]
        raise ConfigError(
            f"the program {program} is not installed",
            remedy=f"install the package {debian} (Debian) or {rhel} (RHEL)",
        )
    try:
        done = subprocess.run(
            [found, *words],
            input=stdin,
            capture_output=True,
            cwd=home,
            env={"PATH": path, "LC_ALL": "C", "TZ": "UTC", "HOME": str(home),
                 "GNUPGHOME": str(home)},
            timeout=seconds,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise StoreError(f"{program} did not end within {seconds:.0f} seconds") from None
    return Outcome(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))


@contextmanager
def private_home() -> Iterator[Path]:
    """A folder for one call that only we may enter; in memory where there is such a place.

    Its path is short, since GnuPG puts sockets of at most 107 bytes into it.
    """
    parent = _MEMORY if _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK) else None
    home = Path(tempfile.mkdtemp(prefix="sluice-", dir=parent))
    try:
        yield home
    finally:
        # An agent that is just ending may remove its own sockets meanwhile.
        shutil.rmtree(home, ignore_errors=True)
