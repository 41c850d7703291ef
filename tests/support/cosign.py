"""Signatures of container images as cosign makes them with a key, without cosign.

Payload and storage follow cosign's SIGNATURE_SPEC.md ("Simple Signing", "Tag-based
Discovery"); the referrer form has the same layers and a ``subject``. What a DSSE envelope
signs is computed by securesystemslib, not by the code under test.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from securesystemslib.dsse import Envelope

from tests.support.images import Descriptor, Layout

SIMPLE = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "application/vnd.dev.cosign.artifact.sig.v1+json"
BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
SIGNED = "https://sigstore.dev/cosign/sign/v1"
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

    def raw(self, data: bytes, hash_size: int = 256) -> bytes:
        """A signature as cosign makes it: SHA-256 for ECDSA and RSA, whatever the size."""
        algorithm = hashes.SHA256() if hash_size == 256 else hashes.SHA384()
        if isinstance(self.key, ed25519.Ed25519PrivateKey):
            return self.key.sign(data)
        if isinstance(self.key, rsa.RSAPrivateKey):
            return self.key.sign(data, padding.PKCS1v15(), algorithm)
        return self.key.sign(data, ec.ECDSA(algorithm))

    def bundle(
        self,
        layout: Layout,
        what: Descriptor,
        *,
        says: str = SIGNED,
        hash_size: int = 256,
    ) -> Descriptor:
        """The newer form (cosign 3): a Sigstore bundle as a referrer (BUNDLE_SPEC.md).

        ``says`` is the statement's predicate type: other ones make it an attestation.
        """
        statement = json.dumps(
            {
                "_type": "https://in-toto.io/Statement/v1",
                "subject": [{"digest": {"sha256": what.hex}, "annotations": {}}],
                "predicateType": says,
                "predicate": {},
            }
        ).encode()
        kind = "application/vnd.in-toto+json"
        envelope = Envelope(statement, kind, {})
        signature = self.raw(envelope.pae(), hash_size)
        value = {
            "mediaType": BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": {
                "payload": base64.b64encode(statement).decode(),
                "payloadType": kind,
                "signatures": [{"sig": base64.b64encode(signature).decode()}],
            },
        }
        blob = layout.blob(json.dumps(value).encode(), BUNDLE)
        return layout.artifact(BUNDLE, blob, subject=what)

    def layer(
        self, layout: Layout, what: Descriptor, identity: str, *, payload: bytes = b""
    ) -> Descriptor:
        """One signature of ``what``; ``payload`` is signed instead of the right one."""
        payload = payload or simple_signing(what.digest, identity)
        signature = base64.b64encode(self.raw(payload)).decode()
        return layout.blob(payload, SIMPLE).having(annotations={ANNOTATION: signature})

    def sign(self, layout: Layout, what: Descriptor, identity: str) -> Descriptor:
        """The manifest for the tag ``signature_tag(what)``."""
        return carrier(layout, self.layer(layout, what, identity))

    def refer(self, layout: Layout, what: Descriptor, identity: str) -> Descriptor:
        """The same as a referrer of ``what`` (image-spec 1.1 ``subject``)."""
        return carrier(layout, self.layer(layout, what, identity), subject=what)


def carrier(layout: Layout, *layers: Descriptor, subject: Descriptor | None = None) -> Descriptor:
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
