"""Signed documents: strict readers of the TUF metadata that Sluice uses.

The formats are those of the TUF specification 1.0, sections 4.2 to 4.6, read
and written by python-tuf. This module adds what acceptance needs: one size
cap, one canonical text, exact field names, two kinds of keys. A document that
passes is well formed; whether it may be believed is `manifests.trust`'s part.

A **root** document names the keys and thresholds of all roles. Beside TUF's
own fields it has ``x-sluice``, which is signed with the rest::

    "x-sluice": {"epoch": 1, "format": 1,
                 "orders": {"keyids": [...], "threshold": 1}, "stream": "hq"}

TUF demands a role ``snapshot``. Nothing of ours is signed by it: its list of
keys must be empty, so that nobody can sign for it.

A **release** document belongs to one bundle, and its version is the bundle's
sequence. A *targets* document lists exactly the target ``manifest.json`` by
length and SHA-256. A heartbeat may have a *timestamp* document instead, whose
one entry TUF calls ``snapshot.json``; here it stands for the manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)
from securesystemslib.exceptions import UnverifiedSignatureError
from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import Metadata
from tuf.api.serialization import DeserializationError, SerializationError

from manifests import canonical
from manifests.canonical import Record
from manifests.caps import MAX_DOCUMENT
from manifests.digest import Digest, sha256_of
from manifests.errors import MalformedManifest, NotCanonical
from manifests.state import is_name

MAX_KEYS: Final = 64
"""Keys in a root document, and signatures in any document."""

ROLES: Final = ("root", "targets", "timestamp", "orders")
"""The roles that sign something."""
EXTENSION: Final = "x-sluice"
EXTENSION_FORMAT: Final = 1
MANIFEST_TARGET: Final = "manifest.json"
MANIFEST_META: Final = "snapshot.json"
SCHEMES: Final = {"ed25519": "ed25519", "ecdsa-sha2-nistp384": "ecdsa"}
"""Signature schemes we accept, with their TUF key types."""

_KEYID = re.compile(r"[0-9a-f]{64}")
_SIGNATURE = re.compile(r"(?:[0-9a-f]{2}){1,256}")
_SPEC_VERSION = re.compile(r"1\.[0-9]{1,4}(\.[0-9]{1,4})?")
_COMMON = ("_type", "expires", "spec_version", "version")


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key of a root document. ``fingerprint`` names the key itself, whatever
    its key id: the SHA-256 of its SubjectPublicKeyInfo (RFC 5280) in DER."""

    keyid: str
    fingerprint: Digest
    scheme: str
    key: SSlibKey

    def signed(self, signature: Signature, payload: bytes) -> bool:
        """Whether ``signature`` is this key's over ``payload``."""
        try:
            self.key.verify_signature(signature, payload)
        except UnverifiedSignatureError:
            return False
        return True


@dataclass(frozen=True, slots=True)
class RoleKeys:
    """Who signs for a role: key ids, and how many different keys it takes."""

    keyids: tuple[str, ...]
    threshold: int


@dataclass(frozen=True, slots=True)
class Document:
    """A well-formed document: its bytes, the bytes that are signed, the signatures."""

    data: bytes
    payload: bytes
    signatures: Mapping[str, Signature]
    version: int
    expires: datetime


@dataclass(frozen=True, slots=True)
class RootDocument(Document):
    """A well-formed root document; nothing says yet that it may be believed."""

    stream: str
    epoch: int
    keys: Mapping[str, PublicKey]
    roles: Mapping[str, RoleKeys]

    @property
    def fingerprint(self) -> Digest:
        """What a person compares when a root is pinned: SHA-256 of the document."""
        return sha256_of(self.data)


@dataclass(frozen=True, slots=True)
class ReleaseDocument(Document):
    """A well-formed release document. ``role`` is ``targets`` or ``timestamp``."""

    role: str
    manifest: Digest
    length: int


def read_root(data: bytes, *, where: str = "root document") -> RootDocument:
    """Read a root document; raises `MalformedManifest` or `NotCanonical`."""
    signed, document = _read(data, "root", ("consistent_snapshot", "keys", "roles"), where)
    signed.flag("consistent_snapshot")
    keys = {
        keyid: _public_key(keyid, value, where)
        for keyid, value in signed.mapping("keys", most=MAX_KEYS).items()
    }
    ours = signed.record(EXTENSION, required=("epoch", "format", "orders", "stream"))
    ours.number("format", least=EXTENSION_FORMAT, most=EXTENSION_FORMAT)
    stream = ours.text("stream", most=64)
    if not is_name(stream):
        ours.fail(f"not a stream name: {stream!r}")
    tuf_roles = signed.record("roles", required=("root", "snapshot", "targets", "timestamp"))
    if _role(tuf_roles, "snapshot", keys, empty=True).keyids:
        tuf_roles.fail("the role snapshot must have no keys")
    roles = {name: _role(tuf_roles, name, keys) for name in ("root", "targets", "timestamp")}
    roles["orders"] = _role(ours, "orders", keys)
    used = {keyid for role in roles.values() for keyid in role.keyids}
    if used != set(keys):
        signed.fail("a key that no role names")
    return RootDocument(
        data=data,
        payload=document.signed_bytes,
        signatures=document.signatures,
        version=signed.number("version", least=1),
        expires=signed.time("expires"),
        stream=stream,
        epoch=ours.number("epoch", least=1),
        keys=keys,
        roles=roles,
    )


def read_release(data: bytes, *, where: str = "release document") -> ReleaseDocument:
    """Read a targets or timestamp document; raises `MalformedManifest` or `NotCanonical`."""
    role = "timestamp" if b'"_type":"timestamp"' in data[:MAX_DOCUMENT] else "targets"
    listing = {"targets": "targets", "timestamp": "meta"}[role]
    signed, document = _read(data, role, (listing,), where)
    version = signed.number("version", least=1)
    if role == "targets":
        entry = signed.record(listing, required=(MANIFEST_TARGET,)).record(
            MANIFEST_TARGET, required=("hashes", "length")
        )
    else:
        entry = signed.record(listing, required=(MANIFEST_META,)).record(
            MANIFEST_META, required=("hashes", "length", "version")
        )
        entry.number("version", least=version, most=version)
    return ReleaseDocument(
        data=data,
        payload=document.signed_bytes,
        signatures=document.signatures,
        version=version,
        expires=signed.time("expires"),
        role=role,
        manifest=entry.record("hashes", required=("sha256",)).digest("sha256"),
        length=entry.number("length", least=1),
    )


def write_document(document: Metadata[Any]) -> bytes:
    """The canonical bytes of a signed document, signatures sorted by key id."""
    document.signatures = dict(sorted(document.signatures.items()))
    return document.to_bytes()


def _read(
    data: bytes, kind: str, fields: tuple[str, ...], where: str
) -> tuple[Record, Metadata[Any]]:
    """Parse strictly, then by python-tuf, and require that it writes the same bytes."""
    value = canonical.loads(data, cap=MAX_DOCUMENT, where=where)
    envelope = Record(value, where=where, required=("signatures", "signed"))
    optional = (EXTENSION,) if kind == "root" else ()
    signed = Record(envelope.value["signed"], where=where, required=(*_COMMON, *fields, *optional))
    if signed.text("_type") != kind:
        signed.fail(f"expected a document of the role {kind}")
    signed.text("spec_version", pattern=_SPEC_VERSION)
    signed.number("version", least=1)
    signed.time("expires")
    _check_signatures(envelope)
    try:
        # from_bytes parses again, since from_dict takes apart what it is given.
        document: Metadata[Any] = Metadata.from_bytes(data)
        same = document.to_bytes() == data
    except (DeserializationError, SerializationError) as err:
        raise MalformedManifest(f"not TUF metadata: {err}", where=where) from err
    if not same:
        raise NotCanonical("python-tuf writes it in other bytes", where=where)
    return signed, document


def _check_signatures(envelope: Record) -> None:
    """Sorted by key id, each once, lower-case hexadecimal: one text for one set."""
    last = ""
    for item in envelope.items("signatures", most=MAX_KEYS):
        entry = Record(item, where=f"{envelope.where}: signature", required=("keyid", "sig"))
        keyid = entry.text("keyid", pattern=_KEYID)
        entry.text("sig", pattern=_SIGNATURE)
        if keyid <= last:
            raise NotCanonical(
                "signatures must be sorted by key id, each key id once", where=envelope.where
            )
        last = keyid


def _role(
    parent: Record, name: str, keys: Mapping[str, PublicKey], *, empty: bool = False
) -> RoleKeys:
    role = parent.record(name, required=("keyids", "threshold"))
    keyids = role.items("keyids", most=MAX_KEYS)
    if not keyids and not empty:
        role.fail("a role without keys")
    names: list[str] = []
    for keyid in keyids:
        if not isinstance(keyid, str) or keyid not in keys or keyid in names:
            role.fail(f"a key id that is unknown or stands twice: {str(keyid)[:80]!r}")
        names.append(keyid)
    return RoleKeys(tuple(names), role.number("threshold", least=1, most=MAX_KEYS))


def _public_key(keyid: str, value: object, where: str) -> PublicKey:
    entry = Record(value, where=f"{where}: key", required=("keytype", "keyval", "scheme"))
    if not _KEYID.fullmatch(keyid):
        entry.fail(f"a key id is 64 hexadecimal digits, not {keyid[:80]!r}")
    scheme = entry.text("scheme", most=64)
    if SCHEMES.get(scheme) != entry.text("keytype", most=64):
        entry.fail(f"keys are Ed25519 or ECDSA P-384, not {scheme!r}")
    public = entry.record("keyval", required=("public",)).text("public", most=1024)
    try:
        if scheme == "ed25519":
            plain: Any = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public))
        else:
            plain = load_pem_public_key(public.encode("ascii"))
        key = SSlibKey.from_crypto(plain, keyid)
    except (ValueError, UnsupportedAlgorithm) as err:
        _bad_key(entry, keyid, err)
    if key.scheme != scheme or key.keyval != {"public": public}:
        _bad_key(entry, keyid, "another curve, or another spelling of the key")
    der = plain.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(keyid, sha256_of(der), scheme, key)


def _bad_key(entry: Record, keyid: str, why: object) -> NoReturn:
    entry.fail(f"key {keyid[:16]} cannot be used: {why}")
