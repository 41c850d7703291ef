"""Signatures of container images as cosign makes them with a key, without cosign.

Payload and storage follow cosign's SIGNATURE_SPEC.md ("Simple Signing", "Tag-based
Discovery"); the referrer form has the same layers and a ``subject``.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from tests.support.images import Descriptor, Layout

SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"

_CONFIG = "application/vnd.oci.image.config.v1+json"

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Signer:
    """A key: ``p256`` as ``cosign generate-key-pair`` makes, ``p384``, ``rsa`` or ``ed25519``."""

    def __init__(self, kind: str = "p256") -> None:
        self.key: Key
        if kind == "rsa":
            self.key = rsa.generate_private_key(65537, 2048)
        elif kind == "ed25519":
            self.key = ed25519.Ed25519PrivateKey.generate()
        else:
            self.key = ec.generate_private_key(ec.SECP256R1() if kind == "p256" else ec.SECP384R1())

    @property
    def public(self) -> bytes:
        """The contents of ``cosign.pub``."""
        return self.key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def write(self, path: Path) -> Path:
        """``public`` as a file."""
        path.write_bytes(self.public)
        return path

    def raw(self, data: bytes) -> bytes:
        """A signature as cosign makes it: SHA-256 for ECDSA and RSA, whatever the size."""
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), hashes.SHA256())
        return self.key.sign(data, ec.ECDSA(hashes.SHA256()))

    def layer(
        self, layout: Layout, what: Descriptor, identity: str, *, payload: bytes = b""
    ) -> Descriptor:
        """One signature of ``what``; ``payload`` is signed instead of the right one."""
        payload = payload or simple_signing(what.digest, identity)
        signature = base64.b64encode(self.raw(payload)).decode()
        return layout.blob(payload, SIMPLE).having(annotations={ANNOTATION: signature})

    def sign(self, layout: Layout, what: Descriptor, identity: str) -> Descriptor:
        """The manifest for the tag ``signature_tag(what)``."""
        return bundle(layout, self.layer(layout, what, identity))

    def refer(self, layout: Layout, what: Descriptor, identity: str) -> Descriptor:
        """The same as a referrer of ``what`` (image-spec 1.1 ``subject``)."""
        return bundle(layout, self.layer(layout, what, identity), subject=what)


def bundle(layout: Layout, *layers: Descriptor, subject: Descriptor | None = None) -> Descriptor:
    """A manifest that carries signatures, each a layer."""
    config = {
        "architecture": "", "os": "", "created": "0001-01-01T00:00:00Z", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [one.digest for one in layers]},
    }  # fmt: skip
    value = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": layout.blob(
            json.dumps(config).encode(), _CONFIG if subject is None else SIGNATURE
        ).json(),
        "layers": [one.json() for one in layers],
    }
    if subject is not None:
        value["subject"] = Descriptor(subject.media_type, subject.digest, subject.size).json()
    return layout.document(value)


def signature_tag(what: Descriptor) -> str:
    """Where cosign looks for the signatures of ``what``: ``sha256-HEX.sig``."""
    return what.digest.replace(":", "-") + ".sig"


def simple_signing(digest: str, identity: str) -> bytes:
    """The signed payload: ``identity`` is ``HOST/IMAGE``, with or without a tag."""
    value = {
        "critical": {
            "identity": {"docker-reference": identity},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": None,
    }
    return json.dumps(value, separators=(",", ":")).encode()
