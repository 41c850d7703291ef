"""Throw-away GnuPG homes, each with one key that has no passphrase."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support import tools


class GpgHome:
    """A private keyring. Use as a context manager, or call ``close``."""

    def __init__(self, home: Path, fingerprint: str, name: str) -> None:
        self.home = home
        self.fingerprint = fingerprint
        self.name = name

    @classmethod
    def create(
        cls,
        name: str = "Example Vendor <vendor@example.org>",
        *,
        algorithm: str = "rsa3072",
        expires: str = "never",
    ) -> Self:
        """Generate a signing key; ``expires`` as gpg reads it (``never``, ``seconds=60``)."""
        home = _new_home()
        _gpg(home, "--quick-gen-key", name, algorithm, "sign,cert", expires)
        return cls(home, _only_fingerprint(home), name)

    @classmethod
    def from_secret(cls, secret: bytes, name: str = "") -> Self:
        """A home that holds the key which ``secret_key`` of another one gave."""
        home = _new_home()
        _gpg(home, "--import", stdin=secret)
        return cls(home, _only_fingerprint(home), name)

    def public_key(self) -> bytes:
        """The public key, ASCII armored."""
        return _gpg(self.home, "--armor", "--export", self.fingerprint).encode()

    def secret_key(self) -> bytes:
        """The unprotected secret key, ASCII armored."""
        return _gpg(self.home, "--armor", "--export-secret-keys", self.fingerprint).encode()

    def export(self, target: Path) -> Path:
        """Write the public key to ``target`` and return it."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.public_key())
        return target

    def detach_sign(self, path: Path, signature: Path | None = None) -> Path:
        """Sign ``path``; the armored signature goes to ``PATH.asc`` or ``signature``."""
        target = signature or path.with_name(path.name + ".asc")
        _gpg(
            self.home, "--yes", "--armor", "--local-user", self.fingerprint,
            "--output", str(target), "--detach-sign", str(path),
        )  # fmt: skip
        return target

    def verify(self, path: Path, signature: Path) -> bool:
        """Whether ``signature`` is this key's over ``path``, as gpg itself sees it."""
        command = [*_command(self.home), "--verify", str(signature), str(path)]
        return tools.run(command, check=False).returncode == 0

    def close(self) -> None:
        """End the agent of this home and remove it."""
        tools.run(
            [tools.need("gpgconf"), "--homedir", self.home, "--kill", "all"],
            check=False,
            timeout=60,
        )
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()


def _new_home() -> Path:
    # Not below pytest's folders: the agent's socket path must stay under 108 bytes.
    return Path(tempfile.mkdtemp(prefix="sluice-gpg-"))


def _command(home: Path) -> list[str]:
    return [
        tools.need("gpg"), "--homedir", str(home), "--batch", "--no-tty", "--no-options",
        "--pinentry-mode", "loopback", "--passphrase", "",
    ]  # fmt: skip


def _gpg(home: Path, *words: str, stdin: bytes | None = None) -> str:
    return tools.run([*_command(home), *words], stdin=stdin).stdout


def _only_fingerprint(home: Path) -> str:
    listing = _gpg(home, "--with-colons", "--list-secret-keys")
    return next(line.split(":")[9] for line in listing.splitlines() if line.startswith("fpr:"))
