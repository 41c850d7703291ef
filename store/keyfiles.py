"""Files of public keys that an operator names in zone.yaml."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import ConfigError


def read_key_file(path: Path, limit: int) -> bytes:
    """At most ``limit`` bytes of a file that zone.yaml names as ``signed_by``.

    Raises ConfigError when it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit)
    except OSError as error:
        raise ConfigError(
            f"the key cannot be read: {error.strerror}",
            where=str(path),
            remedy="put the vendor's public key there, or change `signed_by` in zone.yaml",
        ) from error
