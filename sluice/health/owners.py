"""Who owns the zone's files, and who else may write or read them."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from manifests.zone import FILE_NAME
from sluice.health.finding import Finding, ok, problem, warning
from sluice.health.site import Site

_OURS = (
    "", FILE_NAME, "VERSION", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", "blobs",
    "locks", "scratch", "keys", "secrets", "trust", "marks", "work", "spool", "quarantine",
)  # fmt: skip
_SECRET = ("secrets",)
"""Folders that nobody else may enter."""
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Owned:
    """A file or folder of the zone."""

    path: Path
    owner: int
    mode: int
    secret: bool = False
    """Nobody but its owner may read it."""


def owners(site: Site) -> Iterator[Finding]:
    """The zone's own folders, and every file with a secret that zone.yaml names."""
    found = gather(site)
    findings = list(judge(found, found[0].owner, site.user)) if found else []
    yield from findings[:_SHOWN]
    if not findings:
        yield ok(site.folder, f"all of it belongs to {account(found[0].owner)} alone")


def gather(site: Site) -> list[Owned]:
    """The zone's folder first. What is not there is no concern of this check."""
    found = []
    for name in _OURS:
        path = site.folder / name if name else site.folder
        found += _look(path, secret=name in _SECRET)
    if site.inside is not None:
        for stream in site.inside.streams.values():
            found += _look(stream.root, secret=False)
    for path in secret_files(site):
        found += _look(path, secret=True)
    return found


def secret_files(site: Site) -> list[Path]:
    """Files with passwords, and private keys that no other check looks at."""
    named = [site.zone.ledger.password_file]
    webhook = site.zone.notices.webhook
    named.append(None if webhook is None else webhook.secret_file)
    if site.outside is not None:
        for one in site.outside.repositories.values():
            named += [one.connection.password_file, one.connection.client_key, one.oci.auth_file]
            named.append(one.maven.login.password_file if one.maven.login else None)
    named.append(site.zone.repository_key)
    return sorted({path for path in named if path is not None})


def _look(path: Path, *, secret: bool) -> list[Owned]:
    try:
        status = path.stat()
    except OSError:
        return []
    return [Owned(path, status.st_uid, stat.S_IMODE(status.st_mode), secret)]


def judge(files: list[Owned], owner: int, user: int) -> Iterator[Finding]:
    """Pure: ``owner`` is the zone folder's, ``user`` who acts now."""
    if user not in (owner, 0):
        yield problem(
            files[0].path,
            f"belongs to {account(owner)}, and this is {account(user)}",
            f"call it as that account: sudo -u {account(owner)} sluice ...",
        )
    elif user != owner:
        yield warning(
            files[0].path,
            f"belongs to {account(owner)}, and this is root: what root makes {account(owner)}"
            " cannot write",
            f"call it as that account: sudo -u {account(owner)} sluice ...",
        )
    for file in files:
        if file.owner != owner and not (file.secret and file.owner == 0):
            yield problem(
                file.path,
                f"belongs to {account(file.owner)}, the zone to {account(owner)}",
                f"chown -R {account(owner)} {file.path}",
            )
        if file.mode & stat.S_IWOTH and not file.mode & stat.S_ISVTX:
            yield problem(file.path, "everybody may write to it", f"chmod o-w {file.path}")
        elif file.secret and file.mode & (stat.S_IRWXG | stat.S_IRWXO):
            what = f"others may read this secret (mode {file.mode:04o})"
            yield problem(file.path, what, f"chmod go= {file.path}; then change what it holds")


def account(user: int) -> str:
    """The name of an account, or its number."""
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def may(path: Path, mode: int) -> bool:
    """Whether we may use ``path`` in this way (``os.R_OK`` and others)."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
