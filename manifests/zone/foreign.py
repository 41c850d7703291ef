"""Which keys of a repository belong to which format."""

from __future__ import annotations

from manifests.zone.maven import MAVEN_FOREIGN, MAVEN_KEYS
from manifests.zone.oci import OCI_FOREIGN, OCI_KEYS
from manifests.zone.reader import Section

_OWNED = {"maven": MAVEN_KEYS, "oci": OCI_KEYS}
_FOREIGN = {"maven": MAVEN_FOREIGN, "oci": OCI_FOREIGN}


def refuse_foreign(section: Section, kind: str) -> None:
    """Raise ConfigError for keys that mean nothing to a repository of this format."""
    for key in section.entries:
        owner = next((name for name, keys in _OWNED.items() if key in keys), kind)
        if owner == kind and key not in _FOREIGN.get(kind, ()):
            continue
        value = section.at(key)
        value.fail(
            f"`{value.path}` means nothing to a repository of format {kind}",
            "remove it" if owner == kind else f"remove it, or write `format: {owner}`",
        )
