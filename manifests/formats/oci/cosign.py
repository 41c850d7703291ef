"""Signatures of container images, made with a key by cosign, skopeo or podman.

Two forms: simple signing (cosign's SIGNATURE_SPEC.md; containers-signature(5)), whose payload
is a blob and whose signature is an annotation beside it; and the Sigstore bundle (cosign's
BUNDLE_SPEC.md) with an in-toto statement (in-toto Attestation Framework, Statement v1) in a DSSE
envelope. Neither a transparency log nor a certificate is looked at: the key alone decides.

Bytes are verified before they are read. What a signature says must be this very digest, and the
image that it names must be this one: whoever holds the registry may hand out one signed image in
the place of another.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from manifests.errors import FormatError, SignatureInvalid
from manifests.formats.oci.document import Descriptor, Manifest, load
from manifests.formats.oci.layout import shown, split_digest
from manifests.formats.oci.pubkeys import ImageKey

SIMPLE = "cosign"
BUNDLE = "sigstore-bundle"
MAX_PAYLOAD = 256 << 10
"""Bytes of what is signed, or of a bundle."""
MAX_SIGNATURE = 8 << 10
MAX_CLAIMS = 200
"""Signatures of one image that are looked at."""

SIMPLE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
ANNOTATION = "dev.cosignproject.cosign/signature"
_BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle"
_IMAGE_SIGNATURE = "cosign container image signature"
_STATEMENT_TYPE = "application/vnd.in-toto+json"
_STATEMENTS = ("https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1")
_SIGNED_IMAGE = "https://sigstore.dev/cosign/sign/v1"


@dataclass(frozen=True, slots=True)
class Claim:
    """Something attached to an image that may sign it.

    ``kind`` is ``SIMPLE`` or ``BUNDLE``; ``digest`` and ``size`` (bytes) those of the blob that
    holds the payload or the bundle; ``signature`` is base64, empty for a bundle.
    """

    kind: str
    digest: str
    size: int
    signature: str = ""


def claims(manifest: Manifest) -> Iterator[Claim]:
    """What a manifest that is attached to an image holds in the way of signatures."""
    for layer in manifest.layers:
        if layer.media_type == SIMPLE_TYPE:
            yield Claim(SIMPLE, layer.digest, layer.size, layer.annotations.get(ANNOTATION, ""))
        elif _is_bundle(layer):
            yield Claim(BUNDLE, layer.digest, layer.size)


def verify(
    image: str,
    digest: str,
    candidates: Iterable[tuple[Claim, bytes]],
    keys: Sequence[ImageKey],
) -> str:
    """The fingerprint of the key that signed ``digest`` (``ALGORITHM:HEX``) as ``image``.

    ``candidates`` come with the blob's bytes, at most ``MAX_PAYLOAD`` + 1 of them; one good
    signature is enough, and no more than ``MAX_CLAIMS`` are looked at. Raises SignatureInvalid
    with the reason that says most.
    """
    reason, rank = "it is not signed", 0
    for number, (claim, blob) in enumerate(candidates):
        if number >= MAX_CLAIMS:
            reason += f" (only the first {MAX_CLAIMS} signatures were looked at)"
            break
        try:
            fingerprint, content = _authentic(claim, blob, keys)
        except SignatureInvalid as error:
            if rank < 1:
                reason, rank = error.what, 1
            continue
        try:
            _check_claim(claim.kind, content, image, digest)
        except FormatError as error:
            # A trusted key did sign this, so it tells more than signatures by others.
            reason, rank = error.what, 2
            continue
        return fingerprint
    raise SignatureInvalid(reason, where=f"{image}@{shown(digest)}")


def _authentic(claim: Claim, blob: bytes, keys: Sequence[ImageKey]) -> tuple[str, bytes]:
    """Who signed, and what, not yet parsed. Raises SignatureInvalid."""
    if len(blob) > MAX_PAYLOAD or claim.size > MAX_PAYLOAD:
        raise SignatureInvalid(f"its signature has a payload of more than {MAX_PAYLOAD} bytes")
    if claim.kind == SIMPLE:
        signed, content, signatures = blob, blob, [_binary(claim.signature)]
    else:
        signed, content, signatures = _envelope(blob)
    for signature in signatures:
        for key in keys:
            if key.signed(signed, signature):
                return key.fingerprint, content
    raise SignatureInvalid("it is signed, but by no trusted key")


def _envelope(blob: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Signed bytes, statement and signatures of a bundle with a DSSE envelope."""
    envelope = _mapping(_parsed(blob)).get("dsseEnvelope")
    if not isinstance(envelope, dict):
        raise SignatureInvalid("its signature is a bundle without an envelope")
    if envelope.get("payloadType") != _STATEMENT_TYPE:
        raise SignatureInvalid("its signature is an envelope without a statement")
    rows = envelope.get("signatures")
    if not isinstance(rows, list) or not 1 <= len(rows) <= MAX_CLAIMS:
        raise SignatureInvalid("its signature is an envelope without signatures")
    statement = _binary(envelope.get("payload"), MAX_PAYLOAD)
    # DSSE 1.0, "Pre-Authentication Encoding".
    kind = _STATEMENT_TYPE.encode()
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(statement), statement)
    return signed, statement, [_binary(_mapping(row).get("sig")) for row in rows]


def _check_claim(kind: str, content: bytes, image: str, digest: str) -> None:
    """What a trusted key said. Raises SignatureInvalid, MalformedIndex."""
    value = _mapping(_parsed(content))
    if kind == SIMPLE:
        _check_simple(value, image, digest)
    else:
        _check_statement(value, digest)


def _check_simple(value: Mapping[str, object], image: str, digest: str) -> None:
    critical = _folded(_folded(value).get("critical"))
    if critical.get("type") != _IMAGE_SIGNATURE:
        raise SignatureInvalid("its signature is not for an image")
    signed = _folded(critical.get("image")).get("docker-manifest-digest")
    if signed != digest:
        raise SignatureInvalid(f"its signature is for another image: {_words(signed)}")
    named = _folded(critical.get("identity")).get("docker-reference")
    if named is not None and not isinstance(named, str):
        raise SignatureInvalid("its signature names no image")
    if named and not is_same_image(named, image):
        raise SignatureInvalid(f"it is signed as {_words(named)}, another image")


def _check_statement(value: Mapping[str, object], digest: str) -> None:
    if value.get("_type") not in _STATEMENTS:
        raise SignatureInvalid("its signature is an envelope without a statement")
    if value.get("predicateType") != _SIGNED_IMAGE:
        # An attestation says something of an image; it need not be something good.
        raise SignatureInvalid("it has an attestation, but no signature")
    algorithm, digits = split_digest(digest)
    subjects = value.get("subject")
    rows = [_mapping(row) for row in subjects] if isinstance(subjects, list) else []
    if not any(_mapping(row.get("digest")).get(algorithm) == digits for row in rows):
        raise SignatureInvalid("its signature is for another image")


def is_same_image(reference: str, image: str) -> bool:
    """Whether a signed ``reference`` (``HOST/PATH[:TAG][@DIGEST]``) names ``image``.

    Hosts are not compared, since images are mirrored from caches and mirrors; of the paths, one
    must end with the whole other, since those add projects in front.
    """
    name = reference.partition("@")[0]
    head, slash, last = name.rpartition("/")
    name = head + slash + last.partition(":")[0]
    first, slash, rest = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost"):
        name = rest
    longer, shorter = sorted((f"/{name}", f"/{image}"), key=len, reverse=True)
    return name != "" and longer.endswith(shorter)


def _is_bundle(layer: Descriptor) -> bool:
    return layer.media_type.startswith(_BUNDLE_TYPE)


def _parsed(data: bytes) -> object:
    try:
        return load(data, "")
    except FormatError as error:
        raise SignatureInvalid("its signature is not JSON") from error


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise SignatureInvalid("its signature is not of a known form")
    return value


def _folded(value: object) -> Mapping[str, object]:
    """An object with its names in lower case: cosign's early versions wrote capitals."""
    found = _mapping(value)
    folded = {name.lower(): each for name, each in found.items()}
    if len(folded) != len(found):
        raise SignatureInvalid("its signature has the same name twice")
    return folded


def _binary(value: object, limit: int = MAX_SIGNATURE) -> bytes:
    if not isinstance(value, str) or not 0 < len(value) <= limit * 4 // 3 + 4:
        raise SignatureInvalid("its signature is not base64, or too long")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SignatureInvalid("its signature is not base64, or too long") from error


def _words(value: object) -> str:
    return shown(str(value)[:120])
