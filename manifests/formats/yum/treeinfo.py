"""``.treeinfo``: what an installer loads from a distribution tree.

An INI file (productmd's "treeinfo" documentation). ``[checksums]`` promises
``path = algorithm:hex``; ``[images-ARCH]`` and ``[stage2]`` name further files;
``[variant-NAME]`` sections name the repositories inside the tree.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from manifests.errors import BadPath, MalformedIndex
from manifests.formats.yum.repomd import Checksum, Location, checksum_of

NAMES = (".treeinfo", "treeinfo")
MAX_BYTES = 1 << 20


@dataclass(slots=True)
class TreeInfo:
    """``files`` are paths in the tree with the promised checksum, None without one.

    ``repositories`` are folders (with a slash, "" for the top).
    """

    files: dict[str, Checksum | None] = field(default_factory=dict)
    repositories: list[str] = field(default_factory=list)


def parse(data: bytes, where: str, prefix: str = "") -> TreeInfo:
    """Read a treeinfo file in the folder ``prefix``. Raises MalformedIndex, BadPath."""
    found = TreeInfo()
    section = ""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedIndex("not UTF-8", where=where) from error
    for line in text.split("\n"):
        stripped = line.strip()
        if stripped.startswith("[") and stripped.endswith("]"):
            section = stripped[1:-1].strip()
        if not stripped or stripped[0] in "#;[" or line[0].isspace():
            continue
        name, sign, value = (part.strip() for part in line.partition("="))
        if not sign or not name or not value:
            continue
        if section == "checksums":
            algorithm, _, digits = value.partition(":")
            found.files[Location(name).path(prefix)] = checksum_of(algorithm, digits, where)
        elif section.startswith("images-") or section == "stage2":
            found.files.setdefault(Location(value).path(prefix), None)
        elif section.startswith("variant-") and name == "repository":
            _add_repository(found, value, prefix)
    return found


def _add_repository(found: TreeInfo, value: str, prefix: str) -> None:
    """Note a repository inside the tree; one beside it (``../AppStream``) is not ours."""
    folder = value.strip("/")
    folder = prefix if folder in ("", ".") else f"{prefix}{folder}/"
    try:
        Location(f"{folder}repodata").path("")
    except BadPath:
        return
    if folder not in found.repositories and len(found.repositories) < 64:
        found.repositories.append(folder)
