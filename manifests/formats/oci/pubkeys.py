"""Public keys that sign container images: PEM files as ``cosign generate-key-pair`` writes them.

SubjectPublicKeyInfo (RFC 5280, 4.1) in PEM (RFC 7468, 13): ECDSA on P-256, P-384 and P-521, RSA
with PKCS #1 v1.5 (RFC 8017, 8.2), Ed25519 (RFC 8032).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from manifests.errors import ConfigError

MAX_BYTES = 64 << 10
MAX_KEYS = 64
_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----[^-]*-----END PUBLIC KEY-----")
_REMEDY = "name the file `cosign.pub`, or write it with `cosign public-key --key cosign.key`"
_RSA_BITS = range(2048, 16385)
_CURVES = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}
# cosign signs with SHA-256 whatever the curve; its newer bundles with the curve's own hash.
_HASHES: dict[str, tuple[hashes.HashAlgorithm, ...]] = {
    "ECDSA P-384": (hashes.SHA256(), hashes.SHA384()),
    "ECDSA P-521": (hashes.SHA256(), hashes.SHA512()),
}

Public = ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class ImageKey:
    """One key. ``fingerprint`` is the SHA-256 of its DER form in 64 capital hex digits."""

    fingerprint: str
    kind: str
    """``ECDSA P-256``, ``RSA 3072``, ``Ed25519``."""
    pem: bytes
    public: Public

    def signed(self, data: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is this key's over ``data``."""
        return any(
            self._signed(data, signature, algorithm)
            for algorithm in _HASHES.get(self.kind, (hashes.SHA256(),))
        )

    def _signed(self, data: bytes, signature: bytes, algorithm: hashes.HashAlgorithm) -> bool:
        try:
            if isinstance(self.public, ed25519.Ed25519PublicKey):
                self.public.verify(signature, data)
            elif isinstance(self.public, rsa.RSAPublicKey):
                self.public.verify(signature, data, padding.PKCS1v15(), algorithm)
            else:
                self.public.verify(signature, data, ec.ECDSA(algorithm))
        except InvalidSignature:
            return False
        return True


def is_pem(data: bytes) -> bool:
    """Whether ``data`` claims to hold keys of this kind, private ones included."""
    return any(word in data for word in (b"PUBLIC KEY-----", b"PRIVATE KEY-----"))


def read_keys(data: bytes, where: str = "key file") -> list[ImageKey]:
    """All public keys in a file, each once. Raises ConfigError for anything else."""
    if len(data) > MAX_BYTES:
        raise ConfigError(f"more than {MAX_BYTES} bytes", where=where, remedy=_REMEDY)
    if b"PRIVATE KEY" in data:
        raise ConfigError(
            "a private key, where a public one is expected",
            where=where,
            remedy="name `cosign.pub` instead, and protect this file",
        )
    blocks = _BLOCK.findall(data)
    if not blocks:
        raise ConfigError("no public key in PEM can be read from it", where=where, remedy=_REMEDY)
    if len(blocks) > MAX_KEYS:
        raise ConfigError(f"more than {MAX_KEYS} keys", where=where)
    keys = [_read(block, where) for block in blocks]
    return list({key.fingerprint: key for key in keys}.values())


def _read(block: bytes, where: str) -> ImageKey:
    try:
        public = serialization.load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigError("a public key that cannot be read", where=where, remedy=_REMEDY) from (
            error
        )
    if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name in _CURVES:
        kind = f"ECDSA {_CURVES[public.curve.name]}"
    elif isinstance(public, rsa.RSAPublicKey) and public.key_size in _RSA_BITS:
        kind = f"RSA {public.key_size}"
    elif isinstance(public, ed25519.Ed25519PublicKey):
        kind = "Ed25519"
    else:
        raise ConfigError(
            "a key of a kind that signs no images here",
            where=where,
            remedy="use ECDSA on P-256, P-384 or P-521, RSA of 2048 bits or more, or Ed25519",
        )
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    der = public.public_bytes(serialization.Encoding.DER, form)
    pem = public.public_bytes(serialization.Encoding.PEM, form)
    return ImageKey(hashlib.sha256(der).hexdigest().upper(), kind, pem, public)
