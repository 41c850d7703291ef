"""Key files: PKCS #8 in PEM (RFC 5958, RFC 7468), mode 0600, perhaps with a passphrase.

A private key lies in ``STREAM.ROLE.ID.pem``, where ID are the first sixteen
digits of its key id. Files of retired keys end in ``.retired`` and are never
read again. The key types are Ed25519 (RFC 8032) and ECDSA P-384 (FIPS 186-5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP384R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner

from manifests.documents import SCHEMES
from manifests.durable import Durable, publish_file
from manifests.errors import ConfigError

KEY_TYPES: Final = ("ed25519", "ecdsa")
PASSPHRASE: Final = "SLUICE_KEY_PASSPHRASE"  # noqa: S105 - the variable's name
PASSPHRASE_FILE: Final = "SLUICE_KEY_PASSPHRASE_FILE"  # noqa: S105
_MAX_KEY_FILE = 16 * 1024


def new_signer(key_type: str = "ed25519") -> CryptoSigner:
    """A new private key; ``key_type`` is one of `KEY_TYPES`, else `ConfigError`."""
    if key_type == "ed25519":
        return CryptoSigner(Ed25519PrivateKey.generate())
    if key_type == "ecdsa":
        return CryptoSigner(generate_private_key(SECP384R1()))
    raise ConfigError(
        f"unknown key type {key_type!r}", remedy=f"choose one of {', '.join(KEY_TYPES)}"
    )


def passphrase_from(environ: Mapping[str, str]) -> bytes | None:
    """The passphrase of the private keys, from the environment or the file it names.

    Raises `ConfigError` for a file that cannot be read, or an empty passphrase.
    """
    if PASSPHRASE in environ:
        found, where = os.fsencode(environ[PASSPHRASE]), PASSPHRASE
    elif PASSPHRASE_FILE in environ:
        where = environ[PASSPHRASE_FILE]
        found = _read(Path(where)).removesuffix(b"\n").removesuffix(b"\r")
    else:
        return None
    if not found:
        raise ConfigError("the passphrase is empty", where=where)
    return found


def key_files(folder: Path, stream: str, role: str) -> list[Path]:
    """The private key files of a role in ``folder``, sorted; none if it is not there."""
    form = re.compile(rf"{re.escape(stream)}\.{role}\.[0-9a-f]{{16}}\.pem")
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if form.fullmatch(path.name))


def write_key(
    files: Durable,
    folder: Path,
    stream: str,
    role: str,
    signer: CryptoSigner,
    passphrase: bytes | None,
) -> Path:
    """Write a private key durably, readable by its owner alone; returns its path."""
    pem = signer.private_bytes
    if passphrase:
        key = load_pem_private_key(pem, None)
        pem = key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)
        )
    path = folder / f"{stream}.{role}.{signer.public_key.keyid[:16]}.pem"
    if not folder.is_dir():
        files.mkdir(folder)
        files.chmod(folder, 0o700)
    publish_file(files, path, pem, mode=0o600)
    return path


def read_key(path: Path, passphrase: bytes | None, *, private: bool = True) -> CryptoSigner:
    """The signer of a private key file.

    ``private`` demands that nobody but the owner may read the file; root keys on
    removable media, which often know no modes, are read without. Raises
    `ConfigError` for a file that cannot be read, a wrong passphrase, or a key
    of another type.
    """
    pem = _read(path)
    if private and path.stat().st_mode & 0o077:
        raise ConfigError(
            "others may read this private key",
            where=str(path),
            remedy=f"chmod 600 {path}; if others did read it, rotate the key",
        )
    wrapped = b"ENCRYPTED PRIVATE KEY" in pem
    if wrapped and passphrase is None:
        raise ConfigError(
            "the key has a passphrase",
            where=str(path),
            remedy=f"set {PASSPHRASE} or {PASSPHRASE_FILE}",
        )
    try:
        key = load_pem_private_key(pem, passphrase if wrapped else None)
        if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
            raise ValueError("the key is neither Ed25519 nor ECDSA P-384")
        signer = CryptoSigner(key)
        if signer.public_key.scheme not in SCHEMES:
            raise ValueError(f"keys of the scheme {signer.public_key.scheme} are not accepted")
    except (ValueError, UnsupportedAlgorithm) as err:
        remedy = "check the passphrase" if wrapped else "put the right file back from a copy"
        raise ConfigError(f"not a usable key: {err}", where=str(path), remedy=remedy) from err
    return signer


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as source:
            data = source.read(_MAX_KEY_FILE + 1)
    except OSError as err:
        raise ConfigError(
            f"cannot be read: {err.strerror}",
            where=str(path),
            remedy="call this as the account that owns the zone; if it is lost, restore a backup",
        ) from err
    if len(data) > _MAX_KEY_FILE:
        raise ConfigError("too large for a key file", where=str(path))
    return data
