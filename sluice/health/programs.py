"""Programs of the system that this zone's settings need."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

from manifests.zone import InsideZone, OutsideZone, Repository, Signers, Zone
from sluice.health.finding import Finding, ok, problem
from sluice.health.site import Site

PACKAGES = {
    "rsync": ("rsync", "rsync"),
    "gpg": ("gpg", "gnupg2"),
    "gpgv": ("gpgv", "gnupg2"),
    "rpmkeys": ("rpm", "rpm"),
    "mvn": ("maven", "maven"),
}
"""Program -> the packages that bring it (Debian, RHEL)."""


def programs(site: Site) -> Iterator[Finding]:
    """Each with its version."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    for program, why in sorted(needed(site.zone).items()):
        found = shutil.which(program, path=path)
        yield judge(program, why, found, _version(found, site.seconds) if found else "")


def needed(zone: Zone) -> dict[str, str]:
    """Pure: programs, and what for."""
    found: dict[str, str] = {}
    if zone.repository_key is not None:
        found["gpg"] = "repository_key"
    if isinstance(zone, OutsideZone):
        for repository in zone.repositories.values():
            if repository.upstream.transport in ("rsync", "file") and repository.format != "oci":
                found.setdefault("rsync", f"the upstream of {repository.name}")
            if repository.format == "maven" and _resolves(repository):
                found.setdefault("mvn", f"what {repository.name} asks for")
            if repository.format != "oci":
                _signed(found, repository.name, repository.signers)
    elif isinstance(zone, InsideZone):
        for name, signers in zone.require.items():
            _signed(found, name, signers)
    return found


def _resolves(repository: Repository) -> bool:
    return repository.maven.asks or repository.upstream.system


def _signed(found: dict[str, str], name: str, signers: Signers) -> None:
    if signers.signed_by:
        for program in ("gpg", "gpgv"):
            found.setdefault(program, f"signatures of {name}")
        if signers.check_packages:
            found.setdefault("rpmkeys", f"signatures of {name}")


def _version(program: str, seconds: float) -> str:
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"? {error}"[:200]
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    words = "".join(c if c.isprintable() else "?" for c in lines[0]) if lines else ""
    return words[:100] if done.returncode == 0 else f"? it ended with {done.returncode}"


def judge(program: str, why: str, path: str | None, version: str) -> Finding:
    """Pure: ``version`` begins with a question mark where the program did not tell it."""
    debian, rhel = PACKAGES[program]
    remedy = f"install the package {debian} (Debian) or {rhel} (RHEL)"
    if path is None:
        return problem(program, f"not installed; {why} needs it", remedy)
    if version.startswith("?"):
        return problem(path, f"it does not run: {version[2:]}", remedy)
    return ok(path, version or "installed")
