"""Upstreams' keys and signatures of every kind: OpenPGP, and the PEM keys that sign images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from manifests.errors import ConfigError
from manifests.formats.base import Problem, Signed, TreeView
from manifests.formats.oci import pubkeys
from manifests.formats.oci import signing as images
from manifests.formats.oci.pubkeys import ImageKey
from store import openpgp
from store.openpgp import PublicKey

_PGP = b"-----BEGIN PGP "


def read_keys(data: bytes, *, where: str = "key file") -> list[PublicKey]:
    """The public keys in a file of either kind, each by itself. Raises ConfigError.

    The fingerprint of a PEM key is the SHA-256 of its DER form in 64 capital hex digits, and
    its user id tells its kind.
    """
    if not _is_pem(data):
        return openpgp.read_keys(data, where=where)
    found = pubkeys.read_keys(data, where)
    return [PublicKey(key.fingerprint, f"({key.kind})", key.pem) for key in found]


def file_name(key: PublicKey) -> str:
    """What the key's file is called where keys are offered: fingerprint and suffix."""
    return f"{key.fingerprint.upper()}.{'pem' if _is_pem(key.armored) else 'asc'}"


def image_keys(keys: Sequence[bytes]) -> list[ImageKey]:
    """Those of ``keys`` that may sign images. Raises ConfigError if none can."""
    pem = [key for key in keys if _is_pem(key)]
    _need(pem, "a public key of cosign's", "keys/cosign.pub")
    return [one for key in pem for one in pubkeys.read_keys(key)]


def verify_signed(
    view: TreeView, signed: Iterable[Signed], keys: Sequence[bytes]
) -> Iterator[Problem]:
    """Verify the signatures that a format named, with these keys alone.

    Raises ConfigError when no key is of the kind that the repository needs.
    """
    rows = list(signed)
    of_images = [row for row in rows if row.kind in images.KINDS]
    others = [row for row in rows if row.kind not in images.KINDS]
    if of_images:
        yield from images.overlooked(view, of_images)
        yield from images.unsigned(view, of_images, image_keys(keys))
    if others:
        pgp = [key for key in keys if not _is_pem(key)]
        _need(pgp, "an OpenPGP key", "keys/vendor.asc")
        yield from openpgp.verify_signed(view, others, pgp)


def _need(keys: Sequence[bytes], what: str, example: str) -> None:
    if not keys:
        raise ConfigError(
            f"`signed_by` names no key that can sign this repository: it needs {what}",
            remedy=f"add `signed_by: {example}`",
        )


def _is_pem(data: bytes) -> bool:
    return _PGP not in data and pubkeys.is_pem(data)
