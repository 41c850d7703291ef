"""The file in which podman, Docker and others keep the logins of registries.

containers-auth.json(5) and Docker's ``config.json``: ``auths`` from ``HOST[:PORT][/NAMESPACE...]``
to ``auth`` (base64 of ``user:password``) or ``identitytoken``. The most specific entry of an image
counts. Programs that hold passwords (``credsStore``, ``credHelpers``) are never run.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from manifests import errors, jsontext

_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Login:
    """A user's password, or the token that stands for both."""

    user: str
    password: str = field(repr=False)
    identity: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The ``Authorization`` header (RFC 7617, UTF-8)."""
        pair = f"{self.user}:{self.password}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class Logins:
    """Who we are at a registry; by namespace of an image, "" for all."""

    by_namespace: Mapping[str, Login] = field(default_factory=dict, repr=False)

    def of(self, image: str) -> Login | None:
        """For an image, or with "" for the registry itself."""
        while image:
            if image in self.by_namespace:
                return self.by_namespace[image]
            image = image.rpartition("/")[0]
        return self.by_namespace.get("")


def read_auth_file(path: Path, host: str) -> Logins:
    """What the file says of the registry at ``host`` (``NAME[:PORT]``). Raises ConfigError."""
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise errors.ConfigError(
            f"the file of logins cannot be read: {error.strerror}",
            where=str(path),
            remedy=f"make it with: podman login --authfile {path} {host}",
        ) from error
    try:
        found = jsontext.loads(data) if len(data) <= _MAX_BYTES else None
    except ValueError as error:
        raise _bad(path, "it is not JSON") from error
    if not isinstance(found, dict) or not isinstance(found.get("auths", {}), dict):
        raise _bad(path, "it is not of the form {auths: {HOST: ...}}")
    logins: dict[str, Login] = {}
    for key, row in found.get("auths", {}).items():
        namespace = _namespace(key, host)
        if namespace is None or not isinstance(row, dict):
            continue
        login = _login(row, path, key)
        if login is not None:
            logins[namespace] = login
    if not logins and (_helped(found, host)):
        raise errors.ConfigError(
            f"the login of {host} is kept by another program (credsStore, credHelpers)",
            where=str(path),
            remedy=f"make a file of its own: podman login --authfile FILE {host}",
        )
    return Logins(logins)


def _namespace(key: str, host: str) -> str | None:
    """What of the registry an entry is about; None if it is another one's."""
    _, sign, rest = key.partition("://")
    name, _, namespace = (rest if sign else key).partition("/")
    if name.lower() != host.lower():
        return None
    # Docker writes addresses of its API: https://HOST/v1/
    return "" if sign or namespace.strip("/") in ("v1", "v2") else namespace.strip("/")


def _login(row: Mapping[str, object], path: Path, key: str) -> Login | None:
    identity = row.get("identitytoken")
    auth = row.get("auth")
    user, password = row.get("username"), row.get("password")
    if isinstance(auth, str) and auth:
        try:
            text = base64.b64decode(auth, validate=True).decode().rstrip("\0")
        except (binascii.Error, ValueError) as error:
            raise _bad(path, f"`auth` of {key[:80]!r} is not base64 of user:password") from error
        user, colon, password = text.partition(":")
        if not colon:
            raise _bad(path, f"`auth` of {key[:80]!r} is not base64 of user:password")
    if isinstance(identity, str) and identity:
        return Login(user if isinstance(user, str) else "", "", identity)
    if isinstance(user, str) and isinstance(password, str) and user:
        return Login(user, password)
    return None


def _helped(found: Mapping[str, object], host: str) -> bool:
    helpers = found.get("credHelpers")
    return bool(found.get("credsStore")) or (isinstance(helpers, dict) and host in helpers)


def _bad(path: Path, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        what, where=str(path), remedy="make it anew with: podman login --authfile FILE HOST"
    )
